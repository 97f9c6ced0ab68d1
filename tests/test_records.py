"""Records and histories from elsewhere: what is wrong is one line, and affects no other run."""

import json
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

import plot_history
from sentiment.errors import SentimentError
from sentiment.recipes import read_like
from sentiment.runs.checkpoint import find_unfinished
from sentiment.runs.comparison import Group, describe_differences, group_runs
from sentiment.runs.record import find_finished, find_runs, read_record
from sentiment.script import training_script
from tests.conftest import assert_one_line
from tests.run_folders import make_state, read_table, write_checkpoint, write_run

NESTED = json.loads("[" * 900 + "]" * 900)


@pytest.fixture
def models(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SENTIMENT_MODELS", "models")
    return tmp_path / "models"


def change(folder, path, value):
    """Set a value in a run.json; ``...`` removes it."""
    record = json.loads((folder / "run.json").read_text())
    level = record
    for key in path[:-1]:
        level = level.setdefault(key, {})
    level[path[-1]] = value
    if value is ...:
        del level[path[-1]]
    (folder / "run.json").write_text(json.dumps(record))


WRONG_VALUES = [
    (("validation", "accuracy"), math.nan),
    (("validation", "accuracy"), math.inf),
    (("validation", "accuracy"), 7),
    (("validation", "accuracy"), -1),
    (("validation", "accuracy"), "0.9"),
    (("validation", "accuracy"), True),
    (("validation", "accuracy"), 10**400),
    (("validation", "accuracy"), ...),
    (("validation",), []),
    (("test", "accuracy"), 7),
    (("test",), ...),
    (("best_epoch",), 0),
    (("best_epoch",), 10**400),
    (("parameters",), -1),
    (("parameters",), 1.5),
    (("seconds_per_epoch",), math.inf),
    (("refit",), 5),
    (("refit", "epochs"), 0),
    (("refit", "accuracy"), 7),
    (("script",), 5),
    (("started",), "yesterday"),
    (("started",), 5),
    (("sha256",), 5),
    (("sha256", "model.keras"), 5),
    (("network",), "LSTM(100)"),
    (("network",), ["LSTM"] * 10_000),
    (("data",), "reviews.csv"),
    (("data", "training"), "many"),
    (("constants",), []),
    (("constants",), {f"X{i}": i for i in range(10_000)}),
    (("constants", "MAXIMUM_TOKENS"), 0),
    (("constants", "MAXIMUM_TOKENS"), "500"),
    (("constants", "VOCABULARY_SIZE"), True),
    (("constants", "PADDING"), "x" * 10_000),
    (("constants", "X"), NESTED),
]


@pytest.mark.parametrize(("path", "value"), WRONG_VALUES)
def test_a_wrong_value_in_a_record_is_named(path, value, models):
    folder = write_run(models, "bad")
    change(folder, path, value)
    with pytest.raises(ValueError, match=r"run\.json") as raised:
        read_record(folder)
    assert_one_line(raised.value)
    assert path[0] in str(raised.value) or "nested" in str(raised.value)
    assert len(str(raised.value)) < 1_000


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[" * 100_000, "nested"),
        (b"[]", "object"),
        (b"null", "object"),
        (b'{"parameters": ' + b"1" * 5_000 + b"}", "digits"),
        (b"\xff", "UTF-8"),
        (b"{" + b" " * 10_000_000 + b"}", "10 MB"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_file_that_is_no_record(content, expected, models):
    folder = write_run(models, "bad")
    (folder / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match=expected) as raised:
        read_record(folder)
    assert_one_line(raised.value)


def write_good_run(models, name):
    folder = write_run(models, name)
    (folder / "vocabulary.txt").write_text("<padding>\n<start>\n<oov>\n<unused>\ngood\n")
    (folder / "model.keras").touch()
    change(folder, ("started",), "2026-11-22T21:20:52+00:00")
    return folder


def replace(folder, name, make):
    (folder / name).unlink()
    make(folder / name)


# What makes a copy of a good run unusable.
BROKEN = {
    f"{'.'.join(path)} {str(value)[:9]} {i}": lambda folder, p=path, v=value: change(folder, p, v)
    for i, (path, value) in enumerate(WRONG_VALUES)
}
BROKEN |= {
    "run.json nested": lambda folder: (folder / "run.json").write_bytes(b"[" * 100_000),
    "run.json a folder": lambda folder: replace(folder, "run.json", Path.mkdir),
    "run.json a pipe": lambda folder: replace(folder, "run.json", os.mkfifo),
    "run.json a loop": lambda folder: replace(
        folder, "run.json", lambda path: path.symlink_to("run.json")
    ),
    "run.json a dangling link": lambda folder: replace(
        folder, "run.json", lambda path: path.symlink_to("nowhere")
    ),
    "run.json a device": lambda folder: replace(
        folder, "run.json", lambda path: path.symlink_to("/dev/zero")
    ),
    "history a pipe": lambda folder: replace(folder, "history.csv", os.mkfifo),
    "history a folder": lambda folder: replace(folder, "history.csv", Path.mkdir),
    "history a loop": lambda folder: replace(
        folder, "history.csv", lambda path: path.symlink_to("history.csv")
    ),
    "history without epochs": lambda folder: (folder / "history.csv").write_text("epoch,loss\n"),
    "vocabulary a pipe": lambda folder: replace(folder, "vocabulary.txt", os.mkfifo),
    "vocabulary of zeros": lambda folder: replace(
        folder, "vocabulary.txt", lambda path: path.symlink_to("/dev/zero")
    ),
    "model a pipe": lambda folder: replace(folder, "model.keras", os.mkfifo),
    "control\x1b[31m\ncharacters": lambda folder: (folder / "run.json").write_text("{"),
    "x" * 255: lambda folder: (folder / "run.json").write_text("{"),
}


@pytest.fixture
def broken_models(models):
    """A folder with a good run, an unfinished one, and many that can't be used."""
    write_good_run(models, "good")
    for name, damage in BROKEN.items():
        damage(write_good_run(models, name))
    (models / "loop").symlink_to("loop")
    (models / "dangling").symlink_to("nowhere")
    (models / "file").write_text("no folder")
    (models / "history.csv").mkdir()
    os.mkfifo(models / "pipe.csv")
    (models / "run.json").write_text("{}")
    (models / "unfinished").mkdir()
    write_checkpoint(models / "unfinished", make_state())
    for number, make in enumerate([Path.mkdir, os.mkfifo, Path.touch]):
        (models / f"unfinished {number}").mkdir()
        make(models / f"unfinished {number}" / "checkpoint.npz")
    return models


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_broken_runs_do_not_affect_others(broken_models, monkeypatch, capsys):
    (write_good_run(broken_models, "a run without model") / "model.keras").unlink()
    for name in ("best", "newest"):
        assert find_finished(name)[0] == Path("models", "good")
    shutil.rmtree(broken_models / "a run without model")
    assert find_unfinished("train_lstm.py", "")[0] == Path("models", "unfinished")
    assert read_like("good", "train_lstm.py")[0] == Path("models", "good")
    capsys.readouterr()
    for output in ("--csv", "--markdown"):
        monkeypatch.setattr(sys, "argv", ["plot_history.py", output])
        plot_history.main()
        printed = capsys.readouterr()
        assert printed.err.replace("\n", "").isprintable()
        assert printed.err.count("Skipped ") >= len(BROKEN)
        if output == "--csv":
            assert [row["run"] for row in read_table(printed)] == ["good"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_broken_run_that_is_named_is_one_line(broken_models):
    for name in [*BROKEN, "loop", "dangling", "file", "unfinished 0", "unfinished 1", "y" * 999]:
        for find, *arguments in (
            (find_finished, name),
            (read_like, name, "train_lstm.py"),
            (find_unfinished, "train_lstm.py", name),
        ):
            with pytest.raises(SentimentError) as raised:
                find(*arguments)
            assert raised.value.status == 1
            assert_one_line(raised.value)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs users with different rights")
def test_what_may_not_be_read_does_not_affect_others(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder, "models")
        for name in ("good", "folder", "record", "history", "vocabulary"):
            write_good_run(models, name)
        for name in ("folder", "record/run.json", "history/history.csv"):
            (models / name).chmod(0)
        (models / "vocabulary/vocabulary.txt").chmod(0)
        write_checkpoint(models / "folder", make_state())
        Path(folder).chmod(0o755)

        def use():
            monkeypatch.setenv("SENTIMENT_MODELS", str(models))
            os.chdir(folder)
            assert find_finished("best")[0].name == "good"
            readable = [path.name for path in find_runs(Path("models")) if is_readable(path)]
            assert {"good"} <= set(readable) <= {"good", "vocabulary"}
            for name in ("folder", "record", "history"):
                for find in (find_finished, lambda name: find_unfinished("train_lstm.py", name)):
                    with pytest.raises(SentimentError) as raised:
                        find(name)
                    assert_one_line(raised.value)
            with pytest.raises(SentimentError, match="no unfinished run"):
                find_unfinished("train_lstm.py", "")

        pid = os.fork()
        if not pid:  # as another user, because root may read everything
            try:
                os.seteuid(65534)
                use()
                os._exit(0)
            finally:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        assert status == 0


def is_readable(path):
    try:
        return read_record(path)
    except ValueError as error:
        assert_one_line(error)


def write_history(models, name, text):
    models.mkdir(exist_ok=True)
    (models / name).write_text(text)
    return read_record(models / name)


def test_numbers_of_other_programs(models):
    text = "loss,acc,val_loss,val_acc\ninf,90,NA,50\n0.5,95,1e308,\n-inf,,0.25,75\n1,99,nan,-3\n"
    record = write_history(models, "theirs.csv", text)
    nan = math.nan
    expected = {
        "loss": [nan, 0.5, nan, 1.0],
        "accuracy": [0.9, 0.95, nan, 0.99],
        "val_loss": [nan, nan, 0.25, nan],
        "val_accuracy": [0.5, nan, 0.75, nan],
    }
    for name, values in expected.items():
        assert record.history[name] == pytest.approx(values, nan_ok=True)
    group = Group([record])
    assert group.best_epochs == [3] and group.validation_accuracies == [0.75]
    # The best epoch has no validation accuracy.
    group = Group([write_history(models, "a.csv", "val_loss,loss,val_acc\n0.5,1,nan\n0.7,1,1\n")])
    assert group.best_epochs == [1] and group.validation_accuracies == []
    record = write_history(models, "b.json", f'{{"loss": [1{"0" * 400}, null, Infinity, 3]}}')
    assert record.history["loss"] == pytest.approx([nan, nan, nan, 3], nan_ok=True)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "loss\nnan\ninf\n", "finite"),
        ("a.csv", "epoch,loss,acc\n1,0.5,1\n2,0.5\n", "acc"),
        ("a.csv", "loss\n" + "1\n" * 100_001, "100,000"),
        ("a.csv", "loss\n" + "1" * 200_000, "a.csv"),
        ("a.csv", "x" * 10_000_001, "10 MB"),
        ("a.json", '{"loss": [true, false]}', "loss"),
        ("a.json", '{"loss": [[1]]}', "loss"),
        ("a.json", '{"loss": []}', "finite"),
        ("a.json", '{"loss": [1' + "0" * 5_000 + "]}", "digits"),
        ("a.json", "[" * 900 + "]" * 900, "nested"),
    ],
    ids=range(10),
)
def test_an_unusable_history_is_one_line(name, text, expected, models):
    with pytest.raises(ValueError, match=expected) as raised:
        write_history(models, name, text)
    assert_one_line(raised.value)


def test_a_repeated_run_with_nan_in_its_history_is_recognized(models):
    folders = [write_run(models, name) for name in "ab"]
    for folder in folders:
        (folder / "history.csv").write_text("epoch,loss,val_loss\n1,0.5,nan\n2,0.4,nan\n")
    groups, (line,) = group_runs([read_record(folder) for folder in folders])
    assert len(groups) == 1 and "it repeats a" in line


def test_long_texts_in_a_record_are_shortened(models):
    long = "x" * 1_000_000
    record = read_record(write_run(models, "a", LONG=long, MORE={long: [long]}))
    data = {**record.metadata["data"], "source": long}
    other = read_record(write_run(models, "b", LONG="y" * 999, data=data))
    groups, _ = group_runs([record, other])
    describe_differences(groups)
    for group in groups:
        texts = [group.name, group.network, group.data, *group.differences]
        assert max(map(len, texts)) < 1_000
    assert any("LONG=yyy" in text for group in groups for text in group.differences)


def test_seeds_without_a_mean_are_one_line(models, tmp_path):
    script = tmp_path / "train_own.py"
    script.write_text("SEED = 1\n")
    namespace = {"__file__": str(script), "__doc__": "", "__name__": "train_own", "SEED": 1}
    main = training_script(namespace)(lambda settings: models / "deleted meanwhile")
    with pytest.raises(SentimentError, match="mean") as raised:
        main(["--seeds", "1,2"])
    assert_one_line(raised.value)


def test_a_run_without_a_time_is_not_the_newest(models):
    write_good_run(models, "good")
    write_run(models, "older")
    assert find_finished("newest")[0] == Path("models", "good")

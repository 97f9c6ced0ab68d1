"""A run is resumed as it was started, repeated on request, and stopped where the loss diverges."""

import functools
import io
import json
import os
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

import plot_history
import train_cnn_lstm
import train_lstm
import train_naive_bayes_lstm
from sentiment.errors import SentimentError
from sentiment.inference import load_predictor
from sentiment.runs.folder import HASHED_FILES, create_run_folder
from sentiment.runs.record import read_record
from sentiment.runs.recorder import RunRecorder
from tests.conftest import assert_one_line
from tests.run_folders import write_checkpoint

SMALL = ["--lstm-units=8", "--embedding-size=8"]


def fail(train, *arguments, script=train_lstm):
    """Return the line in which a training fails."""
    with pytest.raises(SentimentError) as raised:
        train(script, *arguments)
    assert_one_line(raised.value)
    return str(raised.value)


def last_line(capsys):
    return capsys.readouterr().out.splitlines()[-1]


def test_a_run_is_resumed_only_as_it_was_started(
    train, averages, train_one_epoch, small_data, monkeypatch
):
    train_one_epoch(train_lstm, *SMALL)
    assert "LSTM_UNITS was 8 and is 9" in fail(train, "--resume", "lstm", "--lstm-units=9")
    # The checkpoint has what the options set; the rest is in the script, which may be edited.
    with monkeypatch.context() as changed:
        changed.setattr(train_lstm, "DROPOUT_AFTER_LSTM", 0.123)
        message = fail(train, "--resume")
        assert "DROPOUT_AFTER_LSTM was " in message and message.endswith(" and is 0.123")
    with monkeypatch.context() as changed:
        changed.setattr(keras, "__version__", "2.0")
        message = fail(train, "--resume")
    assert f"keras was {keras.__version__} and is 2.0" in message
    small_data.y_train[:] = 1 - small_data.y_train
    assert "reviews" in fail(train, "--resume")
    small_data.y_train[:] = 1 - small_data.y_train
    message = fail(train, "--resume", "lstm", script=train_cnn_lstm)
    assert "train_lstm.py" in message and "train_cnn_lstm.py" in message
    train(train_lstm, "--resume")
    assert str(Path("models", "lstm")) in fail(train, "--resume", "lstm")  # it is finished
    assert "train_lstm.py" in fail(train, "--resume")
    assert "'other'" in fail(train, "--resume", "other")
    message = fail(train, "--like", "lstm", script=train_cnn_lstm)
    assert "train_lstm.py" in message and "train_cnn_lstm.py" in message


@pytest.mark.extended
def test_moving_averages_of_the_weights_are_resumed(
    train, averages, train_one_epoch, monkeypatch, capsys
):
    adam = functools.partial(keras.optimizers.Adam, use_ema=True, ema_momentum=0.98)
    monkeypatch.setattr(keras.optimizers, "Adam", adam)
    train_one_epoch(train_lstm, *SMALL, "--batch-size=16")
    train(train_lstm, "--resume")
    train(train_lstm, "--like", "lstm")
    assert last_line(capsys).startswith("Reproduced ")


@pytest.mark.extended
def test_the_weights_of_ngrams_are_resumed(train, train_one_epoch, capsys):
    train_one_epoch(train_naive_bayes_lstm, *SMALL, "--ngrams=500")
    train(train_naive_bayes_lstm, "--resume")
    train(train_naive_bayes_lstm, "--like", "naive_bayes_lstm")
    assert last_line(capsys).startswith("Reproduced ")


def test_a_damaged_checkpoint_is_an_error(train, averages, train_one_epoch, tmp_path, capsys):
    train_one_epoch(train_lstm, *SMALL)
    checkpoint = tmp_path / "models" / "lstm" / "checkpoint.npz"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:5_000])
    message = fail(train, "--resume", "lstm")
    assert "checkpoint.npz" in message and "damaged" in message
    # Without a name, the next run is resumed, and the damaged one is named.
    shutil.copytree(tmp_path / "models" / "lstm", tmp_path / "models" / "newer")
    checkpoint.write_bytes(content)
    os.utime(checkpoint, (0, 0))
    capsys.readouterr()
    train(train_lstm, "--resume")
    assert str(Path("models", "newer")) in capsys.readouterr().out.splitlines()[0]
    assert (tmp_path / "models" / "lstm" / "run.json").exists()
    shutil.rmtree(tmp_path / "models" / "lstm")
    (tmp_path / "models" / "newer").rename(tmp_path / "models" / "lstm")
    checkpoint.unlink()
    assert "no checkpoint" in fail(train, "--resume", "lstm")


def read_checkpoint(folder):
    with np.load(folder / "checkpoint.npz") as file:
        arrays = dict(file)
    return json.loads(arrays.pop("state").tobytes()), arrays


def read_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


NESTED = json.loads("[" * 900 + "]" * 900)
ROW = {"epoch": 1, "accuracy": 0.5, "loss": 1.0, "val_accuracy": 0.5, "val_loss": 1.0}
OTHER_ROW = {**ROW, "seconds": 1.0}
# What is changed in the state after one of two epochs; ...: is missing.
WRONG_STATES = [
    {"options": {"DATA": 5}},
    {"options": {"DATA": ["imdb"]}},
    {"options": {"DATA": None}},
    {"options": {"Run": "x"}},
    {"options": {"keras": 5}},
    {"options": []},
    {"options": {"LSTM_UNITS": NESTED}},
    {"constants": 5},
    {"constants": {}},
    {"data": []},
    {"versions": {"keras": 5}},
    {"sha256": ...},
    {"evaluate_test": "no"},
    {"script": ...},
    {"script": "train\x1b[31m\n.py"},
    {"started": ...},
    {"started": "yesterday\x1b[31m"},
    {"like": 5},
    {"history": "x"},
    {"history": ...},
    {"history": []},
    {"history": [ROW]},
    {"history": [{**OTHER_ROW, "epoch": 2}]},
    {"history": [{**OTHER_ROW, "epoch": epoch} for epoch in (1, 2, 3)]},
    {"history": [{**OTHER_ROW, "val_accuracy": 7}]},
    {"history": [{**OTHER_ROW, "own": "x"}], "best": {**OTHER_ROW, "own": "x"}},
    {"history": [OTHER_ROW, {**OTHER_ROW, "epoch": 2, "own": 1}], "best": OTHER_ROW},
    {"best": None},
    {"best": ...},
    {"best": OTHER_ROW},
    {"best": 1},
    {"refit": ...},
    {"refit": 5},
    {"refit": {"history": [], "unsure": {"margin": 0.1, "words": 5}}},  # without REFIT
]
# What is changed in its arrays, likewise; the state is an array, too.
WRONG_ARRAYS = [
    {"best_0": None},
    {"best_1": None},
    {"best_0": np.zeros(3, np.float32)},
    {"best_99": np.zeros(3)},
    {"best_0": "NaN"},
    {"model_0": "NaN"},
    {"model_0": np.array(["x"])},
    {"optimizer_0": np.zeros((), np.float32)},
    {"optimizer_1": None},
    {"state": None},
    {"state": np.zeros(3)},
    {"state": np.frombuffer(b"[]", np.uint8)},
    {"state": np.frombuffer(b"[" * 100_000, np.uint8)},
    {"state": np.frombuffer(b'{"script": ' + b"1" * 5_000 + b"}", np.uint8)},
]


@pytest.mark.extended
def test_a_wrong_checkpoint_is_one_line_and_changes_nothing(
    train, averages, train_one_epoch, tmp_path
):
    train_one_epoch(train_lstm, *SMALL)
    run = tmp_path / "models" / "lstm"
    state, arrays = read_checkpoint(run)

    def check():
        before = read_files(run)
        message = fail(train, "--resume", "lstm")
        assert str(Path("models", "lstm")) in message or "must be" in message
        assert read_files(run) == before
        return message

    for changes in WRONG_STATES:
        changed = {name: value for name, value in {**state, **changes}.items() if value is not ...}
        write_checkpoint(run, changed, **arrays)
        message = check()
        name = next(iter(changes))
        assert name in ("options", "constants", "script") or name in message
    whole = {"state": np.frombuffer(json.dumps(state).encode(), np.uint8), **arrays}
    for changes in WRONG_ARRAYS:
        changed = {
            name: np.full_like(whole[name], np.nan) if isinstance(array, str) else array
            for name, array in {**whole, **changes}.items()
            if array is not None
        }
        np.savez(run / "checkpoint.npz", **changed)
        check()
    np.savez_compressed(run / "checkpoint.npz", **whole)  # it may unpack to any size
    check()
    with zipfile.ZipFile(run / "checkpoint.npz", "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("zeros.npy", bytes(10**8))
    check()


def test_a_run_whose_files_were_changed_is_finished_with_its_own(
    train, averages, monkeypatch, tmp_path, capsys
):
    with monkeypatch.context() as changed, pytest.raises(ZeroDivisionError):
        changed.setattr(RunRecorder, "finish", lambda *_: 1 / 0)
        train(train_lstm, *SMALL, "--epochs=1")
    run = tmp_path / "models" / "lstm"
    weights = keras.saving.load_model(run / "model.keras").get_weights()
    before = {name: (run / name).read_bytes() for name in ("vocabulary.txt", "history.csv")}
    words = before["vocabulary.txt"].decode().split("\n")
    good, awful = words.index("good"), words.index("awful")
    words[good], words[awful] = "awful", "good"
    (run / "vocabulary.txt").write_bytes("\n".join(words).encode())
    (run / "history.csv").write_text("epoch,loss\n1,0.5\n")
    network = keras.saving.load_model(run / "model.keras")
    network.set_weights([-weight for weight in weights])
    network.save(run / "model.keras")
    (tmp_path / "own").write_text("mine")
    (run / ".unfinished-model.keras").symlink_to(tmp_path / "own")
    state, arrays = read_checkpoint(run)
    write_checkpoint(run, {**state, "like": str(tmp_path / "gone\x1b[31m")}, **arrays)
    run = run.rename(run.with_name(r"a$\frac$b"))  # an error in a formula
    capsys.readouterr()
    train(train_lstm, "--resume", run.name)
    assert last_line(capsys).startswith("Not compared ")
    assert read_record(run).metadata["epochs"] == 1
    assert {name: (run / name).read_bytes() for name in before} == before
    finished = keras.saving.load_model(run / "model.keras").get_weights()
    assert all(np.array_equal(*pair) for pair in zip(weights, finished, strict=True))
    assert (tmp_path / "own").read_text() == "mine"


@pytest.mark.extended
def test_a_training_whose_output_is_not_read_any_more_stops_like_ctrl_c(
    train, averages, monkeypatch, tmp_path
):
    class Closed(io.StringIO):
        def __init__(self, text):
            super().__init__()
            self.failing = text

        def write(self, text):
            if self.failing in text:
                raise BrokenPipeError
            return super().write(text)

    for text, epochs in (("Run folder", 0), ("Epoch 1", 1), ("Epoch 2", 2)):
        with monkeypatch.context() as changed:
            changed.setattr(sys, "stdout", Closed(text))
            arguments = ["--resume"] if epochs else SMALL
            assert fail(train, *arguments).endswith("python train_lstm.py --resume lstm")
        state, _ = read_checkpoint(tmp_path / "models" / "lstm")
        assert len(state["history"]) == epochs


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch raises an error of its own")
def test_a_loss_that_diverges_ends_the_training(train, tmp_path):
    assert "LEARNING_RATE" in fail(train, *SMALL, "--learning-rate=1e38")
    assert not (tmp_path / "models" / "lstm" / "run.json").exists()
    keras.saving.load_model(tmp_path / "models" / "lstm" / "model.keras")
    # It would diverge again, so it is not what --resume continues.
    assert "no unfinished run" in fail(train, "--resume")


@pytest.mark.slow
def test_like_says_whether_a_run_was_reproduced(train, averages, train_one_epoch, capsys):
    train(train_lstm, *SMALL)
    train(train_lstm, "--like", "lstm")
    line = last_line(capsys)
    assert line.startswith("Reproduced ") and str(Path("models", "lstm")) in line
    train(train_lstm, "--like", "models/lstm", "--seed", "2")
    line = last_line(capsys)
    assert line.startswith("Not reproduced ") and line.endswith("; SEED was 1 and is 2")
    train_one_epoch(train_lstm, "--like", "lstm")
    train(train_lstm, "--resume")
    assert last_line(capsys).startswith("Reproduced ")


def test_trainings_that_start_at_the_same_time_get_different_folders(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(20) as pool:
        folders = list(pool.map(create_run_folder, ["lstm"] * 200))
    assert len(set(folders)) == 200


@pytest.mark.slow
def test_files_of_another_run_are_detected(train, averages, tmp_path, monkeypatch, capsys):
    for seed in ("1", "2"):
        train(train_lstm, *SMALL, "--seed", seed)
    one, other = (tmp_path / "models" / name for name in ("lstm", "lstm-2"))
    for name in HASHED_FILES:
        content = (one / name).read_bytes()
        (one / name).write_bytes((other / name).read_bytes() + b"more\n" * (name[0] == "v"))
        with pytest.raises(SentimentError, match=name) as raised:
            load_predictor(str(one))
        assert_one_line(raised.value)
        monkeypatch.setattr("sys.argv", ["plot_history.py"])
        plot_history.main()
        assert name in capsys.readouterr().err
        (one / name).write_bytes(content)
    assert load_predictor(str(one))

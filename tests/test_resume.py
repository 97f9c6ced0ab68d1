"""A run is resumed as it was started, repeated on request, and stopped where the loss diverges."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import pytest

import plot_history
import train_cnn_lstm
import train_lstm
import train_naive_bayes_lstm
from sentiment.errors import SentimentError
from sentiment.inference import load_predictor
from sentiment.runs.folder import HASHED_FILES, create_run_folder
from tests.conftest import assert_one_line

SMALL = ["--lstm-units=8", "--embedding-size=8"]


def fail(train, *arguments, script=train_lstm):
    """Return the line in which a training fails."""
    with pytest.raises(SentimentError) as raised:
        train(script, *arguments)
    assert_one_line(raised.value)
    return str(raised.value)


def last_line(capsys):
    return capsys.readouterr().out.splitlines()[-1]


def test_a_run_is_resumed_only_as_it_was_started(train, train_one_epoch, small_data, monkeypatch):
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


@pytest.mark.slow
def test_moving_averages_of_the_weights_are_resumed(train, train_one_epoch, capsys):
    arguments = ["--naive-bayes-terms=1000", "--batch-size=4", "--ema-momentum=0.98"]
    train_one_epoch(train_naive_bayes_lstm, *SMALL, *arguments)
    train(train_naive_bayes_lstm, "--resume")
    train(train_naive_bayes_lstm, "--like", "naive_bayes_lstm")
    assert last_line(capsys).startswith("Reproduced ")


def test_a_damaged_checkpoint_is_an_error(train, train_one_epoch, tmp_path, capsys):
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


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch raises an error of its own")
def test_a_loss_that_diverges_ends_the_training(train, tmp_path):
    assert "LEARNING_RATE" in fail(train, *SMALL, "--learning-rate=1e38")
    assert not (tmp_path / "models" / "lstm" / "run.json").exists()
    keras.saving.load_model(tmp_path / "models" / "lstm" / "model.keras")
    # It would diverge again, so it is not what --resume continues.
    assert "no unfinished run" in fail(train, "--resume")


@pytest.mark.slow
def test_like_says_whether_a_run_was_reproduced(train, train_one_epoch, capsys):
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
def test_files_of_another_run_are_detected(train, tmp_path, monkeypatch, capsys):
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

"""What a training is resumed from, stopped for and compared with."""

from concurrent.futures import ThreadPoolExecutor

import plot_history
import train_cnn_lstm
import train_lstm
import train_naive_bayes_lstm
from sentiment import runs, training

import keras
import pytest


@pytest.fixture
def break_off(train, monkeypatch):
    """A function that breaks a training off at the start of its second epoch."""

    def run(*arguments, script=train_lstm):
        begin = training.Run.on_epoch_begin

        def stop(self, epoch, logs=None):
            if epoch == 1:
                raise ZeroDivisionError
            begin(self, epoch, logs)

        monkeypatch.setattr(training.Run, "on_epoch_begin", stop)
        with pytest.raises(ZeroDivisionError):
            train(script, *arguments)
        monkeypatch.setattr(training.Run, "on_epoch_begin", begin)

    return run


def refuse(train, *arguments, script=train_lstm):
    with pytest.raises(SystemExit) as stopped:
        train(script, *arguments)
    message = str(stopped.value.code)
    assert "\n" not in message
    return message


def test_it_is_resumed_only_as_it_was_begun(break_off, train, small_data, monkeypatch):
    break_off()
    keras_version = keras.__version__
    said = refuse(train, "--resume", "lstm", "--lstm-units", "64")
    assert said.endswith("can only be resumed as it was begun: LSTM_UNITS was 100 and is 64")
    with monkeypatch.context() as changed:
        changed.setattr(train_lstm, "BATCH_SIZE", 32)
        assert "BATCH_SIZE was 64 and is 32" in refuse(train, "--resume")
    with monkeypatch.context() as changed:
        changed.setattr(keras, "__version__", "2.0")
        assert f"keras was {keras_version} and is 2.0" in refuse(train, "--resume")
    small_data.y_train[:] = 1 - small_data.y_train
    assert "data was " in refuse(train, "--resume")
    small_data.y_train[:] = 1 - small_data.y_train
    train(train_lstm, "--resume")
    assert refuse(train, "--resume", "lstm") == (
        f"{runs.MODELS / 'lstm'} is finished: there is nothing to resume"
    )
    assert refuse(train, "--resume").startswith("There is no unfinished run of train_lstm.py")
    assert refuse(train, "--resume", "other").startswith("There is no run 'other'")


def test_averaged_weights_go_on_as_if_nothing_had_been(break_off, train, capsys):
    few = ["--counted-terms", "1000", "--batch-size", "4"]
    break_off(*few, script=train_naive_bayes_lstm)
    train(train_naive_bayes_lstm, "--resume")
    train(train_naive_bayes_lstm, "--like", "naive_bayes_lstm")
    assert capsys.readouterr().out.splitlines()[-1].startswith("Matched ")


def test_a_damaged_checkpoint_is_one_line(break_off, train, tmp_path):
    break_off()
    checkpoint = tmp_path / "models" / "lstm" / "checkpoint.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5_000])
    assert "checkpoint.npz is damaged" in refuse(train, "--resume", "lstm")
    checkpoint.unlink()
    assert "it has no checkpoint" in refuse(train, "--resume", "lstm")


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch itself refuses such a loss")
def test_a_loss_that_explodes_ends_the_training(train, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        train(train_lstm, "--learning-rate", "1e38")
    assert stopped.value.code == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("train_lstm.py: the loss is ") and "lower LEARNING_RATE" in message
    keras.saving.load_model(tmp_path / "models" / "lstm" / "model.keras")


def test_the_same_run_again_says_whether_it_matched(break_off, train, capsys):
    train(train_lstm, "--lstm-units", "8")
    train(train_lstm, "--like", "lstm")
    assert "Matched            models/lstm: the same history and weights" in capsys.readouterr().out
    train(train_lstm, "--like", "models/lstm", "--seed", "2")
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("Not matched ") and said.endswith("; SEED was 1 and is 2")
    break_off("--like", "lstm")
    train(train_lstm, "--resume")
    assert capsys.readouterr().out.splitlines()[-1].startswith("Matched ")
    assert "by train_lstm.py, not by train_cnn_lstm.py" in refuse(
        train, "--like", "lstm", script=train_cnn_lstm
    )


def test_two_that_start_at_once_get_two_folders(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(20) as pool:
        taken = list(pool.map(runs.take_folder, ["lstm"] * 200))
    assert len(set(taken)) == 200


def test_files_of_another_run_are_noticed(train, tmp_path, monkeypatch, capsys):
    for seed in ("1", "2"):
        train(train_lstm, "--lstm-units", "8", "--seed", seed)
    one, other = (tmp_path / "models" / name for name in ("lstm", "lstm-2"))
    for name in runs.HASHED_FILES:
        content = (one / name).read_bytes()
        (one / name).write_bytes((other / name).read_bytes() + b"more\n" * (name[0] == "v"))
        message = f"{name} is not the one that run.json was written for"
        with pytest.raises(SystemExit) as stopped:
            runs.load_run(str(one))
        assert message in str(stopped.value)
        monkeypatch.setattr("sys.argv", ["plot_history.py"])
        plot_history.main()
        assert message in capsys.readouterr().err
        (one / name).write_bytes(content)
    assert runs.load_run(str(one))

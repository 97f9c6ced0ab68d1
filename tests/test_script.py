"""A script's main() as notebooks call it, and the constants about how a training proceeds."""

import csv
import importlib.util
import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import train_lstm
from sentiment.data.imdb import read_package
from sentiment.errors import SentimentError
from sentiment.inference import DEFAULT_RUN
from sentiment.runs.recorder import RunRecorder
from sentiment.schedules import make_schedule
from tests.conftest import CONSTANTS, assert_one_line, run_script
from tests.test_files import write_csv
from tests.test_training import OVERFIT

SMALL = ["--lstm-units=4", "--epochs=1"]


def read_run(folder):
    return json.loads((folder / "run.json").read_text())


def read_epochs(folder):
    """Return the history without the seconds, which vary."""
    with (folder / "history.csv").open(newline="") as file:
        return [{**row, "seconds": None} for row in csv.DictReader(file)]


def test_main_takes_constants_and_arguments_again_and_again(train, averages, monkeypatch, tmp_path):
    # A notebook's kernel has arguments of its own.
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    monkeypatch.setattr(train_lstm, "EPOCHS", 1)
    monkeypatch.setattr(train_lstm, "LSTM_UNITS", 4)
    monkeypatch.setattr(train_lstm, "WORD_VECTORS", "none")
    before = {name: value for name, value in vars(train_lstm).items() if name.isupper()}
    handler = signal.getsignal(signal.SIGINT)
    train(train_lstm, "--epochs=2")  # replaces load_data
    folders = [train_lstm.main(), train_lstm.main(["--lstm-units", "3"]), train_lstm.main()]
    assert all((folder / "run.json").exists() for folder in folders)
    assert [read_run(folder)["constants"]["LSTM_UNITS"] for folder in folders] == [4, 3, 4]
    assert {read_run(folder)["epochs"] for folder in folders} == {1}
    assert read_epochs(folders[0]) == read_epochs(folders[2])
    layers = [[layer.name for layer in load(folder).layers] for folder in folders]
    assert layers[0] == layers[1] == layers[2]
    assert {name: getattr(train_lstm, name) for name in before} == before
    assert signal.getsignal(signal.SIGINT) is handler
    assert keras.config.dtype_policy().name == "float32"


def load(folder):
    return keras.saving.load_model(folder / "model.keras")


def test_a_training_that_fails_can_be_resumed_in_the_same_process(train, averages, train_one_epoch):
    stdout = sys.stdout
    train_one_epoch(train_lstm, *SMALL, "--epochs=2")
    assert sys.stdout is stdout
    folder = train(train_lstm, "--resume") / "lstm"
    assert read_run(folder)["epochs"] == 2


@pytest.mark.slow
@pytest.mark.extended
def test_several_seeds_are_trained_in_a_row(train, averages, capsys):
    models = train(train_lstm, *SMALL, "--seed=2")
    capsys.readouterr()
    with pytest.raises(SentimentError, match="--seed"):
        train(train_lstm, "--seeds=1,2")  # the fixture sets --seed, too
    train(train_lstm, "--like", "lstm", "--seeds=1,2,3")
    folders = [models / f"lstm-{number}" for number in (2, 3, 4)]
    assert [read_run(folder)["constants"]["SEED"] for folder in folders] == [1, 2, 3]
    assert len({str(read_epochs(folder)) for folder in folders}) == 3
    assert read_epochs(folders[1]) == read_epochs(models / "lstm")
    *_, heading, validation, test = capsys.readouterr().out.splitlines()
    assert "3 seeds" in heading
    accuracies = [100 * read_run(folder)["test"]["accuracy"] for folder in folders]
    assert "Test accuracy" in test and f"{np.mean(accuracies):.2f} ±" in test
    assert "Validation accuracy" in validation


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--seeds=1,2", "--seed=3"], "--seed"),
        (["--seeds=1,2", "--resume"], "--resume"),
        (["--seeds=1;2"], "1,2,3"),
        (["--seeds=1,-2"], "--seed"),
    ],
)
def test_seeds_that_can_not_be_used_are_wrong_usage(arguments, expected):
    with pytest.raises(SentimentError, match=expected) as raised:
        train_lstm.main(arguments)
    assert raised.value.status == 2
    assert_one_line(raised.value)


@pytest.fixture
def contradicting_data(small_data):
    """Data whose validation loss rises from the first epoch on."""
    small_data.x_validation.tokens[:] = small_data.x_train.tokens
    small_data.x_validation.offsets[:] = small_data.x_train.offsets
    small_data.y_validation[:] = 1 - small_data.y_train
    return small_data


@pytest.mark.slow
def test_patience_stops_the_training_and_stays_stopped(
    contradicting_data, train, averages, monkeypatch, capsys
):
    with monkeypatch.context() as changed, pytest.raises(ZeroDivisionError):
        changed.setattr(RunRecorder, "finish", lambda *_: 1 / 0)
        train(train_lstm, *OVERFIT, "--patience=2")
    folder = train(train_lstm, "--resume") / "lstm"
    epochs = read_epochs(folder)
    losses = [float(row["val_loss"]) for row in epochs]
    assert len(epochs) == losses.index(min(losses)) + 3 < 5
    assert read_run(folder)["epochs"] == len(epochs)
    summary = capsys.readouterr().out.splitlines()[-5:]
    assert any("stopped early" in line and "PATIENCE" in line for line in summary)


def test_without_patience_all_epochs_are_trained(contradicting_data, train, averages):
    folder = train(train_lstm, "--patience=0", "--epochs=3", "--learning-rate=0.01") / "lstm"
    assert len(read_epochs(folder)) == 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [0.4, 0.4, 0.4, 0.4]),
        ("cosine", [0.4, 0.2, 0, 0]),
        ("cosine_with_warmup", [0, 0.244, 0, 0]),  # the first 10 of 100 steps rise
    ],
)
def test_learning_rate_schedules(name, expected):
    schedule = make_schedule(name, 0.4, 100)
    rates = [
        float(schedule(step)) if callable(schedule) else schedule for step in (0, 50, 100, 9e3)
    ]
    np.testing.assert_allclose(rates, expected, atol=0.02)
    if name == "cosine_with_warmup":
        rates = [float(schedule(step)) for step in range(11)]
        np.testing.assert_allclose(rates, np.linspace(0, 0.4, 11), atol=1e-6)


@pytest.mark.slow
@pytest.mark.extended
def test_a_schedule_is_resumed_exactly(train, averages, train_one_epoch, capsys):
    train_one_epoch(train_lstm, "--learning-rate-schedule=cosine_with_warmup", "--lstm-units=4")
    models = train(train_lstm, "--resume")
    train(train_lstm, "--like", "lstm")
    assert capsys.readouterr().out.splitlines()[-1].startswith("Reproduced ")
    train(train_lstm, "--like", "lstm", "--learning-rate-schedule=constant")
    assert read_epochs(models / "lstm") != read_epochs(models / "lstm-3")


def test_the_file_of_word_vectors_is_recorded(
    train, averages, train_one_epoch, small_data, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = small_data.vocabulary[4:1000]
    path = tmp_path / "vectors.txt"
    path.write_text("".join(f"{word} 0.5 -0.25 0.125\n" for word in words), encoding="utf-8")
    options = ["--word-vectors=vectors.txt", "--embedding-size=3", "--lstm-units=4"]
    train_one_epoch(train_lstm, *options)
    assert "996 of the 9,996 words" in capsys.readouterr().out
    content = path.read_bytes()
    path.write_bytes(content + b"more 1 2 3\n")
    with pytest.raises(SentimentError, match="word_vectors") as raised:
        train(train_lstm, "--resume")
    assert_one_line(raised.value)
    path.write_bytes(content)
    record = read_run(train(train_lstm, "--resume") / "lstm")
    assert record["constants"]["WORD_VECTORS"] == "vectors.txt"
    assert len(record["sha256"]["word_vectors"]) == 64
    with pytest.raises(SentimentError, match="EMBEDDING_SIZE = 3"):
        train(train_lstm, *options, "--embedding-size=4")
    path.unlink()
    with pytest.raises(SentimentError, match="--word-vectors") as raised:
        train(train_lstm, *options)
    assert raised.value.status == 2


@pytest.mark.slow
@pytest.mark.extended
def test_events_for_tensorboard(train, averages, train_one_epoch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train_one_epoch(train_lstm, "--tensorboard", "--lstm-units=4")
    folder = train(train_lstm, "--resume") / "lstm"
    for name, prefix in (("training", ""), ("validation", "val_")):
        events = accumulator.EventAccumulator(str(folder / "tensorboard" / name)).Reload()
        for key in ("accuracy", "loss"):
            scalars = [
                (tensor.step, float(tensor.tensor_proto.float_val[0]))
                for tensor in events.Tensors(key)
            ]
            expected = [float(row[prefix + key]) for row in read_epochs(folder)]
            assert [step for step, _ in scalars] == [1, 2]
            np.testing.assert_allclose([value for _, value in scalars], expected, rtol=1e-5)


def test_a_missing_tensorboard_is_one_line(train, monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: name != "tensorboard" and find(name, *more)
    )
    with pytest.raises(SentimentError, match=r"requirements/tensorboard\.txt") as raised:
        train(train_lstm, "--tensorboard")
    assert_one_line(raised.value)
    assert not (tmp_path / "models").exists()


@pytest.fixture
def own_reviews(tmp_path):
    texts, labels = read_package()
    write_csv(tmp_path / "own.csv", texts[::100], labels[::100])
    return tmp_path / "own.csv"


@pytest.mark.slow
def test_a_log_file_has_a_line_per_epoch_and_no_control_characters(own_reviews, tmp_path):
    options = [*CONSTANTS, "--data=own.csv", "--lstm-units=4", "--maximum-tokens=20"]
    finished = run_script("train_lstm.py", *options, folder=tmp_path)
    assert finished.returncode == 0 and not finished.stderr
    lines = finished.stdout.split("\n")
    assert all(line.isprintable() for line in lines)
    epochs = [line for line in lines if line.startswith("Epoch ")]
    assert len(epochs) == 2
    (folder,) = (tmp_path / "models").iterdir()
    for line, row in zip(epochs, read_epochs(folder), strict=True):
        assert f"{float(row['val_accuracy']):.2%}" in line and f"{float(row['loss']):.4f}" in line


@pytest.mark.slow
@pytest.mark.extended
def test_a_terminal_keeps_the_progress_bar(train, averages, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    train(train_lstm, *SMALL)
    assert "━" in terminal.getvalue().partition("Run folder")[2]


@pytest.mark.extended
def test_runs_and_cache_are_in_the_project_whatever_the_current_directory(
    own_reviews, tmp_path, monkeypatch
):
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    elsewhere.mkdir()
    source = Path(train_lstm.__file__).parent
    for name in ("sentiment", "recipes"):
        shutil.copytree(source / name, project / name)
    for name in ("train_lstm.py", "predict.py"):
        shutil.copy(source / name, project)
    for name in ("SENTIMENT_MODELS", "SENTIMENT_CACHE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", "")
    shutil.copytree(DEFAULT_RUN, project / "models" / DEFAULT_RUN.name)

    def run(script, *arguments):
        command = [sys.executable, project / script, *arguments]
        return subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=True)

    options = [f"--data={own_reviews}", "--epochs=1", "--maximum-tokens=20", "--lstm-units=4"]
    run("train_lstm.py", "--like=recipes/tokens_100", *options)
    assert (project / "models" / "tokens_100" / "run.json").exists()
    assert any((project / "cache").iterdir())
    assert not any(elsewhere.iterdir())
    assert "tokens_100" in run("predict.py", "--run=newest", "A wonderful film.").stderr

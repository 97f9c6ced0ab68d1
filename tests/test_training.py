"""The training scripts learn, write a complete run folder, and survive a disk that fails."""

import csv
import errno
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import filelock
import keras
import matplotlib.image
import numpy as np
import pytest

import plot_history
import predict
import train_cnn_lstm
import train_lstm
import train_naive_bayes_lstm
from sentiment.data.batches import Batches
from sentiment.errors import SentimentError
from sentiment.layers import fit_ngram_classifiers
from sentiment.runs import atomic, folder, record, recorder
from tests.conftest import (
    CONSTANTS,
    PROGRAMS,
    PROJECT,
    assert_one_line,
    assert_readable,
    list_files,
    run_script,
)

SCRIPTS = [train_lstm, train_cnn_lstm, train_naive_bayes_lstm]
EXTENDED = (pytest.mark.slow, pytest.mark.extended)  # variants for `make test-all`
FILES = ["history.csv", "history.png", "model.keras", "run.json", "vocabulary.txt"]
# Enough words to learn from, and few enough for a test.
SHORT = [*CONSTANTS, "--vocabulary-size=5000", "--maximum-tokens=40", "--name=lstm", "--epochs=1"]
# A network and steps that are large enough to overfit the small data in five epochs.
OVERFIT = ["--epochs=5", "--learning-rate=0.01", "--embedding-size=32", "--lstm-units=100"]
OVERFIT += ["--dropout-after-embedding=0.2", "--dropout-after-lstm=0.2"]


def read_history(folder):
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def read_run(folder):
    return json.loads((folder / "run.json").read_text())


def build_model(script, monkeypatch, constants=None):
    """Return a script's network, with the constants that the tests rely on or with these."""
    for name, value in (constants or {"VOCABULARY_SIZE": 10_000, "PADDING": "post"}).items():
        monkeypatch.setattr(script, name, value)
    return script.build_model()


@pytest.fixture(scope="module")
def twin_runs(tmp_path_factory):
    """The folders of two equal runs on all training reviews, each in a process of its own."""
    folder = tmp_path_factory.mktemp("twins")
    arguments = [*SHORT, "--word-vectors=ppmi", "--chrono-timesteps=300"]
    for _ in range(2):
        finished = run_script("train_lstm.py", *arguments, folder=folder)
        assert finished.returncode == 0, finished.stderr
    return folder / "models" / "lstm", folder / "models" / "lstm-2"


@pytest.mark.slow
def test_lstm_learns_from_real_reviews(twin_runs):
    run = read_run(twin_runs[0])
    assert run["data"]["training"] == 17_500
    assert run["test"]["accuracy"] > 0.72
    assert run["validation"]["accuracy"] > 0.72


@pytest.mark.slow
def test_cnn_lstm_learns_from_real_reviews(data, monkeypatch):
    constants = {"EMBEDDING_SIZE": 32, "FILTERS": 32, "KERNEL_SIZE": 3, "POOL_SIZE": 2}
    constants |= {"DROPOUT_AFTER_EMBEDDING": 0.2, "LSTM_UNITS": 100, "DROPOUT_AFTER_LSTM": 0.2}
    constants |= {"VOCABULARY_SIZE": 10_000, "PADDING": "post"}
    model = build_model(train_cnn_lstm, monkeypatch, constants)
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    few = np.random.default_rng(0).permutation(len(data.x_train))[:6_000]
    train, test = (
        Batches([ids[-40:] for ids in x], y, 32, shuffle_seed=0)
        for x, y in (
            ([data.x_train[i] for i in few], data.y_train[few]),
            (data.x_validation, data.y_validation),
        )
    )
    model.fit(train, epochs=2, shuffle=False, verbose=0)
    assert model.evaluate(test, verbose=0, return_dict=True)["accuracy"] > 0.7


@pytest.mark.slow
def test_same_seed_gives_the_same_history_and_weights(twin_runs):
    for one, other in zip(*map(read_history, twin_runs), strict=True):
        assert {**one, "seconds": None} == {**other, "seconds": None}
    weights = [keras.models.load_model(run / "model.keras").get_weights() for run in twin_runs]
    assert all(np.array_equal(*pair) for pair in zip(*weights, strict=True))


@pytest.mark.parametrize("script", SCRIPTS)
def test_one_step_changes_every_weight(script, small_data, monkeypatch):
    model = build_model(script, monkeypatch)
    if script is train_naive_bayes_lstm:
        fit_ngram_classifiers(model, small_data)
    model.compile(optimizer="adam", loss="binary_crossentropy", run_eagerly=True)
    before = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    x, y = Batches(small_data.x_train, small_data.y_train, 96)[0]
    model.train_on_batch(x, y)
    for old, new in zip(before, model.trainable_weights, strict=True):
        assert (old != keras.ops.convert_to_numpy(new)).any()


@pytest.mark.parametrize("script", SCRIPTS)
def test_padding_does_not_change_a_probability(script, monkeypatch):
    model = build_model(script, monkeypatch)
    generator = np.random.default_rng(0)
    for tokens in (1, 2, 3, 8, 31):
        x = generator.integers(1, 10_000, (5, tokens))
        alone = keras.ops.convert_to_numpy(model(x))
        for padding in (1, 2, 13):
            padded = keras.ops.convert_to_numpy(model(np.pad(x, ((0, 0), (0, padding)))))
            np.testing.assert_allclose(padded, alone, atol=1e-6)


@pytest.mark.parametrize("script", SCRIPTS)
def test_networks_without_a_mask_read_the_padding(script, monkeypatch):
    keras.utils.set_random_seed(1)
    model = build_model(script, monkeypatch, {"VOCABULARY_SIZE": 10_000, "PADDING": "pre"})
    x = np.arange(1, 9)[np.newaxis]
    padded = np.pad(x, ((0, 0), (4, 0)))
    difference = keras.ops.convert_to_numpy(model(x) - model(padded))
    assert np.abs(difference).max() > 1e-5


@pytest.fixture
def evaluated(monkeypatch):
    """A list of the reviews of each evaluation, those of the validation set in each epoch too."""
    sequences = []
    evaluate = keras.Model.evaluate

    def note_and_evaluate(self, x, *arguments, **options):
        sequences.append(x.sequences)
        return evaluate(self, x, *arguments, **options)

    monkeypatch.setattr(keras.Model, "evaluate", note_and_evaluate)
    return sequences


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    "script",
    [
        train_lstm,
        pytest.param(train_cnn_lstm, marks=EXTENDED),
        pytest.param(train_naive_bayes_lstm, marks=pytest.mark.slow),
    ],
)
def test_run_folder_is_complete(script, train, small_data, evaluated, monkeypatch, capsys):
    """Plain Keras loads the model in a new process; naive Bayes needs an import of this project."""
    models = []
    build = script.build_model
    monkeypatch.setattr(script, "build_model", lambda: models.append(build()) or models[-1])
    folder = train(script) / Path(script.__file__).stem.removeprefix("train_")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    vocabulary = (folder / "vocabulary.txt").read_bytes().decode().split("\n")
    assert vocabulary == [*small_data.vocabulary, ""]
    assert list(read_history(folder)[0]) == list(record.HISTORY_COLUMNS)
    assert matplotlib.image.imread(folder / "history.png").shape[1] > 800

    run = read_run(folder)
    assert run["script"] == Path(script.__file__).name
    assert run["constants"]["EPOCHS"] == run["epochs"] == 2
    assert set(run["constants"]) == {
        name for name, value in vars(script).items() if name.isupper() and not callable(value)
    }
    assert run["data"]["source"] == small_data.source
    assert run["parameters"] == models[0].count_params()

    # The summary repeats what was recorded.
    printed = capsys.readouterr().out
    assert {"accuracy", "loss", "val_accuracy", "val_loss"} <= set(printed.split())
    *_, accuracy, best, restored, seconds, place = printed.splitlines()
    assert f"{run['test']['accuracy']:.2%} on 96 {small_data.test_name}" in accuracy
    assert f"{run['best_epoch']} of 2" in best
    assert f"epoch {run['restored_epoch']}" in restored
    assert f"{run['validation']['accuracy']:.2%}" in restored
    assert f"{run['seconds_per_epoch']:.1f}" in seconds and run["device"] in seconds
    assert place.endswith(str(Path("models", folder.name)))

    # The test set is evaluated once, after the last epoch.
    x_validation, x_test = small_data.x_validation, small_data.x_test
    assert list(map(id, evaluated)) == [id(x_validation), id(x_validation), id(x_test)]

    model = keras.saving.load_model(folder / "model.keras")
    x, _ = Batches(small_data.x_test, small_data.y_test, 96)[0]
    expected = models[0].predict(x, verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-6)
    if script is train_lstm:
        return  # a part of train_cnn_lstm
    np.save("x.npy", x)
    modules = ["sentiment.layers"] if script is train_naive_bayes_lstm else []
    program = [sys.executable, PROGRAMS / "predict_ids.py", folder, "x.npy", "y.npy", *modules]
    subprocess.run(program, check=True, env={**os.environ, "PYTHONPATH": str(PROJECT)})
    np.testing.assert_allclose(np.load("y.npy"), expected, atol=1e-6)


@pytest.mark.parametrize("is_resumed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_test_leaves_the_test_set_unevaluated(
    is_resumed, train, train_one_epoch, small_data, evaluated, averages, monkeypatch, capsys
):
    if is_resumed:
        train_one_epoch(train_lstm, "--no-test")
    folder = train(train_lstm, "--resume" if is_resumed else "--no-test") / "lstm"
    assert evaluated and all(sequences is small_data.x_validation for sequences in evaluated)
    assert read_run(folder)["test"] is None
    assert "not evaluated" in capsys.readouterr().out.splitlines()[-5]
    assert list_files(folder) == FILES

    monkeypatch.setattr(sys, "argv", ["predict.py", "--run=lstm", "A wonderful film."])
    predict.main()
    assert "A wonderful film." in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["plot_history.py", "--csv"])
    plot_history.main()
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert row["run"] == "lstm" and row["validation_accuracy"] and not row["test_accuracy"]


@pytest.mark.slow
def test_best_or_last_weights_are_restored(train, small_data, averages, capsys):
    # With opposite labels, the better the training set is learned the higher the validation loss.
    small_data.x_validation.tokens[:] = small_data.x_train.tokens
    small_data.x_validation.offsets[:] = small_data.x_train.offsets
    small_data.y_validation[:] = 1 - small_data.y_train
    models = train(train_lstm, *OVERFIT, "--epochs=3")
    # A finished run is never overwritten.
    before = {path.name: path.read_bytes() for path in (models / "lstm").iterdir()}
    train(train_lstm, *OVERFIT, "--epochs=3", "--no-restore-best-weights")
    assert str(Path("models", "lstm-2")) in capsys.readouterr().out.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in (models / "lstm").iterdir()} == before
    assert list_files(models / "lstm-2") == FILES
    best, last = (read_run(models / name) for name in ("lstm", "lstm-2"))
    losses = [float(row["val_loss"]) for row in read_history(models / "lstm")]
    assert best["restored_epoch"] == best["best_epoch"] == losses.index(min(losses)) + 1
    assert best["best_epoch"] < 3
    assert best["validation"]["loss"] == min(losses)
    assert last["restored_epoch"] == 3
    assert last["validation"]["loss"] == losses[-1]
    assert best["test"] != last["test"]


@pytest.mark.slow
def test_moving_averages_of_the_weights_are_validated_and_restored(
    train, small_data, averages, monkeypatch
):
    train(train_lstm, "--no-restore-best-weights")
    adam = functools.partial(keras.optimizers.Adam, use_ema=True, ema_momentum=0.98)
    monkeypatch.setattr(keras.optimizers, "Adam", adam)
    models = train(train_lstm, "--no-restore-best-weights")
    validation = Batches(small_data.x_validation, small_data.y_validation, 64)
    names = ("lstm", "lstm-2")
    losses = []
    for name in names:
        model = keras.models.load_model(models / name / "model.keras")
        model.compile(loss="binary_crossentropy")
        losses.append(model.evaluate(validation, verbose=0, return_dict=True)["loss"])
        assert losses[-1] == pytest.approx(float(read_history(models / name)[-1]["val_loss"]), 1e-4)
    rows = [read_history(models / name) for name in names]
    # The training itself is the same, to the last digit.
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]
    assert losses[0] != losses[1]


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize("script", [train_lstm, train_naive_bayes_lstm])
def test_mixed_precision_keeps_weights_and_probabilities_in_32_bits(
    script, train, small_data, monkeypatch
):
    (folder,) = train(script, "--epochs=1", "--precision=mixed_bfloat16").iterdir()
    model = keras.models.load_model(folder / "model.keras")
    (lstm, *_) = (layer for layer in model.layers if isinstance(layer, keras.layers.LSTM))
    assert lstm.compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    x, _ = Batches(small_data.x_test, small_data.y_test, 96)[0]
    probabilities = model.predict(x, verbose=0)
    assert probabilities.dtype == np.float32
    with_32_bits = build_model(script, monkeypatch, read_run(folder)["constants"])
    with_32_bits.set_weights(model.get_weights())
    np.testing.assert_allclose(with_32_bits.predict(x, verbose=0), probabilities, atol=0.02)


def test_a_run_folder_that_cannot_be_created_is_an_error(train, tmp_path):
    (tmp_path / "models").write_text("a file with the name of the folder")
    with pytest.raises(SentimentError, match="models") as raised:
        train(train_lstm)
    assert_one_line(raised.value)


def test_a_read_only_folder_is_an_error(train, disk, monkeypatch):
    disk, remount = disk
    monkeypatch.chdir(disk)
    remount("ro")
    with pytest.raises(SentimentError, match="Read-only file system") as raised:
        train(train_lstm)
    assert_one_line(raised.value)
    assert str(disk / "models") in str(raised.value)


# Written are the vocabulary and the first checkpoint; in each of two epochs the model, the history
# and the checkpoint; then the plot and the record.
LEFT_BY_FAILING_WRITE = [
    [],
    ["vocabulary.txt"],
    ["checkpoint.npz", "vocabulary.txt"],
    ["checkpoint.npz", "model.keras", "vocabulary.txt"],
    *[["checkpoint.npz", "history.csv", "model.keras", "vocabulary.txt"]] * 5,
    ["checkpoint.npz", *(name for name in FILES if name != "run.json")],
]


def fail_to_write(number, train, reason, folder):
    """Train until a write fails, and check what is left in the run folder."""
    with pytest.raises(SentimentError, match=reason) as raised:
        train(train_lstm, "--no-restore-best-weights")
    assert_one_line(raised.value)
    run = folder / "models" / "lstm"
    assert list_files(run) == LEFT_BY_FAILING_WRITE[number]
    assert_readable(run)
    if (run / "history.csv").exists():
        assert len(read_history(run)) == (1 if number < 7 else 2)
    return run


@pytest.mark.parametrize(
    "number",
    [n if n == 5 else pytest.param(n, marks=EXTENDED) for n in range(10)],
)
def test_a_full_disk_damages_nothing(number, train, averages, monkeypatch, tmp_path):
    writes = []
    fsync = os.fsync

    def fill_disk(file):
        writes.append(file)
        if len(writes) == number + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    monkeypatch.setattr(os, "fsync", fill_disk)
    run = fail_to_write(number, train, "No space left on device", tmp_path)
    if (run / "checkpoint.npz").exists():
        train(train_lstm, "--resume")
        assert list_files(run) == FILES


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [n if n == 5 else pytest.param(n, marks=EXTENDED) for n in range(10)]
)
def test_a_disk_that_becomes_read_only_damages_nothing(number, train, averages, disk, monkeypatch):
    disk, remount = disk
    monkeypatch.chdir(disk)
    writes = []
    write_atomically = atomic.write_atomically

    def turn_read_only(*arguments):
        if len(writes) == number:
            remount("ro")
        writes.append(arguments)
        write_atomically(*arguments)

    # A disk with a file that is open for writing, such as a lock, doesn't become read-only.
    monkeypatch.setattr(folder, "lock_run_folder", lambda run: filelock.FileLock(run / ".lock"))
    for module in (atomic, record, recorder):
        monkeypatch.setattr(module, "write_atomically", turn_read_only)
    fail_to_write(number, train, "Read-only file system", disk)
    assert len(writes) == number + 1


def test_a_model_above_the_limit_of_file_sizes_is_not_half_written(train, averages, tmp_path):
    resource = pytest.importorskip("resource", reason="needs a limit on the size of files")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))  # the model is three times that
    try:
        with pytest.raises(SentimentError) as raised:
            train(train_lstm, "--embedding-size=32")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_one_line(raised.value)
    assert list_files(tmp_path / "models" / "lstm") == ["vocabulary.txt"]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces")
@pytest.mark.usefixtures("averages", "traced")
def test_the_training_step_is_traced_once(train, monkeypatch):
    traces = []
    step = keras.Model.train_step
    counted = lambda model, data: traces.append(data) or step(model, data)  # noqa: E731
    monkeypatch.setattr(keras.Model, "train_step", counted)
    train(train_lstm, "--epochs=1")
    assert len(traces) == 1

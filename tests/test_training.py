"""The scripts learn from real reviews, repeat themselves, and leave a whole run folder."""

import csv
import errno
import json
import subprocess
import sys
from pathlib import Path

import train_cnn_lstm
import train_lstm
import train_naive_bayes_lstm
from sentiment import runs
from sentiment.batches import Batches
from tests.conftest import PROJECT, assert_readable, run_script

import keras
import matplotlib.image
import numpy as np
import pytest

SCRIPTS = [train_lstm, train_cnn_lstm, train_naive_bayes_lstm]
FILES = ["history.csv", "history.png", "model.keras", "run.json", "vocabulary.txt"]
# Words enough to learn from, and few enough for a test.
SHORT = ["--data", "imdb-package", "--vocabulary-size", "5000", "--maximum-tokens", "40"]


def list_files(folder):
    return sorted(path.name for path in folder.iterdir())


def read_history(folder):
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def twin_runs(tmp_path_factory):
    """The same run twice, each in a process of its own, on all training reviews."""
    folder = tmp_path_factory.mktemp("twins")
    for _ in range(2):
        finished = run_script("train_lstm.py", *SHORT, "--epochs", "2", folder=folder)
        assert finished.returncode == 0, finished.stderr
    return folder / "models" / "lstm", folder / "models" / "lstm-2", finished.stdout


def test_the_network_learns_from_real_reviews(twin_runs):
    record = json.loads((twin_runs[0] / "run.json").read_text())
    assert record["data"]["training"] == 17_500
    assert record["test"]["accuracy"] > 0.72
    assert record["validation"]["accuracy"] > 0.72


def test_the_cnn_lstm_learns_from_real_reviews(data):
    model = train_cnn_lstm.build_model()
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


def test_the_summary_tells_what_was_measured(twin_runs):
    _, folder, printed = twin_runs
    record = json.loads((folder / "run.json").read_text())
    accuracy = f"{record['test']['accuracy']:.2%}"
    assert f"Test accuracy      {accuracy} on 5,000 held-out reviews" in printed
    assert f"Best epoch         {record['best_epoch']} of 2" in printed
    assert f"Seconds per epoch  {record['seconds_per_epoch']:.1f}" in printed
    assert "Run folder         models/lstm-2" in printed.replace("\\", "/")
    for shown in ("accuracy:", "loss:", "val_accuracy:", "val_loss:"):
        assert shown in printed


def test_same_seed_gives_the_same_history_and_weights(twin_runs):
    first, second, _ = twin_runs
    for one, other in zip(read_history(first), read_history(second), strict=True):
        assert {**one, "seconds": None} == {**other, "seconds": None}
    weights = [
        keras.models.load_model(run / "model.keras").get_weights() for run in (first, second)
    ]
    assert all(np.array_equal(*pair) for pair in zip(*weights, strict=True))


@pytest.mark.parametrize("script", SCRIPTS)
def test_one_step_changes_every_weight(script, small_data):
    model = script.build_model()
    if script is train_naive_bayes_lstm:
        model.get_layer("naive_bayes").adapt(small_data.x_train, small_data.y_train)
    model.compile(optimizer="adam", loss="binary_crossentropy")
    before = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    x, y = Batches(small_data.x_train, small_data.y_train, 96)[0]
    model.train_on_batch(x, y)
    for old, new in zip(before, model.trainable_weights, strict=True):
        assert (old != keras.ops.convert_to_numpy(new)).any()


@pytest.mark.parametrize("script", SCRIPTS)
def test_padding_changes_no_probability(script):
    model = script.build_model()
    generator = np.random.default_rng(0)
    for tokens in (1, 2, 3, 8, 31):
        x = generator.integers(1, 10_000, (5, tokens))
        alone = model.predict(x, verbose=0)
        for padding in (1, 2, 13):
            padded = model.predict(np.pad(x, ((0, 0), (0, padding))), verbose=0)
            np.testing.assert_allclose(padded, alone, atol=1e-6)


@pytest.mark.parametrize("script", SCRIPTS)
def test_unmasked_networks_read_the_padding(script, monkeypatch):
    monkeypatch.setattr(script, "MASK_PADDING", False)
    model = script.build_model()
    x = np.arange(1, 9)[np.newaxis]
    padded = np.pad(x, ((0, 0), (4, 0)))
    difference = model.predict(x, verbose=0) - model.predict(padded, verbose=0)
    assert np.abs(difference).max() > 1e-5


@pytest.mark.parametrize("script", SCRIPTS)
def test_run_folder_is_whole_and_its_network_can_be_loaded(script, train, small_data, monkeypatch):
    models = []
    build_model = script.build_model
    monkeypatch.setattr(script, "build_model", lambda: models.append(build_model()) or models[-1])
    run = train(script) / script.NAME
    assert list_files(run) == FILES
    vocabulary = (run / "vocabulary.txt").read_bytes().decode().split("\n")
    assert vocabulary == [*small_data.vocabulary, ""]
    assert list(read_history(run)[0]) == list(runs.HISTORY_COLUMNS)
    assert matplotlib.image.imread(run / "history.png").shape[1] > 800

    record = json.loads((run / "run.json").read_text())
    assert record["script"] == Path(script.__file__).name
    assert record["constants"]["EPOCHS"] == 2
    assert set(record["constants"]) == {name for name in vars(script) if name.isupper()} - {
        "LSTM",  # the layer
        "PADDING",  # the word id
    }
    assert record["data"]["source"] == small_data.source
    assert record["parameters"] == models[0].count_params()

    x, _ = Batches(small_data.x_test, small_data.y_test, 96)[0]
    np.save("x.npy", x)
    own_layers = script is train_naive_bayes_lstm
    imports = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import sentiment.naive_bayes"
    code = (
        f"{imports if own_layers else ''}\nimport keras, numpy\n"
        f"m = keras.models.load_model({str(run / 'model.keras')!r})\n"
        "numpy.save('y.npy', m.predict(numpy.load('x.npy'), verbose=0))\n"
        "own = [type(l) for l in m.layers if not type(l).__module__.startswith('keras.src')]\n"
        f"assert len(own) == {int(own_layers)}"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True)
    np.testing.assert_allclose(np.load("y.npy"), models[0].predict(x, verbose=0), atol=1e-6)


def test_best_or_last_weights_are_kept(train, small_data):
    # What is learned of the training part is wrong of a validation part with opposite labels.
    small_data.x_validation[:] = small_data.x_train
    small_data.y_validation[:] = 1 - small_data.y_train
    models = train(train_lstm, "--epochs", "5", "--learning-rate", "0.01")
    train(train_lstm, "--epochs", "5", "--learning-rate", "0.01", "--keep-weights", "last")
    best, last = (json.loads((models / n / "run.json").read_text()) for n in ("lstm", "lstm-2"))
    losses = [float(row["val_loss"]) for row in read_history(models / "lstm")]
    assert best["kept_epoch"] == best["best_epoch"] == losses.index(min(losses)) + 1
    assert best["best_epoch"] < 5
    assert best["validation"]["loss"] == min(losses)
    assert last["kept_epoch"] == 5
    assert last["validation"]["loss"] == losses[-1]
    assert best["test"] != last["test"]


def test_averaged_weights_are_validated_and_kept(train, small_data):
    few = ["--keep-weights", "last", "--counted-terms", "1000"]
    models = train(train_naive_bayes_lstm, *few)
    train(train_naive_bayes_lstm, *few, "--averaged-steps", "1")
    validation = Batches(small_data.x_validation, small_data.y_validation, 64)
    names = ("naive_bayes_lstm", "naive_bayes_lstm-2")
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


@pytest.mark.parametrize("script", SCRIPTS)
def test_mixed_precision_keeps_weights_and_probabilities_in_32_bits(script, train, small_data):
    try:
        run = train(script, "--epochs", "1", "--precision", "mixed_bfloat16") / script.NAME
    finally:
        keras.config.set_dtype_policy("float32")
    model = keras.models.load_model(run / "model.keras")
    assert model.get_layer("lstm").compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    x, _ = Batches(small_data.x_test, small_data.y_test, 96)[0]
    probabilities = model.predict(x, verbose=0)
    assert probabilities.dtype == np.float32
    with_32_bits = script.build_model()
    with_32_bits.set_weights(model.get_weights())
    np.testing.assert_allclose(with_32_bits.predict(x, verbose=0), probabilities, atol=0.02)


def test_a_finished_run_is_never_overwritten(train, capsys):
    models = train(train_lstm, "--epochs", "1")
    before = {path.name: path.read_bytes() for path in (models / "lstm").iterdir()}
    train(train_lstm, "--epochs", "1")
    assert f"Run folder: {Path('models', 'lstm-2')}" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (models / "lstm").iterdir()} == before
    assert list_files(models / "lstm-2") == FILES


def test_a_folder_that_cannot_be_made_is_one_line(train, tmp_path):
    (tmp_path / "models").write_text("a file stands where the folder should be")
    with pytest.raises(SystemExit) as stopped:
        train(train_lstm)
    assert str(stopped.value).startswith("Can't make a folder for this run in ")
    assert "\n" not in str(stopped.value)


# Written are the vocabulary and the first checkpoint, of each of two epochs the model, the history
# and the checkpoint, then the plot and the record.
LEFT_BY_FAILING_WRITE = [
    [],
    ["vocabulary.txt"],
    ["checkpoint.npz", "vocabulary.txt"],
    ["checkpoint.npz", "model.keras", "vocabulary.txt"],
    *[["checkpoint.npz", "history.csv", "model.keras", "vocabulary.txt"]] * 5,
    ["checkpoint.npz", *(name for name in FILES if name != "run.json")],
]


def fail_to_write(write, train, reason, folder):
    """Train until a write fails, and check what is left in the run's folder."""
    with pytest.raises(SystemExit) as stopped:
        train(train_lstm, "--keep-weights", "last")
    message = str(stopped.value)
    assert message.startswith("Can't write ")
    assert reason in message
    assert "\n" not in message
    run = folder / "models" / "lstm"
    assert list_files(run) == LEFT_BY_FAILING_WRITE[write]
    assert_readable(run)
    if (run / "history.csv").exists():
        assert len(read_history(run)) == (1 if write < 7 else 2)
    return run


@pytest.mark.parametrize("write", range(10))
def test_a_full_disk_leaves_whole_files_and_one_line(write, train, monkeypatch, tmp_path):
    writes = []
    fsync = runs.os.fsync

    def fill_disk(file):
        writes.append(file)
        if len(writes) == write + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    monkeypatch.setattr(runs.os, "fsync", fill_disk)
    run = fail_to_write(write, train, "No space left on device", tmp_path)
    if (run / "checkpoint.npz").exists():
        train(train_lstm, "--keep-weights", "last", "--resume")
        assert list_files(run) == FILES


@pytest.mark.parametrize("write", range(10))
def test_a_disk_that_turns_read_only_leaves_whole_files_and_one_line(
    write, train, disk, monkeypatch
):
    disk, remount = disk
    monkeypatch.chdir(disk)
    writes = []
    write_whole = runs.write_whole

    def turn_read_only(*arguments):
        if len(writes) == write:
            remount("ro")
        writes.append(arguments)
        write_whole(*arguments)

    monkeypatch.setattr(runs, "write_whole", turn_read_only)
    fail_to_write(write, train, "Read-only file system", disk)
    assert len(writes) == write + 1


def test_a_read_only_folder_is_one_line(train, disk, monkeypatch):
    disk, remount = disk
    monkeypatch.chdir(disk)
    remount("ro")
    with pytest.raises(SystemExit) as stopped:
        train(train_lstm)
    assert str(stopped.value) == (
        f"Can't make a folder for this run in {disk / 'models'}: Read-only file system"
    )


def test_a_model_that_does_not_fit_leaves_nothing_half_written(train, tmp_path):
    resource = pytest.importorskip("resource", reason="needs a limit on the size of files")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))  # the model is three times that
    try:
        with pytest.raises(SystemExit) as stopped:
            train(train_lstm)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(stopped.value).startswith("Can't write ")
    assert "\n" not in str(stopped.value)
    assert list_files(tmp_path / "models" / "lstm") == ["vocabulary.txt"]

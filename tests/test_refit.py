"""REFIT: a second training, on training and validation reviews, whose network is tested."""

import dataclasses
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import train_lstm
import train_naive_bayes_lstm
from sentiment.data import load_data
from sentiment.data.batches import Batches
from sentiment.data.imdb import read_package
from sentiment.data.texts import read_texts
from sentiment.errors import SentimentError
from sentiment.inference import load_predictor
from sentiment.runs.checkpoint import read_state
from sentiment.runs.recorder import RunRecorder
from tests.conftest import assert_one_line, list_files
from tests.run_folders import CONSTANTS, make_state, write_checkpoint
from tests.test_edited_scripts import load_script, replace_once
from tests.test_files import write_csv
from tests.test_training import FILES, read_history, read_run

SMALL = ["--lstm-units=4", "--embedding-size=4", "--learning-rate=0.01"]
REFIT = [*SMALL, "--refit", "--no-restore-best-weights"]  # so that two epochs are chosen


def read_epochs(folder):
    """Return the history without the seconds, which vary."""
    return [{**row, "seconds": None} for row in read_history(folder)]


def read_weights(folder):
    return keras.saving.load_model(folder / "model.keras").get_weights()


def assert_same_weights(folder, other):
    assert all(map(np.array_equal, read_weights(folder), read_weights(other)))


@pytest.fixture
def contradicting_data(small_data):
    """Data whose validation loss rises with the LSTM from the first epoch on."""
    small_data.x_validation.tokens[:] = small_data.x_train.tokens
    small_data.x_validation.offsets[:] = small_data.x_train.offsets
    small_data.y_validation[:] = 1 - small_data.y_train
    return small_data


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options"),
    [
        (train_lstm, ["--learning-rate-schedule=cosine"]),
        pytest.param(train_naive_bayes_lstm, ["--ngrams=500"], marks=pytest.mark.extended),
    ],
)
def test_a_refit_is_a_training_on_all_reviews_for_the_chosen_epochs(
    script, options, contradicting_data, train, averages, evaluated
):
    arguments = [*SMALL, "--learning-rate=0.02", "--epochs=2", *options]
    models = train(script, *arguments, "--refit", "--name=refit")
    train(script, *arguments, "--name=first")
    run, first = read_run(models / "refit"), read_run(models / "first")
    chosen = run["restored_epoch"]
    assert chosen == run["refit"]["epochs"] and run["constants"]["EPOCHS"] == run["epochs"] == 2
    assert chosen == 1 or script is not train_lstm
    assert run["refit"]["training"] == 2 * 96 and "refit" not in first
    assert list_files(models / "refit") == FILES
    assert read_epochs(models / "refit") == read_epochs(models / "first")
    same = ("data", "epochs", "best_epoch", "restored_epoch", "validation", "unsure", "network")
    assert {name: run[name] for name in same} == {name: first[name] for name in same}
    # In each training the validation set of each epoch, in the end the test set.
    sets = [contradicting_data.x_validation] * 2 + [contradicting_data.x_test]
    assert list(map(id, evaluated)) == list(map(id, 2 * sets))

    # An ordinary training on the same reviews, which needs a validation set as well.
    moved = contradicting_data.move_validation_to_training()
    contradicting_data.__dict__.update(x_train=moved.x_train, y_train=moved.y_train)
    arguments += [f"--epochs={chosen}", "--no-restore-best-weights", "--name=all"]
    train(script, *arguments)
    assert_same_weights(models / "all", models / "refit")
    last = read_history(models / "all")[-1]
    for name in ("accuracy", "loss"):
        assert run["refit"][name] == float(last[name])
    assert run["test"] == read_run(models / "all")["test"] != first["test"]


@pytest.fixture
def train_until(train, monkeypatch):
    """A function that trains with a refit, but fails in it when an epoch begins."""

    def run_until(failing_epoch, script, *arguments):
        def fail(self, epoch, logs=None):
            if self.settings.is_refit and epoch == failing_epoch:
                raise ZeroDivisionError
            begin(self, epoch, logs)

        begin = RunRecorder.on_epoch_begin
        with monkeypatch.context() as changed, pytest.raises(ZeroDivisionError):
            changed.setattr(RunRecorder, "on_epoch_begin", fail)
            train(script, *arguments)

    return run_until


def measure_loss(folder, data):
    model = keras.saving.load_model(folder / "model.keras")
    model.compile(loss="binary_crossentropy")
    batches = Batches(data.x_validation, data.y_validation, 96)
    return model.evaluate(batches, verbose=0, return_dict=True)["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, pytest.param(0, marks=pytest.mark.extended)])
def test_a_refit_is_resumed_exactly(epoch, train, averages, train_until, tmp_path, capsys):
    train_until(epoch, train_lstm, *REFIT)
    folder, again = (tmp_path / "models" / name for name in ("lstm", "lstm-2"))
    assert {*FILES} - {"run.json", "history.png"} < {*list_files(folder)}
    loss = measure_loss(folder, train.data)  # of the first network, until the refit has ended
    train(train_lstm, "--resume")
    assert list_files(folder) == FILES
    run = read_run(folder)
    assert run["validation"]["loss"] == pytest.approx(loss, 1e-5)
    assert measure_loss(folder, train.data) != pytest.approx(loss, 1e-5)
    train(train_lstm, "--like", "lstm")
    assert capsys.readouterr().out.splitlines()[-1].startswith("Reproduced ")
    for name in ("validation", "test", "refit", "unsure", "restored_epoch"):
        assert run[name] == read_run(again)[name]


@pytest.mark.slow
@pytest.mark.extended
def test_a_refit_that_was_not_tested_is_resumed_and_repeated_with_seeds(
    train, averages, monkeypatch, capsys
):
    evaluate = keras.Model.evaluate

    def fail(self, x, *arguments, **options):
        if x.sequences is train.data.x_test:
            raise ZeroDivisionError
        return evaluate(self, x, *arguments, **options)

    with monkeypatch.context() as changed, pytest.raises(ZeroDivisionError):
        changed.setattr(keras.Model, "evaluate", fail)
        train(train_lstm, *REFIT)
    models = train(train_lstm, "--resume")
    train(train_lstm, "--like", "lstm", "--seeds=2,1")
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("Reproduced ") for line in lines) == 1
    assert_same_weights(models / "lstm-3", models / "lstm")
    for name in ("lstm-2", "lstm-3"):
        run = read_run(models / name)
        assert run["constants"]["EPOCHS"] == run["epochs"] == run["refit"]["epochs"] == 2


@pytest.mark.slow
def test_ctrl_c_in_a_refit_leaves_the_validated_network(train, averages, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # the handler replaces it
    finish_epoch = RunRecorder.on_epoch_end

    def press_ctrl_c(self, epoch, logs=None):
        finish_epoch(self, epoch, logs)
        if self.settings.is_refit:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as changed:
        changed.setattr(RunRecorder, "on_epoch_end", press_ctrl_c)
        with pytest.raises(SentimentError) as raised:
            train(train_lstm, *REFIT, "--no-test")
    assert raised.value.status == 130
    assert_one_line(raised.value)
    assert str(raised.value).endswith("python train_lstm.py --resume lstm")
    folder = tmp_path / "models" / "lstm"
    assert {*FILES} - {"run.json"} < {*list_files(folder)}
    before = read_weights(folder)
    train(train_lstm, "--resume")
    assert not any(map(np.array_equal, before, read_weights(folder)))
    assert read_run(folder)["test"] is None and read_run(folder)["refit"]["epochs"] == 2


def take_reviews(x, y):
    return sorted(
        (tuple(sequence.tolist()), float(label)) for sequence, label in zip(x, y, strict=True)
    )


def test_validation_reviews_become_training_reviews(tmp_path):
    texts, labels = read_package()
    write_csv(tmp_path / "own.csv", texts[::250], labels[::250])
    source = str(tmp_path / "own.csv")
    for weight in (0.0, 3.0):
        data = load_data(source, 500, 40, sentence_weight=weight)
        moved = data.move_validation_to_training()
        sentences = len(data.sentences.x_train) if weight else 0
        pairs = [(data, moved)]
        before = take_reviews(data.x_train, data.y_train)
        before += take_reviews(data.x_validation, data.y_validation)
        if weight:
            pairs.append((data.sentences, moved.sentences))
            before += take_reviews(data.sentences.x_validation, data.sentences.y_validation)
            added = len(moved.sentences.x_train)
            assert added == len(data.sentences.x_train) + len(data.sentences.x_validation)
            weights = moved.sample_weights
            assert weights.dtype == np.float32 and weights.mean() == pytest.approx(1, 1e-5)
            np.testing.assert_allclose(weights[-added:], 3 * weights[0], rtol=1e-5)
            np.testing.assert_array_equal(weights[:-added], weights[0])
            lengths = moved.x_train.lengths[-added:]
            np.testing.assert_array_equal(lengths, moved.sentences.x_train.lengths)
        else:
            assert moved.sample_weights is None
        assert take_reviews(moved.x_train, moved.y_train) == sorted(before)
        own = moved.x_train[: len(data.x_validation) + len(data.x_train) - sentences]
        assert read_texts(source, own[-3:]) == read_texts(source, data.x_validation[-3:])
        chosen = np.arange(len(moved.x_train))
        for row, sequence in zip(moved.x_train.pad(chosen, 40), moved.x_train, strict=True):
            np.testing.assert_array_equal(row[: len(sequence)], sequence)
        for old, new in pairs:
            assert not len(new.x_validation) and not len(new.y_validation)
            assert new.x_test is old.x_test and new.vocabulary == old.vocabulary


@pytest.mark.extended
def test_a_refit_with_sentences(train, averages):
    sentences = load_data("imdb-package", 10_000, 500, sentence_weight=3.0).sentences
    sizes = {"train": 200, "validation": 120, "test": 120}
    few = dataclasses.replace(
        sentences,
        **{f"x_{name}": getattr(sentences, f"x_{name}")[:size] for name, size in sizes.items()},
        **{f"y_{name}": getattr(sentences, f"y_{name}")[:size] for name, size in sizes.items()},
    )
    data = train.data.__dict__
    weights = np.repeat(np.array([1, 3], np.float32), [len(train.data.x_train), 200])
    data["sample_weights"] = weights / weights.mean()
    data["x_train"] = train.data.x_train.join(few.x_train)
    data["y_train"] = np.append(train.data.y_train, few.y_train)
    data["sentences"] = few
    models = train(train_lstm, *REFIT, "--sentence-weight=3", "--batch-size=16")
    train(train_lstm, *SMALL, "--no-restore-best-weights", "--name=first", "--batch-size=16")
    run, first = read_run(models / "lstm"), read_run(models / "first")
    assert run["sentences"]["validation"] == first["sentences"]["validation"]
    assert run["unsure"] == first["unsure"] and run["validation"] == first["validation"]
    assert run["data"]["sentences"] == {"training": 200, "validation": 120, "test": 120}
    assert run["refit"]["training"] == 2 * 96
    probabilities = load_predictor(models / "lstm").predict_sequences(few.x_test)
    accuracy = np.mean((probabilities > 0.5) == (few.y_test == 1))
    assert run["sentences"]["test"]["accuracy"] == pytest.approx(accuracy)
    assert run["sentences"]["test"]["loss"] != first["sentences"]["test"]["loss"]
    assert run["test"] != first["test"]


ROW = {"epoch": 1, "accuracy": 0.5, "loss": 1.0, "seconds": 1.0}
VALIDATED = {**ROW, "val_accuracy": 0.5, "val_loss": 1.0}
BEGUN = {"history": [], "unsure": {"margin": 0.1, "words": 5}}
WEIGHTS = {"best_0": np.zeros(3, np.float32)}
RESULTS = {"validation": {"accuracy": 0.5, "loss": 1.0}, "test": None}


@pytest.mark.parametrize(
    ("changes", "arrays"),
    [
        ({"refit": {}}, {}),
        ({"refit": {**BEGUN, "unsure": {"margin": 2, "words": 5}}}, {}),
        ({"refit": {**BEGUN, "history": [{**ROW, "epoch": 2}]}}, WEIGHTS),
        ({"refit": {**BEGUN, "history": [{**ROW, "accuracy": 2}]}}, WEIGHTS),
        ({"refit": {**BEGUN, "history": [{**ROW, "own": "x"}]}}, WEIGHTS),
        ({"refit": {**BEGUN, "history": [ROW, {**ROW, "epoch": 2}]}}, WEIGHTS),
        ({"refit": {**BEGUN, "history": [ROW]}}, {}),
        ({"refit": {**BEGUN, "sentences": RESULTS}}, {}),
        ({"history": [], "best": None}, {}),
        ({"constants": {**CONSTANTS, "EPOCHS": 3}}, {}),
        ({}, WEIGHTS),
    ],
)
def test_a_wrong_refit_in_a_checkpoint_is_one_line(changes, arrays, tmp_path):
    constants = {**CONSTANTS, "EPOCHS": 3, "REFIT": True}
    state = make_state(constants=constants, history=[VALIDATED], best=VALIDATED, refit=BEGUN)
    write_checkpoint(tmp_path, state)
    assert read_state(tmp_path) == state
    write_checkpoint(tmp_path, {**state, **changes}, **arrays)
    with pytest.raises(SentimentError, match="damaged") as raised:
        read_state(tmp_path)
    assert_one_line(raised.value)


def write_script(folder, old="", new=""):
    source = Path(train_lstm.__file__).read_text(encoding="utf-8")
    path = folder / "train_own.py"
    path.write_text(replace_once(source, old, new) if old else source, encoding="utf-8")
    return load_script(path)


@pytest.mark.slow
def test_a_script_that_ignores_the_refit_is_one_line(train, tmp_path):
    script = write_script(tmp_path, "if settings.is_refit:", "if False:")
    with pytest.raises(SentimentError, match=r"settings\.is_refit") as raised:
        train(script, *SMALL, "--epochs=1", "--refit")
    assert_one_line(raised.value)


@pytest.mark.slow
def test_a_script_may_be_edited_while_it_is_trained(train, tmp_path, monkeypatch):
    script = write_script(tmp_path)
    content = Path(script.__file__).read_bytes()
    begin = RunRecorder.on_epoch_begin

    def edit(self, epoch, logs=None):
        Path(script.__file__).write_bytes(content + b"\n# edited\n")
        begin(self, epoch, logs)

    monkeypatch.setattr(RunRecorder, "on_epoch_begin", edit)
    run = read_run(train(script, *SMALL, "--epochs=1", "--refit") / "own")
    assert run["refit"]["epochs"] == 1
    Path(script.__file__).write_bytes(content)

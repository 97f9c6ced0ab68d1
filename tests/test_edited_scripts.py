"""What users edit in a training script: its constants and its network."""

import importlib.util
import json
import re
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import export
import train_cnn_lstm
import train_lstm
from sentiment.cli import run
from sentiment.data.imdb import read_package
from sentiment.errors import SentimentError
from sentiment.inference import load_predictor
from sentiment.layers import LSTM
from sentiment.runs.recorder import RunRecorder
from tests.conftest import assert_one_line, run_script
from tests.test_files import write_csv

UNITS = 6


def read_with(*recurrent_layers):
    """Return a function that builds a network with these layers between Embedding and Dense."""

    def build_model():
        embedding = layers.Embedding(10_000, 8, mask_zero=True)
        output = layers.Dense(1, activation="sigmoid")
        # Built anew for each training: a layer keeps its weights.
        between = [type(layer).from_config(layer.get_config()) for layer in recurrent_layers]
        return keras.Sequential(
            [keras.Input((None,), dtype="int32"), embedding, *between, layers.Dropout(0.2), output]
        )

    return build_model


def read_with_attention():
    word_ids = keras.Input((None,), dtype="int32")
    x = layers.Embedding(10_000, 8, mask_zero=True)(word_ids)
    states = LSTM(UNITS, return_sequences=True)(x)
    query = layers.Reshape((1, UNITS))(layers.GlobalAveragePooling1D()(states))
    x = layers.Flatten()(layers.Attention()([query, states]))
    return keras.Model(word_ids, layers.Dense(1, activation="sigmoid")(x))


def read_with_two_inner_models():
    encoder = keras.Sequential([keras.Input((None, 8)), LSTM(UNITS)])
    words = keras.Sequential([layers.Embedding(10_000, 8, mask_zero=True)])
    word_ids = keras.Input((None,), dtype="int32")
    return keras.Model(word_ids, layers.Dense(1, activation="sigmoid")(encoder(words(word_ids))))


# How users change the network, and the layers that get an initial value besides random ones.
EDITS = {
    "GRU": (read_with(layers.GRU(UNITS)), []),
    "GRU called lstm": (read_with(layers.GRU(UNITS, name="lstm")), []),
    "SimpleRNN": (read_with(layers.SimpleRNN(UNITS)), []),
    "Bidirectional": (
        read_with(layers.Bidirectional(LSTM(UNITS, name="lstm"), name="bidirectional")),
        ["bidirectional/forward_lstm", "bidirectional/backward_lstm"],
    ),
    "two LSTMs": (
        read_with(LSTM(UNITS, return_sequences=True), LSTM(UNITS, name="second")),
        ["lstm", "second"],
    ),
    "cells": (read_with(layers.RNN(layers.LSTMCell(UNITS))), ["rnn"]),
    "mean of all states": (
        read_with(LSTM(UNITS, return_sequences=True), layers.GlobalAveragePooling1D()),
        ["lstm"],
    ),
    "maximum of all states": (
        read_with(LSTM(UNITS, return_sequences=True), layers.GlobalMaxPooling1D()),
        ["lstm"],
    ),
    "no recurrent layer": (read_with(layers.GlobalAveragePooling1D()), []),
    "attention": (read_with_attention, ["lstm"]),
    "inner models": (read_with_two_inner_models, ["lstm"]),
}


# The others are tried by `make test-all`.
USUAL = ("GRU",)
# The checkpoint of a network without inner models is a list of weights, whatever its layers are.
RESUMED = (*USUAL, "Bidirectional", "inner models")
EXPORTED = (*RESUMED, "cells", "attention", "no recurrent layer")


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.extended] * (name not in USUAL)) for name in EDITS],
)
def test_an_edited_network_does_all_that_the_original_does(name, train, monkeypatch, capsys):
    build_model, initialized = EDITS[name]
    monkeypatch.setattr(train_lstm, "build_model", build_model)
    finish_epoch = RunRecorder.on_epoch_end

    def press_ctrl_c(self, epoch, logs=None):
        finish_epoch(self, epoch, logs)
        signal.raise_signal(signal.SIGINT)

    options = ["--word-vectors=ppmi", "--chrono-timesteps=100"]
    if name in RESUMED:
        with monkeypatch.context() as changed, pytest.raises(SentimentError) as raised:
            changed.setattr(RunRecorder, "on_epoch_end", press_ctrl_c)
            train(train_lstm, *options)
        assert raised.value.status == 130
    else:
        train(train_lstm, *options, "--epochs=1")
    lines = capsys.readouterr().out.splitlines()
    (vectors,) = (line for line in lines if line.startswith("Word vectors (ppmi): "))
    assert "embedding" in vectors
    (chrono,) = (line for line in lines if line.startswith("Chrono initialization: "))
    assert all(layer in chrono for layer in initialized)
    assert ("CHRONO_TIMESTEPS" in chrono) == (not initialized)

    folder = Path("models", "lstm").absolute()
    if name in RESUMED:
        train(train_lstm, "--resume")
        # A training without interruption has the same history and weights.
        train(train_lstm, "--like", folder.name)
        assert capsys.readouterr().out.splitlines()[-1].startswith("Reproduced ")

    words, probabilities, changes = load_predictor(folder).explain("A wonderful film.")
    assert words == ["A", "wonderful", "film"]
    assert len(probabilities) == len(changes) == len(words)
    if keras.backend.backend() == "tensorflow" and name in EXPORTED:
        monkeypatch.setattr("sys.argv", ["export.py", str(folder), "--format=savedmodel"])
        export.main()
        assert (folder / "savedmodel").is_dir()


def add_dense(model, units=16):
    x = layers.Dense(units, activation="relu")(model.layers[-2].output)
    x = layers.Dense(1, activation="sigmoid", dtype="float32")(x)
    return keras.Model(model.inputs, x)


@pytest.mark.slow
def test_a_further_layer_is_trained_resumed_and_saved(train, train_one_epoch, monkeypatch, capsys):
    models = []
    build_model = train_cnn_lstm.build_model
    monkeypatch.setattr(
        train_cnn_lstm, "build_model", lambda: models.append(add_dense(build_model())) or models[-1]
    )
    train_one_epoch(train_cnn_lstm)
    (folder,) = train(train_cnn_lstm, "--resume").iterdir()
    model = keras.saving.load_model(folder / "model.keras")
    record = json.loads((folder / "run.json").read_text())
    assert record["parameters"] == model.count_params() == models[0].count_params()
    assert "Dense(16, activation=relu)" in record["network"]
    train(train_cnn_lstm, "--like", folder.name)
    assert capsys.readouterr().out.splitlines()[-1].startswith("Reproduced ")


def test_the_record_lists_the_layers(train, monkeypatch):
    regularizer = keras.regularizers.L2(0.5)
    edit = read_with(layers.Bidirectional(LSTM(UNITS, kernel_regularizer=regularizer)))
    monkeypatch.setattr(train_lstm, "build_model", edit)
    (folder,) = train(train_lstm, "--epochs=1").iterdir()
    assert json.loads((folder / "run.json").read_text())["network"] == [
        "Embedding(10000, 8, mask_zero=True)",
        f"Bidirectional(LSTM({UNITS}, kernel_regularizer=L2(0.5)))",
        "Dropout(0.2)",
        "Dense(1, activation=sigmoid)",
    ]


@keras.saving.register_keras_serializable("tests")
class OwnLayer(layers.Layer):
    def call(self, x):
        return x


class Unsaved(layers.Layer):
    def __init__(self, required):
        super().__init__()

    def call(self, x):
        return x[:, 0]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.LSTM(4, return_sequences=True), r"\(batch, 1\).*return_sequences"),
        (layers.Lambda(lambda x: x[:, 0]), "can't save"),
        (Unsaved(1), "can't save.*Unsaved.*sentiment/layers"),
    ],
)
def test_a_network_that_can_not_work_is_one_line_before_the_training(
    layer, expected, train, monkeypatch, tmp_path
):
    def build_model():
        word_ids = keras.Input((None,), dtype="int32")
        x = layer(layers.Embedding(10_000, 4)(word_ids))
        return keras.Model(word_ids, layers.Dense(1, activation="sigmoid")(x))

    monkeypatch.setattr(train_lstm, "build_model", build_model)
    with pytest.raises(SentimentError, match=expected) as raised:
        train(train_lstm)
    assert_one_line(raised.value)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(("masked", "padding"), [(True, "post"), (False, "post"), (False, "pre")])
def test_a_network_that_reads_the_padding_is_reported(masked, padding, train, monkeypatch, capsys):
    def build_model():
        embedding = layers.Embedding(10_000, 4, mask_zero=masked)
        output = layers.Dense(1, activation="sigmoid")
        return keras.Sequential([keras.Input((None,), dtype="int32"), embedding, LSTM(4), output])

    monkeypatch.setattr(train_lstm, "build_model", build_model)
    train(train_lstm, "--epochs=1", f"--padding={padding}")
    assert ("mask the padding" in capsys.readouterr().out) == (not masked and padding == "post")


def test_two_outputs_are_one_line(train, monkeypatch, tmp_path):
    def build_model():
        word_ids = keras.Input((None,), dtype="int32")
        x = layers.GlobalAveragePooling1D()(layers.Embedding(10_000, 4)(word_ids))
        return keras.Model(word_ids, layers.Dense(2, activation="softmax")(x))

    monkeypatch.setattr(train_lstm, "build_model", build_model)
    with pytest.raises(SentimentError, match=r"\(batch, 2\).*\(batch, 1\)") as raised:
        train(train_lstm)
    assert_one_line(raised.value)
    assert not (tmp_path / "models").exists()


def test_a_network_without_an_input_is_one_line(train, monkeypatch):
    def build_model():
        return keras.Sequential([layers.Embedding(10_000, 4), LSTM(4), layers.Dense(1)])

    monkeypatch.setattr(train_lstm, "build_model", build_model)
    with pytest.raises(SentimentError, match=r"keras.Input") as raised:
        train(train_lstm, "--chrono-timesteps=10")
    assert_one_line(raised.value)


def test_a_layer_of_the_script_itself_is_reported(train, monkeypatch, capsys):
    edit = read_with(layers.GlobalAveragePooling1D(), OwnLayer())
    monkeypatch.setattr(train_lstm, "build_model", edit)
    train(train_lstm, "--epochs=1")
    (line,) = (
        line for line in capsys.readouterr().out.splitlines() if line.startswith("Warning: ")
    )
    assert "OwnLayer" in line and "predict.py" in line


@pytest.mark.parametrize("error", [ValueError("expected ndim=3, found ndim=2"), NameError("GRU")])
def test_a_mistake_in_build_model_is_one_line_that_names_its_own(error, monkeypatch, capsys):
    def build_model():
        raise error

    monkeypatch.setattr("sys.argv", [__file__])
    with pytest.raises(SystemExit, match="1"):
        run(lambda: build_model())
    line = capsys.readouterr().err.removesuffix("\n")
    assert_one_line(line)
    assert f"line {build_model.__code__.co_firstlineno + 1}" in line and str(error) in line


def replace_once(text, old, new):
    assert text.count(old) == 1
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('weighted_metrics=["accuracy"],', "", "weighted_metrics"),
        ("validation_data=validation,", "", "validation_data"),
        ("callbacks=[recorder],", "", r"callbacks=\[recorder\]"),
    ],
)
def test_what_the_recorder_needs_is_named(old, new, expected, train, tmp_path):
    source = Path(train_lstm.__file__).read_text(encoding="utf-8")
    path = tmp_path / "train_own.py"
    path.write_text(replace_once(source, old, new), encoding="utf-8")
    with pytest.raises(SentimentError, match=expected) as raised:
        train(load_script(path), "--epochs=1", "--lstm-units=4")
    assert_one_line(raised.value)


def load_script(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_a_further_metric_is_a_column_of_the_history(train, tmp_path):
    source = Path(train_lstm.__file__).read_text(encoding="utf-8")
    old = 'weighted_metrics=["accuracy"]'
    path = tmp_path / "train_own.py"
    path.write_text(replace_once(source, old, 'weighted_metrics=["accuracy", "auc"]'))
    (folder,) = train(load_script(path), "--epochs=1", "--lstm-units=4").iterdir()
    header = (folder / "history.csv").read_text().splitlines()[0].split(",")
    assert {"auc", "val_auc"} < set(header)
    assert 0 <= json.loads((folder / "run.json").read_text())["test"]["auc"] <= 1


def test_a_further_constant_and_layer(train, monkeypatch, tmp_path):
    source = Path(train_lstm.__file__).read_text(encoding="utf-8")
    marker = "\n\n\ndef build_model("
    further = (
        '\nWIDTH: int = 3  # units\nSCHEDULE = [1, 0.5]\nUSE_GRU = False\nREMARK = "none"\n'
        "SIZES = (1, 2)"
    )
    path = tmp_path / "train_own.py"
    path.write_text(replace_once(source, marker, further + marker), encoding="utf-8")
    script = load_script(path)
    build_model = script.build_model
    monkeypatch.setattr(script, "build_model", lambda: add_dense(build_model(), script.WIDTH))
    train(script, "--width=5", "--use-gru", "--schedule=[2, 0.1]", "--epochs=1")
    run = tmp_path / "models" / "own"
    record = json.loads((run / "run.json").read_text())
    assert record["script"] == "train_own.py"
    further = {"WIDTH": 5, "SCHEDULE": [2, 0.1], "USE_GRU": True, "REMARK": "none", "SIZES": [1, 2]}
    assert {name: record["constants"][name] for name in further} == further
    assert keras.saving.load_model(run / "model.keras").layers[-2].units == 5
    train(script, "--like", "own")
    assert (run.with_name("own-2") / "run.json").exists()
    np.testing.assert_array_equal(
        *(
            keras.saving.load_model(folder / "model.keras").get_weights()[0]
            for folder in (run, run.with_name("own-2"))
        )
    )


@pytest.mark.parametrize(
    ("removed", "expected"),
    [("SEED", "SEED"), ("NAME", "NAME"), ("RESTORE_BEST_WEIGHTS", None), ("PATIENCE", None)],
)
def test_a_constant_may_be_removed_unless_it_is_needed(removed, expected, train, tmp_path):
    source = Path(train_lstm.__file__).read_text(encoding="utf-8")
    line = next(line for line in source.splitlines(True) if line.startswith(f"{removed} = "))
    source = source.replace(line, "").replace(removed, "1")  # where it is used, too
    path = tmp_path / "train_own.py"
    path.write_text(source, encoding="utf-8")
    script = load_script(path)
    script.load_data = lambda *_: train.data
    arguments = ["--epochs=1", "--lstm-units=4", "--word-vectors=none"]
    if expected is None:
        assert (script.main(arguments) / "run.json").exists()
        return
    with pytest.raises(SentimentError, match=expected) as raised:
        script.main(arguments)
    assert_one_line(raised.value)


def test_a_constant_called_like_an_option_is_one_line(tmp_path):
    source = Path(train_lstm.__file__).read_text(encoding="utf-8")
    path = tmp_path / "train_own.py"
    path.write_text(source.replace("\nSEED = ", "\nSEEDS = [1, 2]\nSEED = "), encoding="utf-8")
    with pytest.raises(SentimentError, match="SEEDS") as raised:
        load_script(path).main([])
    assert raised.value.status == 2


@pytest.mark.parametrize("layer", [layers.LayerNormalization(), layers.BatchNormalization()])
def test_layers_with_lists_as_arguments_are_recorded(layer, train, monkeypatch):
    monkeypatch.setattr(train_lstm, "build_model", read_with(layers.GRU(4), layer))
    (folder,) = train(train_lstm, "--epochs=1").iterdir()
    network = json.loads((folder / "run.json").read_text())["network"]
    assert any(line.startswith(type(layer).__name__) for line in network)


def test_a_tiny_vocabulary_and_a_wide_kernel_are_trained(train, monkeypatch, small_data):
    small_data.x_train.tokens[:] %= 5
    small_data.x_validation.tokens[:] %= 5
    small_data.x_test.tokens[:] %= 5
    vars(small_data)["vocabulary"] = small_data.vocabulary[:5]  # the attribute is frozen

    def build_model():
        word_ids = keras.Input((None,), dtype="int32")
        x = layers.Conv1D(4, 12)(layers.Embedding(5, 4)(word_ids))
        x = layers.GlobalMaxPooling1D()(x)
        return keras.Model(word_ids, layers.Dense(1, activation="sigmoid")(x))

    monkeypatch.setattr(train_lstm, "build_model", build_model)
    (folder,) = train(train_lstm, "--epochs=1", "--vocabulary-size=5").iterdir()
    assert (folder / "run.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('loss="binary_crossentropy"', 'loss="binary_crosentropy"', "in main.*binary_crosentropy"),
        pytest.param(
            *("return keras.Sequential(", "keras.Sequential(", "build_model.*None"),
            marks=pytest.mark.extended,
        ),
    ],
)
def test_a_mistake_in_the_script_is_one_line(old, new, expected, tmp_path):
    source = replace_once(Path(train_lstm.__file__).read_text(encoding="utf-8"), old, new)
    path = tmp_path / "train_own.py"
    path.write_text(source, encoding="utf-8")
    texts, labels = read_package()
    write_csv(tmp_path / "own.csv", texts[::100], labels[::100])
    finished = run_script(path, "--data=own.csv", "--lstm-units=4", folder=tmp_path)
    assert finished.returncode == 1
    line = finished.stderr.strip()
    assert_one_line(line)
    assert re.match(rf"train_own\.py: .*{expected}", line), line


def test_a_layer_name_that_tensorflow_refuses_is_one_line(train, monkeypatch, tmp_path):
    monkeypatch.setattr(train_lstm, "build_model", read_with(layers.GRU(4, name="my gru")))
    with pytest.raises(SentimentError, match="'my gru'") as raised:
        train(train_lstm)
    assert_one_line(raised.value)
    assert not (tmp_path / "models").exists()


def test_an_output_that_is_no_probability_is_reported(train, monkeypatch, capsys):
    def build_model():
        word_ids = keras.Input((None,), dtype="int32")
        x = layers.Embedding(10_000, 4, mask_zero=True)(word_ids)
        return keras.Model(word_ids, layers.Dense(1)(layers.GRU(4)(x)))

    monkeypatch.setattr(train_lstm, "build_model", build_model)
    train(train_lstm, "--epochs=1")
    assert "sigmoid" in capsys.readouterr().out


def test_a_misspelled_constant_is_named(train, monkeypatch):
    monkeypatch.setattr(train_lstm, "LSTM_UNIT", 16, raising=False)
    with pytest.raises(SentimentError, match="LSTM_UNITS") as raised:
        train_lstm.main([])
    assert raised.value.status == 2

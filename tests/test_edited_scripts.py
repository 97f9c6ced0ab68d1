"""What users edit in a training script: its constants and its network."""

import importlib.util
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import train_cnn_lstm
import train_lstm
import train_naive_bayes_lstm
from sentiment.data.batches import Batches
from sentiment.layers import LSTM


def add_dense(model, units=16):
    x = layers.Dense(units, activation="relu")(model.layers[-2].output)
    x = layers.Dense(1, activation="sigmoid", dtype="float32")(x)
    return keras.Model(model.inputs, x)


def stack_recurrent_layers(model):
    word_ids = keras.Input((None,), dtype="int32")
    x = layers.Embedding(10_000, 8, mask_zero=True)(word_ids)
    x = layers.Bidirectional(LSTM(4, return_sequences=True))(x)
    x = layers.GRU(4, return_sequences=True)(x)
    x = LSTM(4)(x)
    return keras.Model(word_ids, layers.Dense(1, activation="sigmoid")(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "edit"),
    [
        (train_lstm, add_dense),
        (train_lstm, stack_recurrent_layers),
        (train_cnn_lstm, add_dense),
        (train_naive_bayes_lstm, add_dense),
    ],
)
def test_an_edited_network_is_trained_resumed_and_saved(
    script, edit, train, train_one_epoch, small_data, monkeypatch, capsys
):
    models = []
    build_model = script.build_model
    monkeypatch.setattr(
        script, "build_model", lambda: models.append(edit(build_model())) or models[-1]
    )
    train_one_epoch(script, "--word-vectors=ppmi", "--chrono-timesteps=100")
    (folder,) = train(script, "--resume").iterdir()
    model = keras.saving.load_model(folder / "model.keras")
    x, _ = Batches(small_data.x_test, small_data.y_test, 96)[0]
    expected = models[-1].predict(x, verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-6)
    record = json.loads((folder / "run.json").read_text())
    assert record["parameters"] == model.count_params() == models[0].count_params()
    # A training without interruption has the same history and weights.
    train(script, "--like", folder.name)
    assert capsys.readouterr().out.splitlines()[-1].startswith("Reproduced ")


def test_a_further_constant_and_layer(train, monkeypatch, tmp_path):
    source = Path(train_lstm.__file__).read_text(encoding="utf-8")
    marker = "\n\n\ndef build_model("
    assert source.count(marker) == 1
    further = '\nWIDTH = 3  # units\nSCHEDULE = [1, 0.5]\nUSE_GRU = False\nREMARK = "none"'
    path = tmp_path / "train_own.py"
    path.write_text(source.replace(marker, further + marker), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("train_own", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    build_model = script.build_model
    monkeypatch.setattr(script, "build_model", lambda: add_dense(build_model(), script.WIDTH))
    train(script, "--width=5", "--use-gru", "--schedule=[2, 0.1]", "--epochs=1")
    run = tmp_path / "models" / "own"
    record = json.loads((run / "run.json").read_text())
    assert record["script"] == "train_own.py"
    further = {"WIDTH": 5, "SCHEDULE": [2, 0.1], "USE_GRU": True, "REMARK": "none"}
    assert {name: record["constants"][name] for name in further} == further
    assert keras.saving.load_model(run / "model.keras").layers[-2].units == 5

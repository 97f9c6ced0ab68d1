"""Load a saved and a pickled LSTM in plain Keras, from the working directory."""

import importlib.util
import pickle
from pathlib import Path

import keras
import numpy as np

assert importlib.util.find_spec("sentiment") is None
model = keras.saving.load_model("fused.keras")
assert type(model.layers[1].forward_layer) is keras.layers.LSTM
assert type(model.layers[2]) is keras.layers.LSTM
assert type(pickle.loads(Path("fused.pickle").read_bytes())) is keras.layers.LSTM
outputs = model.predict(np.load("words.npy"), verbose=0)
np.testing.assert_allclose(outputs, np.load("expected.npy"), rtol=1e-5)

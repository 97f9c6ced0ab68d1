"""Load a run's network in plain Keras and save its predictions: RUN X.npy Y.npy [MODULE]."""

import importlib
import sys

import keras
import numpy as np

folder, x, y, *modules = sys.argv[1:]
for name in modules:
    importlib.import_module(name)
model = keras.saving.load_model(f"{folder}/model.keras")
np.save(y, model.predict(np.load(x), verbose=0))
assert modules or "sentiment" not in sys.modules

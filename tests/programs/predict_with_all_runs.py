"""Save the probabilities of some reviews with each run in models/, in the given .npz file."""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import sys

import numpy as np

from sentiment.data.imdb import read_package
from sentiment.inference import load_predictor
from sentiment.paths import models_folder
from sentiment.runs.record import find_runs

texts = read_package()[0][:200]
probabilities = {}
for folder in find_runs(models_folder()):
    predictor = load_predictor(folder.name)
    probabilities[folder.name] = predictor.predict(texts)
np.savez(sys.argv[1], **probabilities)

"""Load keras.datasets.imdb, whose host has the given number of seconds to answer."""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import sys

from sentiment.cli import run
from sentiment.data import imdb, load_data

imdb.SECONDS_TO_ANSWER = float(sys.argv[1])
run(lambda: load_data("imdb", 1_000, 100))

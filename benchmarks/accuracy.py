"""Compare recipes on the training reviews alone: the held-out test reviews are never evaluated.

    python -m benchmarks.accuracy train_lstm.py --name no_word_vectors --word-vectors none

trains the script three times, with seeds 1, 2 and 3. Each time another 5,000 of the 17,500 training
reviews take the place of the test set, and 12,500 are trained on; the validation set chooses the
epoch as usual. With ``--runs 9`` there are nine seeds, and each of the three folds is tested three
times. The run folders go to benchmarks/folds; ``python plot_history.py benchmarks/folds`` compares
them.
"""

import dataclasses
import functools
import importlib
import os
from pathlib import Path

import numpy as np

from sentiment.cli import ArgumentParser, run
from sentiment.data import load_data
from sentiment.errors import SentimentError

SCRIPTS = ("train_lstm.py", "train_cnn_lstm.py", "train_naive_bayes_lstm.py")
FOLDS = 3
LEFT_OUT_REVIEWS = 5_000
SHUFFLE_SEED = 0


def load_fold(fold, *arguments):
    """Return the data as `load_data` does, but with a fold of the training reviews as test set."""
    data = load_data(*arguments)
    if data.sentences:
        raise SentimentError("the folds are of reviews only; set SENTENCE_WEIGHT to 0")
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(data.x_train))
    test = order[fold * LEFT_OUT_REVIEWS : (fold + 1) * LEFT_OUT_REVIEWS]
    train = np.setdiff1d(order, test)
    return dataclasses.replace(
        data,
        test_name="left-out training reviews",
        x_train=data.x_train.take(train),
        y_train=data.y_train[train],
        x_test=data.x_train.take(test),
        y_test=data.y_train[test],
    )


def main():
    parser = ArgumentParser(prog="benchmarks.accuracy", description=__doc__, add_help=False)
    parser.add_argument("script", choices=SCRIPTS)
    parser.add_argument("--runs", type=int, default=FOLDS)
    arguments, options = parser.parse_known_args()
    script = importlib.import_module(Path(arguments.script).stem)
    os.environ["SENTIMENT_MODELS"] = "benchmarks/folds"
    for i in range(arguments.runs):
        script.load_data = functools.partial(load_fold, i % FOLDS)
        options_of_run = ["--data", "imdb-package", "--seed", str(i + 1)]
        script.main([*options, *options_of_run])


if __name__ == "__main__":
    run(main)

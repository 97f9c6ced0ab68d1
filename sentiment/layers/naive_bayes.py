"""Naive Bayes on words and bigrams, as a layer."""

import keras
import numpy as np
from keras import ops

from sentiment.data.sequences import subsample
from sentiment.data.tokenizer import PADDING_ID, SPECIAL_TOKENS, START_ID

REVIEWS = 200_000  # reviews that are counted, if there are more
FOLDS = 5  # of the training reviews, for out-of-fold counts
SLOTS_PER_TERM = 2  # size of the hash table per term; with fewer, more terms collide
FIRST = 2**32  # a pair of ids as one number: the first id times this, plus the second one
MULTIPLIERS = (40_009, -1_640_531_535)  # a prime, and Knuth's multiplicative hash for 32 bits


@keras.saving.register_keras_serializable("sentiment")
class NaiveBayes(keras.layers.Layer):
    """Naive Bayes on words and bigrams.

    The output is the sum of the log odds of a review's words and bigrams, each times a trainable
    factor that starts from 1, divided by the square root of the number of words. The log odds of a
    term compare how many positive and how many negative training reviews contain it; `adapt`
    counts them. Takes word ids, shape ``(reviews, tokens)``; returns shape ``(reviews, 1)``.

    In training, the log odds are out-of-fold: a review is scored by counts that leave out its own
    fold of the training reviews. Counts that include the review would be right nearly always, and
    a network beside this layer would have nothing to learn. A review's fold is the sum
    of its ids, modulo the number of folds. After training, the mean over the folds is used.

    Sources: naive Bayes with bigrams, Wang and Manning (2012), "Baselines and bigrams"; out-of-fold
    scores, Wolpert (1992), "Stacked generalization"; counts beside a network, Cheng et al. (2016),
    "Wide & deep learning".

    Args:
        terms: number of words and bigrams, the most frequent ones.
    """

    def __init__(self, terms, **options):
        super().__init__(**options)
        self.terms = terms
        self.slots = SLOTS_PER_TERM * terms

    def build(self, input_shape):
        # A hash table of bigrams; a single word is a bigram that begins with padding.
        fixed = {"initializer": "zeros", "trainable": False}
        self.pairs = self.add_weight((self.slots, 2), dtype="int32", name="pairs", **fixed)
        self.log_odds = self.add_weight((self.slots, FOLDS), name="log_odds", **fixed)
        self.factors = self.add_weight((self.slots, 1), initializer="ones", name="factors")

    def call(self, word_ids, training=False):
        word_ids = ops.cast(word_ids, "int32")
        previous = ops.maximum(ops.pad(word_ids[:, :-1], ((0, 0), (1, 0))), START_ID)
        alone = ops.full_like(word_ids, PADDING_ID)
        sums = ops.sum(self._look_up(previous, word_ids) + self._look_up(alone, word_ids), axis=1)
        if training:
            fold = ops.sum(word_ids, axis=1) % FOLDS
            sums = ops.sum(sums * ops.one_hot(fold, FOLDS), axis=1, keepdims=True)
        else:
            sums = ops.mean(sums, axis=1, keepdims=True)
        words = ops.sum(ops.not_equal(word_ids, PADDING_ID), axis=1, keepdims=True)
        return sums / ops.sqrt(ops.cast(words, sums.dtype))

    def _look_up(self, first, second):
        """Return the log odds of pairs, ``(reviews, tokens, FOLDS)``; 0 for unknown ones."""
        slots = _hash(first, second, self.slots)
        found = ops.equal(ops.take(self.pairs, slots, axis=0), ops.stack([first, second], axis=-1))
        found = ops.all(found, axis=-1, keepdims=True)
        log_odds = ops.take(self.log_odds, slots, axis=0) * ops.take(self.factors, slots, axis=0)
        return ops.where(found, log_odds, 0.0)

    def adapt(self, sequences, labels):
        """Count how many positive and negative reviews contain each word and bigram.

        Special ids, and terms that only one review contains, are left out.

        Args:
            sequences: one int32 array of word ids per review.
            labels: 0 or 1 per review.
        """
        sequences, labels = (subsample(those, REVIEWS) for those in (sequences, labels))
        folds = [sequence.sum(dtype=np.int32) % FOLDS for sequence in sequences]
        groups = np.asarray(labels, dtype=np.int64) * FOLDS + folds
        lists = [_list_terms(sequence) for sequence in sequences]
        terms, places = np.unique(np.concatenate(lists), return_inverse=True)
        cells = places * 2 * FOLDS + np.repeat(groups, [len(terms) for terms in lists])
        counts = np.bincount(cells, minlength=len(terms) * 2 * FOLDS).reshape(-1, 2, FOLDS)
        frequencies = counts.sum(axis=(1, 2))
        chosen = np.argsort(-frequencies, kind="stable")[: np.count_nonzero(frequencies > 1)]
        pairs = np.stack(np.divmod(terms[chosen[: self.terms]], FIRST), axis=1).astype(np.int32)
        # The first term of a slot is its most frequent one.
        slots, first = np.unique(_hash(*pairs.T, self.slots), return_index=True)
        self.pairs.assign(_fill(self.pairs.shape, slots, pairs[first]))

        def leave_fold_out(counts):
            return counts.sum(axis=-1, keepdims=True) - counts

        reviews = np.maximum(
            leave_fold_out(np.bincount(groups, minlength=2 * FOLDS).reshape(2, -1)), 1
        )
        # The share of the reviews that contain a term, smoothed: none is 0.
        shares = leave_fold_out(counts[chosen[first]]) / reviews + 2 / reviews.sum(axis=0)
        odds = np.log(shares[:, 1] / shares[:, 0])
        self.log_odds.assign(_fill(self.log_odds.shape, slots, odds))

    def get_config(self):
        return {**super().get_config(), "terms": self.terms}


def _list_terms(sequence):
    """Return each word and bigram of a review once, as a number."""
    words = sequence.astype(np.int64)
    known = words >= len(SPECIAL_TOKENS)
    pairs = (words[:-1] * FIRST + words[1:])[known[:-1] & known[1:]]
    return np.unique(np.concatenate([PADDING_ID * FIRST + words[known], pairs]))


def _fill(shape, rows, values):
    """Return an array of zeros except for some rows."""
    array = np.zeros(shape, dtype=values.dtype)
    array[rows] = values
    return array


def _hash(first, second, slots):
    # Products overflow int32 and wrap around, in every backend alike, which mixes the bits.
    return (first * MULTIPLIERS[0] + second) * MULTIPLIERS[1] % slots

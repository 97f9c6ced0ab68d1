"""Naive Bayes on words and bigrams as a layer, beside which a network learns the rest."""

from sentiment.reviews import choose_evenly
from sentiment.words import PADDING, SPECIAL_WORDS, START

import keras
import numpy as np
from keras import ops

REVIEWS = 200_000  # reviews that are counted, where there are more
PARTS = 5  # of the training reviews; each part is judged by counts of the four others
SLOTS_PER_TERM = 2  # with fewer, more bigrams are lost to frequent ones that take their slot
FIRST = 2**32  # a pair of ids as one number: the first one times this, plus the second one
MULTIPLIERS = (40_009, -1_640_531_535)  # an odd prime, and the golden ratio of 2**32


@keras.saving.register_keras_serializable("sentiment")
class NaiveBayes(keras.layers.Layer):
    """What the words and bigrams of a review, taken one by one, say of it.

    That is the sum of their log odds, which are the logarithm of how many positive reviews hold
    them, over how many negative ones, each times a factor, divided by the square root of the number
    of words. Takes word ids, shape ``(reviews, tokens)``; returns shape ``(reviews, 1)``. `adapt`
    counts; training moves the factors, from 1.

    In training a review must not be judged by counts that it took part in: naive Bayes would seem
    right nearly always, and the network beside it would have nothing to learn. So there are several
    sets of log odds, each without one part of the training reviews, and the sum of a review's ids
    says which part it belongs to. After training, the mean of the sets is taken. (Naive Bayes with
    bigrams: Wang and Manning, 2012, "Baselines and bigrams". Judging by the others: Wolpert, 1992,
    "Stacked generalization". A part that counts beside a part that learns: Cheng et al., 2016,
    "Wide & deep learning".)

    Args:
        terms: how many words and bigrams there is room for, the most frequent ones.
    """

    def __init__(self, terms, **options):
        super().__init__(**options)
        self.terms = terms
        self.slots = SLOTS_PER_TERM * terms

    def build(self, input_shape):
        # A hash table, in which a single word is a pair that begins with padding.
        fixed = {"initializer": "zeros", "trainable": False}
        self.pairs = self.add_weight((self.slots, 2), dtype="int32", name="pairs", **fixed)
        self.log_odds = self.add_weight((self.slots, PARTS), name="log_odds", **fixed)
        self.factors = self.add_weight((self.slots, 1), initializer="ones", name="factors")

    def call(self, word_ids, training=False):
        word_ids = ops.cast(word_ids, "int32")
        previous = ops.maximum(ops.pad(word_ids[:, :-1], ((0, 0), (1, 0))), START)
        alone = ops.full_like(word_ids, PADDING)
        sums = ops.sum(self._look_up(previous, word_ids) + self._look_up(alone, word_ids), axis=1)
        if training:
            part = ops.sum(word_ids, axis=1) % PARTS
            sums = ops.sum(sums * ops.one_hot(part, PARTS), axis=1, keepdims=True)
        else:
            sums = ops.mean(sums, axis=1, keepdims=True)
        words = ops.sum(ops.not_equal(word_ids, PADDING), axis=1, keepdims=True)
        return sums / ops.sqrt(ops.cast(words, sums.dtype))

    def _look_up(self, first, second):
        """Return the log odds of pairs, shape ``(reviews, tokens, PARTS)``; unknown ones have 0."""
        slots = _hash(first, second, self.slots)
        found = ops.equal(ops.take(self.pairs, slots, axis=0), ops.stack([first, second], axis=-1))
        found = ops.all(found, axis=-1, keepdims=True)
        log_odds = ops.take(self.log_odds, slots, axis=0) * ops.take(self.factors, slots, axis=0)
        return ops.where(found, log_odds, 0.0)

    def adapt(self, sequences, labels):
        """Count how many positive and negative reviews hold a word or bigram.

        Ids that are no words, and what only one review holds, are left out.

        Args:
            sequences: one int32 array of word ids a review.
            labels: 0 or 1 a review.
        """
        sequences, labels = (choose_evenly(those, REVIEWS) for those in (sequences, labels))
        parts = [sequence.sum(dtype=np.int32) % PARTS for sequence in sequences]
        groups = np.asarray(labels, dtype=np.int64) * PARTS + parts
        lists = [_list_terms(sequence) for sequence in sequences]
        terms, places = np.unique(np.concatenate(lists), return_inverse=True)
        cells = places * 2 * PARTS + np.repeat(groups, [len(terms) for terms in lists])
        counts = np.bincount(cells, minlength=len(terms) * 2 * PARTS).reshape(-1, 2, PARTS)
        frequencies = counts.sum(axis=(1, 2))
        chosen = np.argsort(-frequencies, kind="stable")[: np.count_nonzero(frequencies > 1)]
        pairs = np.stack(np.divmod(terms[chosen[: self.terms]], FIRST), axis=1).astype(np.int32)
        # The most frequent term of a slot is the first one.
        slots, first = np.unique(_hash(*pairs.T, self.slots), return_index=True)
        self.pairs.assign(_fill(self.pairs.shape, slots, pairs[first]))

        def leave_out(counts):
            return counts.sum(axis=-1, keepdims=True) - counts

        reviews = np.maximum(leave_out(np.bincount(groups, minlength=2 * PARTS).reshape(2, -1)), 1)
        # The share of the reviews that hold a term, as if each kind had one more that does.
        shares = leave_out(counts[chosen[first]]) / reviews + 2 / reviews.sum(axis=0)
        odds = np.log(shares[:, 1] / shares[:, 0])
        self.log_odds.assign(_fill(self.log_odds.shape, slots, odds))

    def get_config(self):
        return {**super().get_config(), "terms": self.terms}


def _list_terms(sequence):
    """Return each word and bigram of a review once, as numbers."""
    words = sequence.astype(np.int64)
    known = words >= len(SPECIAL_WORDS)
    pairs = (words[:-1] * FIRST + words[1:])[known[:-1] & known[1:]]
    return np.unique(np.concatenate([PADDING * FIRST + words[known], pairs]))


def _fill(shape, rows, values):
    """Return an array of zeros but for some of its rows."""
    array = np.zeros(shape, dtype=values.dtype)
    array[rows] = values
    return array


def _hash(first, second, slots):
    # Products outgrow int32 and wrap around, alike in every backend, which mixes the bits well.
    return (first * MULTIPLIERS[0] + second) * MULTIPLIERS[1] % slots

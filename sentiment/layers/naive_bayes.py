"""Naive Bayes on words and bigrams, as a layer."""

import keras
import numpy as np
from keras import ops

from sentiment.data.sequences import subsample
from sentiment.data.tokenizer import PADDING_ID, SPECIAL_TOKENS, START_ID

REVIEWS = 200_000  # reviews that are counted, if there are more
FOLDS = 5  # of the training reviews, for out-of-fold counts
SLOTS_PER_TERM = 2  # size of the hash table per term; with fewer, more terms collide
MAXIMUM_TERMS = 1_000_000  # their table takes 64 MB
NEGATIONS = 50  # negating words that are known, the most frequent ones
MAXIMUM_SCOPE = 100  # words
NEGATED_ID, NO_ID = 3, -1  # the unused id, and one that no word has
FIRST = 2**32  # a pair of ids as one number: the first id times this, plus the second one
MULTIPLIERS = (40_009, -1_640_531_535)  # a prime, and Knuth's multiplicative hash for 32 bits


@keras.saving.register_keras_serializable("sentiment")
class NaiveBayes(keras.layers.Layer):
    """Naive Bayes on words and bigrams.

    The output is the sum of the log odds of a review's words and bigrams, each times a trainable
    factor that starts from 1, divided by the square root of the number of words. The log odds of a
    term compare how many positive and how many negative training reviews contain it; `adapt`
    counts them. Takes word ids, shape ``(reviews, tokens)``; returns shape ``(reviews, 1)``.

    With a negation scope of 3, the three words after a negating word, such as "not", are terms of
    their own: "bad" counts as negative, but the "bad" of "not a bad film" does not.

    In training, the log odds are out-of-fold: a review is scored by counts that leave out its own
    fold of the training reviews. Counts that include the review would be right nearly always, and
    a network beside this layer would have nothing to learn. A review's fold is the sum
    of its ids, modulo the number of folds. After training, the mean over the folds is used.

    A file, such as a ``model.keras``, contains only what prediction needs: the terms, and for each
    its mean log odds times its factor. A loaded layer can't be trained further: it has no folds.

    Sources: naive Bayes with bigrams, Wang and Manning (2012), "Baselines and bigrams"; negated
    words, Pang, Lee and Vaithyanathan (2002), "Thumbs up? Sentiment classification"; out-of-fold
    scores, Wolpert (1992), "Stacked generalization"; counts beside a network, Cheng et al. (2016),
    "Wide & deep learning".

    Args:
        terms: number of words and bigrams, the most frequent ones; 1 to 1 million.
        negation_scope: number of words after a negating word that are terms of their own, 0 to 100.

    Raises:
        ValueError: for another number of terms or words.
    """

    def __init__(self, terms, negation_scope=0, **options):
        if not 1 <= terms <= MAXIMUM_TERMS:
            raise ValueError(f"NaiveBayes takes 1 to {MAXIMUM_TERMS:,} terms, not {terms}")
        if not 0 <= negation_scope <= MAXIMUM_SCOPE:
            raise ValueError(f"negation_scope must be 0 to {MAXIMUM_SCOPE}, not {negation_scope}")
        super().__init__(**options)
        self.terms = terms
        self.negation_scope = negation_scope
        self.slots = SLOTS_PER_TERM * terms

    def build(self, input_shape):
        # A hash table of bigrams. A single word is a bigram that begins with padding, or with
        # NEGATED_ID if it follows a negating word.
        fixed = {"initializer": "zeros", "trainable": False}
        self.pairs = self.add_weight((self.slots, 2), dtype="int32", name="pairs", **fixed)
        self.log_odds = self.add_weight((self.slots, FOLDS), name="log_odds", **fixed)
        self.factors = self.add_weight((self.slots, 1), initializer="ones", name="factors")
        if self.negation_scope:
            fixed["initializer"] = keras.initializers.Constant(NO_ID)
            self.negations = self.add_weight((NEGATIONS,), dtype="int32", name="negations", **fixed)

    def call(self, word_ids, training=False):
        word_ids = ops.cast(word_ids, "int32")
        previous = ops.maximum(ops.pad(word_ids[:, :-1], ((0, 0), (1, 0))), START_ID)
        alone = ops.full_like(word_ids, PADDING_ID)
        if scope := self.negation_scope:
            negates = ops.any(ops.equal(word_ids[..., None], self.negations), axis=-1)
            negates = ops.pad(negates, ((0, 0), (scope, 0)))
            negated = ops.any(ops.stack([negates[:, i : i - scope] for i in range(scope)]), axis=0)
            alone = ops.where(negated, NEGATED_ID, alone)
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

    def adapt(self, sequences, labels, negations=()):
        """Count how many positive and negative reviews contain each word and bigram.

        Special ids, and terms that only one review contains, are left out.

        Args:
            sequences: one int32 array of word ids per review.
            labels: 0 or 1 per review.
            negations: the ids of negating words, the most frequent one first.
        """
        negations = np.array(negations[:NEGATIONS], dtype=np.int32)
        if self.negation_scope:
            missing = NEGATIONS - len(negations)
            self.negations.assign(np.pad(negations, (0, missing), constant_values=NO_ID))
        sequences, labels = (subsample(those, REVIEWS) for those in (sequences, labels))
        folds = [sequence.sum(dtype=np.int32) % FOLDS for sequence in sequences]
        groups = np.asarray(labels, dtype=np.int64) * FOLDS + folds
        scope = self.negation_scope
        lists = [_list_terms(sequence, negations, scope) for sequence in sequences]
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

    def save_own_variables(self, store):
        """Save the negating words, the terms, ``(n, 2)``, and their log odds, ``(n,)``.

        The log odds are the mean over the folds, times the factor.
        """
        arrays = (self.pairs, self.log_odds, self.factors)
        pairs, log_odds, factors = map(ops.convert_to_numpy, arrays)
        used = pairs.any(axis=1)
        # In float64 the mean of equal numbers is exact: a loaded layer is saved unchanged.
        means = log_odds[used].mean(axis=1, dtype=np.float64) * factors[used, 0]
        store["pairs"] = pairs[used]
        store["log_odds"] = means.astype(np.float32)
        if self.negation_scope:
            store["negations"] = ops.convert_to_numpy(self.negations)

    def load_own_variables(self, store):
        """Load what `save_own_variables` saved.

        Raises:
            ValueError: if it is not that.
        """
        names = {"pairs", "log_odds", *(["negations"] if self.negation_scope else [])}
        if set(store.keys()) != names:
            raise ValueError("it has no table of a naive Bayes layer; train it again")
        pairs, log_odds = store["pairs"], store["log_odds"]
        described = pairs.shape, pairs.dtype, log_odds.shape, log_odds.dtype
        if described != ((log_odds.size, 2), np.int32, (log_odds.size,), np.float32):
            raise ValueError("its naive Bayes table has another shape or type; train it again")
        if (pairs < (PADDING_ID, len(SPECIAL_TOKENS))).any():
            raise ValueError("its naive Bayes table has ids that no word has; train it again")
        slots = _hash(*pairs.T, self.slots)
        if len(np.unique(slots)) < len(slots):
            raise ValueError("its naive Bayes table has two terms in one slot; train it again")
        self.pairs.assign(_fill(self.pairs.shape, slots, pairs))
        self.log_odds.assign(_fill(self.log_odds.shape, slots, log_odds[:, np.newaxis]))
        if self.negation_scope:
            negations = store["negations"]
            is_int32 = (negations.shape, negations.dtype) == ((NEGATIONS,), np.int32)
            if not is_int32 or ((negations != NO_ID) & (negations < len(SPECIAL_TOKENS))).any():
                raise ValueError("its negating words are damaged; train it again")
            self.negations.assign(negations)
        self.factors.assign(np.ones(self.factors.shape))

    def get_config(self):
        config = {"terms": self.terms, "negation_scope": self.negation_scope}
        return {**super().get_config(), **config}


def _list_terms(sequence, negations, scope):
    """Return each word, negated word and bigram of a review once, as a number."""
    words = sequence.astype(np.int64)
    alone = PADDING_ID * FIRST + words
    if scope:
        negates = np.pad(np.isin(sequence, negations), (scope, 0))
        negated = np.any([negates[i : i - scope] for i in range(scope)], axis=0)
        alone = np.where(negated, NEGATED_ID * FIRST + words, alone)
    known = words >= len(SPECIAL_TOKENS)
    pairs = (words[:-1] * FIRST + words[1:])[known[:-1] & known[1:]]
    return np.unique(np.concatenate([alone[known], pairs]))


def _fill(shape, rows, values):
    """Return an array of zeros except for some rows."""
    array = np.zeros(shape, dtype=values.dtype)
    array[rows] = values
    return array


def _hash(first, second, slots):
    # Products overflow int32 and wrap around, in every backend alike, which mixes the bits.
    return (first * MULTIPLIERS[0] + second) * MULTIPLIERS[1] % slots

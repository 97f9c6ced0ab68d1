"""Naive Bayes and logistic regression on n-grams, as a layer; a layer that averages classifiers."""

import keras
import numpy as np
from keras import ops

from sentiment.data.sequences import subsample
from sentiment.data.tokenizer import PADDING_ID, SPECIAL_TOKENS, START_ID
from sentiment.layers.logistic_regression import fit_logistic_regression

REVIEWS = 100_000  # maximum number of reviews used; larger sets are subsampled
FOLDS = 5  # of the training reviews, for out-of-fold counts
SLOTS_PER_NGRAM = 2  # size of the hash table per n-gram; with fewer, more n-grams collide
MAXIMUM_NGRAMS = 1_000_000  # their table takes 80 MB
NEGATIONS = 50  # negating words that are known, the most frequent ones
MAXIMUM_SCOPE = 100  # words
NEGATED_ID, NO_ID = 3, -1  # the unused id, and one that no word has
BASE = 2**20  # an n-gram as one number has its ids as digits; no vocabulary has more words
MULTIPLIERS = (40_009, -1_640_531_535)  # a prime, and Knuth's multiplicative hash for 32 bits


@keras.saving.register_keras_serializable("sentiment")
class NgramClassifiers(keras.layers.Layer):
    """Naive Bayes and logistic regression on n-grams: sequences of one to three adjacent words.

    Both give a review's log odds of being positive: the sum of the weights of its n-grams, divided
    by the square root of the number of tokens; logistic regression adds a bias. They differ in the
    weights, which `adapt` computes before the network is trained:

    - Naive Bayes compares how many positive and how many negative training reviews contain the
      n-gram. Each weight, and the sum, has a trainable factor that starts at 1. The network learns
      a correction to this score. During training, the score is out-of-fold: it uses counts that
      exclude the review's own fold. Otherwise it would nearly always be correct, and the network
      would have nothing to learn. A review's fold is the sum of its ids, modulo the number of
      folds. In prediction, the mean over the folds is used.
    - Logistic regression fits all weights jointly. It is meant to be averaged with the network in
      prediction, see `AverageInPrediction`; during training its output is 0.

    With a negation scope of 3, the three words after a negating word, such as "not", are counted
    separately as single words: "bad" counts as negative, but the "bad" of "not a bad film" doesn't.

    Takes word ids, shape ``(reviews, tokens)``; returns two tensors of shape ``(reviews, 1)``, of
    naive Bayes and of logistic regression.

    A saved layer contains only what prediction needs: the n-grams, and for each the two weights. A
    loaded layer can't be trained further: it has no folds.

    Sources: n-grams weighted by naive Bayes, Wang and Manning (2012), "Baselines and bigrams";
    negated words, Pang, Lee and Vaithyanathan (2002), "Thumbs up? Sentiment classification";
    out-of-fold scores, Wolpert (1992), "Stacked generalization"; counts beside a network, Cheng et
    al. (2016), "Wide & deep learning"; the average with a network, Mesnil et al. (2014), "Ensemble
    of generative and discriminative techniques for sentiment analysis of movie reviews".

    Args:
        ngrams: how many of the most frequent n-grams to consider, 1 to 1 million. About a fifth are
            dropped, because they share a slot of the hash table with a more frequent one.
        negation_scope: number of words after a negating word that are counted separately, 0 to 100.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, ngrams, negation_scope=0, **options):
        if not 1 <= ngrams <= MAXIMUM_NGRAMS:
            raise ValueError(f"ngrams must be 1 to {MAXIMUM_NGRAMS:,}, not {ngrams}")
        if not 0 <= negation_scope <= MAXIMUM_SCOPE:
            raise ValueError(f"negation_scope must be 0 to {MAXIMUM_SCOPE}, not {negation_scope}")
        super().__init__(**options)
        self.ngrams = ngrams
        self.negation_scope = negation_scope
        self.slots = SLOTS_PER_NGRAM * ngrams

    def build(self, input_shape):
        # A hash table. N-grams of fewer than three words begin with padding; a single word begins
        # with padding and NEGATED_ID if it follows a negating word.
        fixed = {"initializer": "zeros", "trainable": False}
        self.keys = self.add_weight((self.slots, 3), dtype="int32", name="keys", **fixed)
        self.log_odds = self.add_weight((self.slots, FOLDS), name="log_odds", **fixed)
        self.factors = self.add_weight((self.slots, 1), initializer="ones", name="factors")
        self.scale = self.add_weight((1,), initializer="ones", name="scale")
        self.regression = self.add_weight((self.slots, 1), name="regression", **fixed)
        self.bias = self.add_weight((1,), name="bias", **fixed)
        if self.negation_scope:
            fixed["initializer"] = keras.initializers.Constant(NO_ID)
            self.negations = self.add_weight((NEGATIONS,), dtype="int32", name="negations", **fixed)

    def call(self, word_ids, training=False):
        word_ids = ops.cast(word_ids, "int32")
        count = ops.sum(ops.not_equal(word_ids, PADDING_ID), axis=1, keepdims=True)
        divisor = ops.sqrt(ops.cast(ops.maximum(count, 1), self.compute_dtype))
        ngrams = [self._find(ngram) for ngram in self._list_ngrams(word_ids)]

        def add_up(table, factors=None):
            total = 0.0
            for slots, found in ngrams:
                weights = ops.take(table, slots, axis=0)
                if factors is not None:
                    weights = weights * ops.take(factors, slots, axis=0)
                total = total + ops.sum(ops.where(found, weights, 0.0), axis=1)
            return total / divisor

        naive_bayes = add_up(self.log_odds, self.factors) * self.scale
        if not training:
            return ops.mean(naive_bayes, axis=1, keepdims=True), add_up(self.regression) + self.bias
        fold = ops.one_hot(ops.sum(word_ids, axis=1) % FOLDS, FOLDS)
        naive_bayes = ops.sum(naive_bayes * fold, axis=1, keepdims=True)
        return naive_bayes, ops.zeros_like(naive_bayes)

    def _list_ngrams(self, word_ids):
        """Return for each length the n-grams that end at each word, as three tensors of ids."""
        padding = first = ops.full_like(word_ids, PADDING_ID)
        if scope := self.negation_scope:
            negates = ops.any(ops.equal(word_ids[..., None], self.negations), axis=-1)
            negates = ops.pad(negates, ((0, 0), (scope, 0)))
            negated = ops.any(ops.stack([negates[:, i : i - scope] for i in range(scope)]), axis=0)
            first = ops.where(negated, NEGATED_ID, padding)
        # START_ID, which no n-gram in the table contains, precedes the first word.
        before, second = (
            ops.maximum(ops.pad(word_ids, ((0, 0), (n, 0)))[:, :-n], START_ID) for n in (2, 1)
        )
        return [
            (padding, first, word_ids),
            (padding, second, word_ids),
            (before, second, word_ids),
        ]

    def _find(self, ngram):
        """Return the slots of n-grams, and whether they are in the table."""
        slots = _hash(*ngram, self.slots)
        found = ops.equal(ops.take(self.keys, slots, axis=0), ops.stack(ngram, axis=-1))
        return slots, ops.all(found, axis=-1, keepdims=True)

    def adapt(self, sequences, labels, sample_weights=None, negations=()):
        """Compute the weights of naive Bayes and of logistic regression.

        N-grams with special ids, and those that only one review contains, are left out.

        Args:
            sequences: one int32 array of word ids per review.
            labels: 0 or 1 per review.
            sample_weights: weights of the reviews, for logistic regression only; None: equal ones.
            negations: the ids of negating words, the most frequent one first.
        """
        negations = np.array(negations[:NEGATIONS], dtype=np.int32)
        if self.negation_scope:
            missing = NEGATIONS - len(negations)
            self.negations.assign(np.pad(negations, (0, missing), constant_values=NO_ID))
        if sample_weights is None:
            sample_weights = np.ones(len(labels), dtype=np.float32)
        given = (sequences, labels, sample_weights)
        sequences, labels, sample_weights = (subsample(each, REVIEWS) for each in given)
        labels = np.asarray(labels, dtype=np.int64)
        lists = [
            np.unique(self._number_ngrams(sequence, negations), return_counts=True)
            for sequence in sequences
        ]
        rows = np.repeat(np.arange(len(lists)), [len(numbers) for numbers, _ in lists])
        occurrences = np.concatenate([occurrences for _, occurrences in lists])
        numbers, columns = np.unique(
            np.concatenate([numbers for numbers, _ in lists]), return_inverse=True
        )
        del lists  # they may be large

        frequencies = np.bincount(columns)  # numbers of reviews
        chosen = np.argsort(-frequencies, kind="stable")[: np.count_nonzero(frequencies > 1)]
        chosen = chosen[: self.ngrams]
        keys = _split(numbers[chosen])
        # The first n-gram of a slot is its most frequent one.
        slots, first = np.unique(_hash(*keys.T, self.slots), return_index=True)
        self.keys.assign(_fill(self.keys.shape, slots, keys[first]))
        positions = np.full(len(numbers), -1)
        positions[chosen[first]] = np.arange(len(slots))
        columns = positions[columns]
        kept = columns >= 0
        rows, columns, occurrences = rows[kept], columns[kept], occurrences[kept]

        groups = labels * FOLDS + [sequence.sum(dtype=np.int32) % FOLDS for sequence in sequences]
        cells = columns * 2 * FOLDS + groups[rows]
        counts = np.bincount(cells, minlength=len(slots) * 2 * FOLDS).reshape(-1, 2, FOLDS)
        log_odds = _compute_log_odds(counts, np.bincount(groups, minlength=2 * FOLDS))
        self.log_odds.assign(_fill(self.log_odds.shape, slots, log_odds))
        for factors in (self.factors, self.scale):
            factors.assign(np.ones(factors.shape))

        log_odds = log_odds.mean(axis=1)
        lengths = np.array([len(sequence) for sequence in sequences])
        features = log_odds[columns] * occurrences / np.sqrt(lengths)[rows]
        coefficients, bias = fit_logistic_regression(
            rows, columns, features, len(slots), labels, sample_weights
        )
        weights = (coefficients * log_odds)[:, np.newaxis]
        self.regression.assign(_fill(self.regression.shape, slots, weights))
        self.bias.assign([bias])

    def _number_ngrams(self, sequence, negations):
        """Return the n-grams of a review, without special ids, as numbers."""
        words = sequence.astype(np.int64)
        known = words >= len(SPECIAL_TOKENS)
        alone = words.copy()
        if scope := self.negation_scope:
            negates = np.pad(np.isin(sequence, negations), (scope, 0))
            negated = np.any([negates[i : i - scope] for i in range(scope)], axis=0)
            alone[negated] += NEGATED_ID * BASE
        numbers = [alone[known]]
        ngrams = words
        for n in (1, 2):
            ngrams = ngrams[:-1] * BASE + words[n:]
            known = known[:-1] & (words[n:] >= len(SPECIAL_TOKENS))
            numbers.append(ngrams[known])
        return np.concatenate(numbers)

    def save_own_variables(self, store):
        """Save the negating words, the n-grams, ``(n, 3)``, and their two weights, ``(n,)``.

        The weight of naive Bayes is the mean of the log odds over the folds, times the factors.
        """
        tables = (self.keys, self.log_odds, self.factors * self.scale, self.regression)
        keys, log_odds, factors, regression = map(ops.convert_to_numpy, tables)
        used = keys.any(axis=1)
        # In float64 the mean of equal numbers is exact: a loaded layer is saved unchanged.
        means = log_odds[used].mean(axis=1, dtype=np.float64) * factors[used, 0]
        store["keys"] = keys[used]
        store["log_odds"] = means.astype(np.float32)
        store["regression"] = regression[used, 0]
        store["bias"] = ops.convert_to_numpy(self.bias)
        if self.negation_scope:
            store["negations"] = ops.convert_to_numpy(self.negations)

    def load_own_variables(self, store):
        """Load what `save_own_variables` saved.

        Raises:
            ValueError: if the store contains anything else.
        """
        names = ("keys", "log_odds", "regression", "bias")
        if set(store.keys()) != {*names, *(["negations"] if self.negation_scope else [])}:
            raise ValueError("it has no table of n-grams; train it again")
        keys, log_odds, regression, bias = arrays = [store[name] for name in names]
        n = log_odds.size
        shapes, types = zip(*((array.shape, array.dtype) for array in arrays), strict=True)
        if shapes != ((n, 3), (n,), (n,), (1,)) or types != (np.int32, *[np.float32] * 3):
            raise ValueError("its table of n-grams has another shape or type; train it again")
        if (keys < (PADDING_ID, PADDING_ID, len(SPECIAL_TOKENS))).any():
            raise ValueError("its table of n-grams has ids that no word has; train it again")
        slots = _hash(*keys.T, self.slots)
        if len(np.unique(slots)) < len(slots):
            raise ValueError("its table has two n-grams in one slot; train it again")
        self.keys.assign(_fill(self.keys.shape, slots, keys))
        for table, weights in ((self.log_odds, log_odds), (self.regression, regression)):
            table.assign(_fill(table.shape, slots, weights[:, np.newaxis]))
        self.bias.assign(bias)
        if self.negation_scope:
            negations = store["negations"]
            is_int32 = (negations.shape, negations.dtype) == ((NEGATIONS,), np.int32)
            if not is_int32 or ((negations != NO_ID) & (negations < len(SPECIAL_TOKENS))).any():
                raise ValueError("its negating words are damaged; train it again")
            self.negations.assign(negations)
        for factors in (self.factors, self.scale):
            factors.assign(np.ones(factors.shape))

    def get_config(self):
        config = {"ngrams": self.ngrams, "negation_scope": self.negation_scope}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("sentiment")
class AverageInPrediction(keras.layers.Layer):
    """Averages its inputs in prediction; during training, returns only the first one.

    The inputs are a list of tensors of the same shape, such as the log odds of classifiers.
    """

    def call(self, inputs, training=False):
        return inputs[0] if training else sum(inputs) / len(inputs)


def _compute_log_odds(counts, totals):
    """Compare the shares of the positive and negative reviews that contain each n-gram.

    Args:
        counts: reviews that contain an n-gram, ``(n, 2, FOLDS)``: by label and fold.
        totals: number of reviews, ``(2 * FOLDS,)``: by label and fold.

    Returns:
        log odds ``(n, FOLDS)``; those of a fold leave out its reviews.
    """

    def leave_fold_out(counts):
        return counts.sum(axis=-1, keepdims=True) - counts

    totals = np.maximum(leave_fold_out(totals.reshape(2, FOLDS)), 1)
    shares = leave_fold_out(counts) / totals + 2 / totals.sum(axis=0)  # smoothed: none is 0
    return np.log(shares[:, 1] / shares[:, 0])


def _split(numbers):
    """Return the three ids of n-grams that are given as numbers."""
    pairs, third = np.divmod(numbers, BASE)
    return np.stack([*np.divmod(pairs, BASE), third], axis=1).astype(np.int32)


def _fill(shape, rows, values):
    """Return an array of zeros except for some rows."""
    array = np.zeros(shape, dtype=values.dtype)
    array[rows] = values
    return array


def _hash(first, second, third, slots):
    # Products overflow int32 and wrap around, in every backend alike, which mixes the bits.
    ids = (first * MULTIPLIERS[0] + second) * MULTIPLIERS[0] + third
    return ids * MULTIPLIERS[1] % slots

"""The layer of n-gram classifiers computes what plain counts and scikit-learn give."""

import dataclasses
import itertools
import math
from collections import Counter

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from sentiment.data.batches import Batches
from sentiment.layers import AverageInPrediction, NgramClassifiers, fit_ngram_classifiers
from sentiment.layers.logistic_regression import C, fit_logistic_regression
from sentiment.layers.ngrams import FOLDS
from tests.conftest import PROGRAMS, assert_one_line, run_script


def make_reviews(count=200, vocabulary_size=40):
    generator = np.random.default_rng(0)
    reviews = [
        np.minimum(generator.geometric(0.1, generator.integers(1, 30)), vocabulary_size - 1)
        for _ in range(count)
    ]
    labels = np.array([(review.mean() + generator.normal() > 9) for review in reviews])
    # No review has the id 3.
    reviews = [np.where(review == 3, 2, review).astype(np.int32) for review in reviews]
    return reviews, labels.astype(np.float32)


def make_layer(ngrams, reviews, labels, negations=(), sample_weights=None):
    layer = NgramClassifiers(ngrams, 3 if negations else 0)
    layer.build((None, None))
    layer.adapt(reviews, labels, sample_weights, negations)
    return layer


def make_trained_model(ngrams, reviews, labels):
    """Return a network of one layer whose factors differ from 1, as after a training."""
    word_ids = keras.Input((None,), dtype="int32")
    model = keras.Model(word_ids, NgramClassifiers(ngrams, 3, name="ngrams")(word_ids))
    layer = model.get_layer("ngrams")
    layer.adapt(reviews, labels, None, [5, 9])
    layer.factors.assign(np.random.default_rng(1).normal(1, 0.3, layer.factors.shape))
    layer.scale.assign([1.5])
    return model


def list_ngrams(review, negations=()):
    """Return the n-grams of a review, each as the three ids of its key."""
    words = review.tolist()
    alone = [
        (0, 3 if {*words[max(i - 3, 0) : i]} & {*negations} else 0, word)
        for i, word in enumerate(words)
    ]
    bigrams = [(0, *pair) for pair in itertools.pairwise(words) if min(pair) > 3]
    triples = zip(words, words[1:], words[2:], strict=False)
    return [key for key in alone if key[2] > 3] + bigrams + [key for key in triples if min(key) > 3]


def count_plainly(reviews, labels, negations=()):
    """Return the log odds of each n-gram."""
    counts = [Counter(), Counter()]
    for review, label in zip(reviews, labels, strict=True):
        counts[int(label)].update(set(list_ngrams(review, negations)))
    totals = [len(labels) - labels.sum(), labels.sum()]
    negative, positive = (
        {key: counts[i][key] / totals[i] + 2 / len(labels) for key in {*counts[0], *counts[1]}}
        for i in range(2)
    )
    return {key: math.log(positive[key] / negative[key]) for key in positive}


def read_keys(layer):
    """Return the n-grams in the hash table."""
    return {tuple(key) for key in convert_to_numpy(layer.keys).tolist() if key[2]}


@pytest.mark.parametrize("negations", [(), (5, 9)])
def test_reviews_are_scored_out_of_fold_in_training(negations):
    reviews, labels = make_reviews()
    layer = make_layer(2_000, reviews, labels, negations)
    keys = read_keys(layer)
    folds = np.array([int(review.sum()) % FOLDS for review in reviews])
    sums = np.zeros((len(reviews), FOLDS))
    for fold in range(FOLDS):
        others = [review for review, own in zip(reviews, folds, strict=True) if own != fold]
        log_odds = count_plainly(others, labels[folds != fold], negations)
        for i, review in enumerate(reviews):
            listed = list_ngrams(review, negations)
            found = [log_odds.get(key, 0) for key in listed if key in keys]
            sums[i, fold] = sum(found) / math.sqrt(len(review))
    expected = {True: sums[np.arange(len(reviews)), folds], False: sums.mean(axis=1)}

    longest = max(map(len, reviews)) + 1
    for training, outputs in expected.items():
        for sides in ((0, 1), (1, 0)):  # post-padding and pre-padding
            batch = np.stack(
                [np.pad(review, np.multiply(sides, longest - len(review))) for review in reviews]
            )
            scores = convert_to_numpy(layer(batch, training=training)[0])[:, 0]
            np.testing.assert_allclose(scores, outputs, rtol=1e-4, atol=1e-4)
        for review, output in zip(reviews[:20], outputs, strict=False):  # without padding
            score = float(layer(review[np.newaxis], training=training)[0][0, 0])
            assert score == pytest.approx(output, rel=1e-4, abs=1e-4)


def test_the_most_frequent_ngrams_of_several_reviews_are_counted():
    reviews, labels = make_reviews()
    frequencies = Counter(key for review in reviews for key in set(list_ngrams(review)))
    repeated = {key for key, count in frequencies.items() if count > 1}
    all_ngrams = read_keys(make_layer(10_000, reviews, labels))
    assert all_ngrams <= repeated
    assert len(all_ngrams) > 0.95 * len(repeated)  # few share a slot of so many
    few = read_keys(make_layer(50, reviews, labels))
    (most_frequent, _), *_ = frequencies.most_common(1)
    assert most_frequent in few and 25 < len(few) <= 50
    threshold = sorted(frequencies.values(), reverse=True)[49]
    assert min(frequencies[key] for key in few) >= threshold


@pytest.mark.parametrize("weighted", [False, True])
def test_logistic_regression_is_that_of_scikit_learn(weighted):
    linear_model = pytest.importorskip("sklearn.linear_model")
    reviews, labels = make_reviews()
    weights = np.where(np.arange(len(reviews)) < 50, 3.0, 0.5) if weighted else None
    layer = make_layer(500, reviews, labels, (5, 9), weights)
    table = convert_to_numpy(layer.keys)
    log_odds = convert_to_numpy(layer.log_odds).mean(axis=1)
    slots = {tuple(key): i for i, key in enumerate(table.tolist()) if key[2]}
    features = np.zeros((len(reviews), len(table)))
    for i, review in enumerate(reviews):
        for key in list_ngrams(review, (5, 9)):
            if key in slots:
                features[i, slots[key]] += log_odds[slots[key]] / math.sqrt(len(review))
    model = linear_model.LogisticRegression(C=C, tol=1e-8, max_iter=10_000)
    model.fit(features, labels, weights)
    expected = model.decision_function(features)
    longest = max(map(len, reviews))
    batch = np.stack([np.pad(review, (0, longest - len(review))) for review in reviews])
    # The layer stops fitting earlier.
    output = convert_to_numpy(layer(batch)[1])[:, 0]
    np.testing.assert_allclose(output, expected, atol=0.1 * np.abs(expected).max())
    assert np.corrcoef(output, expected)[0, 1] > 0.995
    assert not convert_to_numpy(layer(batch, training=True)[1]).any()


def test_the_bias_of_logistic_regression_is_the_log_odds_of_the_labels():
    nothing = np.array([], dtype=int)
    labels = np.array([1, 1, 1, 0])
    coefficients, bias = fit_logistic_regression(nothing, nothing, nothing, 0, labels, np.ones(4))
    assert not coefficients.size and bias == pytest.approx(math.log(3), abs=0.01)


@pytest.mark.parametrize(("labels", "weights"), [([], []), ([0, 1], [0, 0])])
def test_logistic_regression_without_weighted_reviews_is_zero(labels, weights):
    nothing = np.array([], dtype=int)
    coefficients, bias = fit_logistic_regression(nothing, nothing, nothing, 2, labels, weights)
    assert not coefficients.any() and bias == 0


@pytest.mark.parametrize("reviews", [[[1]], [[1, 2, 2], [1, 2, 2]], [[1, 4, 5], [1, 6, 7]]])
def test_reviews_without_common_words_give_zeros(reviews):
    reviews = [np.array(review, dtype=np.int32) for review in reviews]
    layer = make_layer(10, reviews, np.arange(len(reviews)) % 2)
    assert not convert_to_numpy(layer.log_odds).any()
    assert not convert_to_numpy(layer(np.array([[1, 4, 5, 6, 7]]))[0]).any()


def test_prediction_is_the_average_and_training_the_first():
    inputs = [np.array([[1.0], [2.0]], "float32"), np.array([[2.0], [-4.0]], "float32")]
    layer = AverageInPrediction()
    np.testing.assert_array_equal(layer(inputs, training=True), inputs[0])
    np.testing.assert_array_equal(layer(inputs), [[1.5], [-1.0]])


def test_large_ids_are_found():
    review = np.array([1, *[999_998, 999_999] * 200], dtype=np.int32)
    other = np.array([1, 999_998, 7], dtype=np.int32)
    layer = make_layer(100, [review, review, other, other], np.array([1, 1, 0, 0]))
    assert read_keys(layer) == {
        (0, 0, 999_998),
        (0, 0, 999_999),
        (0, 999_998, 999_999),
        (0, 999_999, 999_998),
        (999_998, 999_999, 999_998),
        (999_999, 999_998, 999_999),
        (0, 0, 7),
        (0, 999_998, 7),
    }
    for positive, negative in zip(layer(review[None]), layer(other[None]), strict=True):
        assert float(positive[0, 0]) > 0 > float(negative[0, 0])


@pytest.mark.slow
def test_accuracy_in_training_is_that_on_new_reviews(data):
    x, y = data.x_train[::6], data.y_train[::6]
    layer = make_layer(100_000, x, y)

    def measure(sequences, labels, training):
        batches = Batches(sequences, labels, 100)
        is_right = [
            convert_to_numpy(layer(word_ids, training=training)[0])[:, 0] * (y - 0.5) > 0
            for word_ids, y in (batches[i] for i in range(len(batches)))
        ]
        return np.concatenate(is_right).mean()

    accuracy = measure(data.x_validation, data.y_validation, False)
    assert accuracy > 0.8
    assert measure(x, y, True) == pytest.approx(accuracy, abs=0.03)
    # Counts that include the review itself are right nearly always.
    assert measure(x, y, False) > accuracy + 0.08


@pytest.mark.parametrize("ngrams", [0, -1, 1_000_001, 10**12])
def test_a_number_of_ngrams_out_of_bounds_is_one_line(ngrams):
    with pytest.raises(ValueError, match=f"1 to 1,000,000, not {ngrams}") as raised:
        NgramClassifiers(ngrams)
    assert_one_line(raised.value)


@pytest.mark.parametrize("scope", [-1, 101, 10**9])
def test_a_negation_scope_out_of_bounds_is_one_line(scope):
    with pytest.raises(ValueError, match=f"0 to 100, not {scope}") as raised:
        NgramClassifiers(10, scope)
    assert_one_line(raised.value)


def test_a_file_has_only_the_ngrams_and_a_loaded_layer_predicts_the_same(tmp_path):
    reviews, labels = make_reviews()
    model = make_trained_model(200_000, reviews, labels)
    assert {weight.name for weight in model.trainable_weights} == {"factors", "scale"}
    model.save(tmp_path / "model.keras")
    assert (tmp_path / "model.keras").stat().st_size < 40_000
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for review in reviews[:20]:
        for expected, predicted in zip(model(review[None]), loaded(review[None]), strict=True):
            np.testing.assert_allclose(predicted, expected, rtol=1e-5, atol=1e-6)
    # Weights of an earlier training are replaced.
    model.load_weights(tmp_path / "model.keras")
    loaded.save(tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras")
    for network in (model, again):
        for weight, expected in zip(network.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, expected)


def test_a_layer_without_ngrams_is_saved_and_loaded(tmp_path):
    reviews = [np.array([1, 4], dtype=np.int32), np.array([1, 5], dtype=np.int32)]
    make_trained_model(10, reviews, np.array([0, 1])).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert read_keys(loaded.get_layer("ngrams")) == set()
    assert not convert_to_numpy(loaded(reviews[0][np.newaxis])[0]).any()


def fill(store, keys, shape):
    store["keys"] = np.array(keys, dtype=np.int32).reshape(-1, 3)
    store["log_odds"] = store["regression"] = np.full(shape, 1.0, dtype=np.float32)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda store: store.clear(), "no table"),
        (lambda store: store.pop("log_odds"), "no table"),
        (lambda store: store.pop("bias"), "no table"),
        (lambda store: store.update({"2": store["keys"]}), "no table"),
        (lambda store: fill(store, [0, 0, 4, 0, 0, 5], 1), "shape"),
        (lambda store: fill(store, [0, 0, 4], (1, 1)), "shape"),
        (lambda store: fill(store, [0, 0, 4], ()), "shape"),
        (lambda store: store.update(regression=store["regression"][1:]), "shape"),
        (lambda store: store.update(bias=store["regression"][:2]), "shape"),
        (lambda store: store.update(keys=store["keys"].T), "shape"),
        (lambda store: store.update(keys=store["keys"].astype(np.int64)), "type"),
        (lambda store: store.update(log_odds=store["log_odds"].astype("S")), "type"),
        (lambda store: fill(store, [0, -1, 4], 1), "ids"),
        (lambda store: fill(store, [-1, 4, 4], 1), "ids"),
        (lambda store: fill(store, [0, 4, -4], 1), "ids"),
        (lambda store: fill(store, [0, 0, 0], 1), "ids"),
        (lambda store: fill(store, [0, 0, 4, 0, 0, 4], 2), "slot"),
        (lambda store: fill(store, [[0, 0, 4 + i] for i in range(601)], 601), "slot"),
        (lambda store: store.update(negations=store["negations"][1:]), "negating"),
        (lambda store: store.update(negations=store["negations"].astype("f")), "negating"),
        (lambda store: store.update(negations=np.zeros_like(store["negations"])), "negating"),
    ],
)
def test_damaged_arrays_are_one_line(spoil, expected):
    reviews, labels = make_reviews()
    layer = make_layer(300, reviews, labels, (5, 9))
    store = {}
    layer.save_own_variables(store)
    layer.load_own_variables(store)
    spoil(store)
    with pytest.raises(ValueError, match=expected) as raised:
        layer.load_own_variables(store)
    assert_one_line(raised.value)


@pytest.mark.slow
def test_a_saved_layer_gives_the_same_output_in_a_new_process(tmp_path):
    reviews, labels = make_reviews()
    trained = make_trained_model(300, reviews, labels)
    model = keras.Model(trained.inputs, AverageInPrediction()(trained.outputs))
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", reviews[0][np.newaxis])
    arguments = [".", "x.npy", "y.npy", "sentiment.layers"]
    done = run_script(PROGRAMS / "predict_ids.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = model.predict_on_batch(reviews[0][np.newaxis])
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-6)


def test_negating_words_are_found_in_the_vocabulary(data):
    word_ids = keras.Input((None,), dtype="int32")
    model = keras.Model(word_ids, NgramClassifiers(1_000, 3)(word_ids))
    few = dataclasses.replace(data, x_train=data.x_train[::50], y_train=data.y_train[::50])
    fit_ngram_classifiers(model, few)
    found = {data.vocabulary[i] for i in convert_to_numpy(model.layers[-1].negations) if i > 0}
    assert {"not", "never", "isn't", "don't"} <= found
    assert not found & {"the", "good", "bad"}

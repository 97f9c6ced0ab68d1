"""The naive Bayes layer computes what a plain count of words and bigrams gives."""

import itertools
import math
import os
import subprocess
import sys
from collections import Counter

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from sentiment.data.batches import Batches
from sentiment.layers import count_words
from sentiment.layers.naive_bayes import FOLDS, NaiveBayes
from tests.conftest import PROGRAMS, PROJECT, assert_one_line


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


def make_layer(terms, reviews, labels, negations=()):
    layer = NaiveBayes(terms, 3 if negations else 0)
    layer.build((None, None))
    layer.adapt(reviews, labels, negations)
    return layer


def make_trained_model(terms, reviews, labels):
    """Return a network of one layer whose factors differ from 1, as after a training."""
    word_ids = keras.Input((None,), dtype="int32")
    model = keras.Model(word_ids, NaiveBayes(terms, 3, name="naive_bayes")(word_ids))
    layer = model.get_layer("naive_bayes")
    layer.adapt(reviews, labels, [5, 9])
    layer.factors.assign(np.random.default_rng(1).normal(1, 0.3, layer.factors.shape))
    return model


def list_terms(review, negations=()):
    words = review.tolist()
    bigrams = [(a, b) for a, b in itertools.pairwise(words) if min(a, b) > 3]
    alone = [
        (3 if {*words[max(i - 3, 0) : i]} & {*negations} else 0, word)
        for i, word in enumerate(words)
    ]
    return [term for term in alone if term[1] > 3] + bigrams


def count_plainly(reviews, labels, negations=()):
    """Return each term's log odds."""
    counts = [Counter(), Counter()]
    for review, label in zip(reviews, labels, strict=True):
        counts[int(label)].update(set(list_terms(review, negations)))
    totals = [len(labels) - labels.sum(), labels.sum()]
    negative, positive = (
        {term: counts[i][term] / totals[i] + 2 / len(labels) for term in {*counts[0], *counts[1]}}
        for i in range(2)
    )
    return {term: math.log(positive[term] / negative[term]) for term in positive}


def read_terms(layer):
    """Return the terms in the hash table."""
    return {tuple(pair) for pair in convert_to_numpy(layer.pairs).tolist() if pair[1]}


@pytest.mark.parametrize("negations", [(), (5, 9)])
def test_reviews_are_scored_out_of_fold_in_training(negations):
    reviews, labels = make_reviews()
    layer = make_layer(2_000, reviews, labels, negations)
    terms = read_terms(layer)
    folds = np.array([int(review.sum()) % FOLDS for review in reviews])
    sums = np.zeros((len(reviews), FOLDS))
    for fold in range(FOLDS):
        others = [review for review, own in zip(reviews, folds, strict=True) if own != fold]
        log_odds = count_plainly(others, labels[folds != fold], negations)
        for i, review in enumerate(reviews):
            listed = list_terms(review, negations)
            found = [log_odds.get(term, 0) for term in listed if term in terms]
            sums[i, fold] = sum(found) / math.sqrt(len(review))
    expected = {True: sums[np.arange(len(reviews)), folds], False: sums.mean(axis=1)}

    longest = max(map(len, reviews)) + 1
    for training, outputs in expected.items():
        for sides in ((0, 1), (1, 0)):  # post-padding and pre-padding
            batch = np.stack(
                [np.pad(review, np.multiply(sides, longest - len(review))) for review in reviews]
            )
            scores = convert_to_numpy(layer(batch, training=training))[:, 0]
            np.testing.assert_allclose(scores, outputs, rtol=1e-4, atol=1e-4)
        for review, output in zip(reviews[:20], outputs, strict=False):  # without padding
            score = float(layer(review[np.newaxis], training=training)[0, 0])
            assert score == pytest.approx(output, rel=1e-4, abs=1e-4)


def test_the_most_frequent_terms_of_several_reviews_are_counted():
    reviews, labels = make_reviews()
    frequencies = Counter(term for review in reviews for term in set(list_terms(review)))
    repeated = {term for term, count in frequencies.items() if count > 1}
    all_terms = read_terms(make_layer(10_000, reviews, labels))
    assert all_terms <= repeated
    assert len(all_terms) > 0.95 * len(repeated)  # few share a slot of so many
    few = read_terms(make_layer(50, reviews, labels))
    (most_frequent, _), *_ = frequencies.most_common(1)
    assert most_frequent in few and 25 < len(few) <= 50
    threshold = sorted(frequencies.values(), reverse=True)[49]
    assert min(frequencies[term] for term in few) >= threshold


@pytest.mark.parametrize("reviews", [[[1]], [[1, 2, 2], [1, 2, 2]], [[1, 4, 5], [1, 6, 7]]])
def test_reviews_without_common_words_give_zeros(reviews):
    reviews = [np.array(review, dtype=np.int32) for review in reviews]
    layer = make_layer(10, reviews, np.ones(len(reviews), dtype=np.float32))
    assert not convert_to_numpy(layer.log_odds).any()
    assert not convert_to_numpy(layer(np.array([[1, 4, 5, 6, 7]]))).any()


def test_large_ids_are_found():
    review = np.array([1, 999_998, 999_999] * 200, dtype=np.int32)
    other = np.array([1, 999_998, 7], dtype=np.int32)
    layer = make_layer(10, [review, review, other, other], np.array([1, 1, 0, 0]))
    assert read_terms(layer) == {
        (0, 999_998),
        (0, 999_999),
        (999_998, 999_999),
        (0, 7),
        (999_998, 7),
    }
    assert float(layer(review[np.newaxis])[0, 0]) > 0 > float(layer(other[np.newaxis])[0, 0])


@pytest.mark.slow
def test_accuracy_in_training_is_that_on_new_reviews(data):
    layer = make_layer(100_000, data.x_train[::4], data.y_train[::4])

    def measure(sequences, labels, training):
        batches = Batches(sequences, labels, 100)
        is_right = [
            convert_to_numpy(layer(word_ids, training=training))[:, 0] * (y - 0.5) > 0
            for word_ids, y in (batches[i] for i in range(len(batches)))
        ]
        return np.concatenate(is_right).mean()

    accuracy = measure(data.x_validation, data.y_validation, False)
    assert accuracy > 0.8
    assert measure(data.x_train[::4], data.y_train[::4], True) == pytest.approx(accuracy, abs=0.03)
    # Counts that include the review itself are right nearly always.
    assert measure(data.x_train[::4], data.y_train[::4], False) > accuracy + 0.08


@pytest.mark.parametrize("terms", [0, -1, 1_000_001, 10**12])
def test_a_number_of_terms_out_of_bounds_is_one_line(terms):
    with pytest.raises(ValueError, match=f"1 to 1,000,000 terms, not {terms}") as raised:
        NaiveBayes(terms)
    assert_one_line(raised.value)


@pytest.mark.parametrize("scope", [-1, 101, 10**9])
def test_a_negation_scope_out_of_bounds_is_one_line(scope):
    with pytest.raises(ValueError, match=f"0 to 100, not {scope}") as raised:
        NaiveBayes(10, scope)
    assert_one_line(raised.value)


def test_a_file_has_only_the_terms_and_a_loaded_layer_predicts_the_same(tmp_path):
    reviews, labels = make_reviews()
    model = make_trained_model(200_000, reviews, labels)
    assert [weight.name for weight in model.trainable_weights] == ["factors"]
    model.save(tmp_path / "model.keras")
    assert (tmp_path / "model.keras").stat().st_size < 40_000
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for review in reviews[:20]:
        expected, predicted = (
            convert_to_numpy(network(review[np.newaxis])) for network in (model, loaded)
        )
        np.testing.assert_allclose(predicted, expected, rtol=1e-5, atol=1e-6)
    # Weights of an earlier training are replaced.
    model.load_weights(tmp_path / "model.keras")
    loaded.save(tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras")
    for network in (model, again):
        for weight, expected in zip(network.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, expected)


def test_a_layer_without_terms_is_saved_and_loaded(tmp_path):
    reviews = [np.array([1, 4], dtype=np.int32), np.array([1, 5], dtype=np.int32)]
    make_trained_model(10, reviews, np.array([0, 1])).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert read_terms(loaded.get_layer("naive_bayes")) == set()
    assert not convert_to_numpy(loaded(reviews[0][np.newaxis])).any()


def fill(store, pairs, log_odds):
    store["pairs"] = np.array(pairs, dtype=np.int32).reshape(-1, 2)
    store["log_odds"] = np.full(log_odds, 1.0, dtype=np.float32)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda store: store.clear(), "no table"),
        (lambda store: store.pop("log_odds"), "no table"),
        (lambda store: store.update({"2": store["pairs"]}), "no table"),
        (lambda store: fill(store, [0, 4, 0, 5], 1), "shape"),
        (lambda store: fill(store, [0, 4], (1, 1)), "shape"),
        (lambda store: fill(store, [0, 4], ()), "shape"),
        (lambda store: store.update(pairs=store["pairs"].T), "shape"),
        (lambda store: store.update(pairs=store["pairs"].astype(np.int64)), "type"),
        (lambda store: store.update(log_odds=store["log_odds"].astype("S")), "type"),
        (lambda store: fill(store, [-1, 4], 1), "ids"),
        (lambda store: fill(store, [4, -4], 1), "ids"),
        (lambda store: fill(store, [0, 0], 1), "ids"),
        (lambda store: fill(store, [0, 4, 0, 4], 2), "slot"),
        (lambda store: fill(store, [[0, 4 + i] for i in range(601)], 601), "slot"),
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
    model = make_trained_model(300, reviews, labels)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", reviews[0][np.newaxis])
    program = [sys.executable, PROGRAMS / "predict_ids.py", ".", "x.npy", "y.npy"]
    subprocess.run(
        [*program, "sentiment.layers"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    expected = model.predict_on_batch(reviews[0][np.newaxis])
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-6)


def test_negating_words_are_found_in_the_vocabulary(data):
    word_ids = keras.Input((None,), dtype="int32")
    model = keras.Model(word_ids, NaiveBayes(1_000, 3)(word_ids))
    count_words(model, data)
    found = {data.vocabulary[i] for i in convert_to_numpy(model.layers[-1].negations) if i > 0}
    assert {"not", "never", "isn't", "don't"} <= found
    assert not found & {"the", "good", "bad"}

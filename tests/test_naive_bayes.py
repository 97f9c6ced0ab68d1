"""The layer computes naive Bayes as a plain count of words and bigrams does."""

import itertools
import math
import subprocess
import sys
from collections import Counter

from sentiment import naive_bayes
from sentiment.batches import Batches
from sentiment.naive_bayes import PARTS, NaiveBayes
from tests.conftest import PROJECT

import keras
import numpy as np
import pytest


def make_reviews(count=200, vocabulary_size=40):
    generator = np.random.default_rng(0)
    reviews = [
        np.minimum(generator.geometric(0.1, generator.integers(1, 30)), vocabulary_size - 1)
        for _ in range(count)
    ]
    labels = np.array([(review.mean() + generator.normal() > 9) for review in reviews])
    return [review.astype(np.int32) for review in reviews], labels.astype(np.float32)


def make_layer(terms, reviews, labels):
    layer = NaiveBayes(terms)
    layer.build((None, None))
    layer.adapt(reviews, labels)
    return layer


def list_terms(review):
    words = review.tolist()
    pairs = [(a, b) for a, b in itertools.pairwise(words) if min(a, b) > 3]
    return [(0, word) for word in words if word > 3] + pairs


def find_part(review):
    return int(review.sum()) % PARTS


def count_plainly(reviews, labels):
    """Return each term's log odds."""
    counts = [Counter(), Counter()]
    for review, label in zip(reviews, labels, strict=True):
        counts[int(label)].update(set(list_terms(review)))
    reviews = [len(labels) - labels.sum(), labels.sum()]
    negative, positive = (
        {term: counts[i][term] / reviews[i] + 2 / len(labels) for term in {*counts[0], *counts[1]}}
        for i in range(2)
    )
    return {term: math.log(positive[term] / negative[term]) for term in positive}


def read_pairs(layer):
    """Return the terms that found a place in the table."""
    return {tuple(pair) for pair in keras.ops.convert_to_numpy(layer.pairs).tolist() if pair[1]}


@pytest.mark.parametrize("padding", [(0, 0), (0, 5), (5, 0)])
def test_reviews_are_judged_by_the_counts_of_other_parts(padding):
    reviews, labels = make_reviews()
    layer = make_layer(2_000, reviews, labels)
    pairs = read_pairs(layer)
    parts = np.array([find_part(review) for review in reviews])
    odds = []
    for part in range(PARTS):
        others = [review for review, own in zip(reviews, parts, strict=True) if own != part]
        odds.append(count_plainly(others, labels[parts != part]))
    for review, part in zip(reviews, parts, strict=True):
        sums = [
            sum(plain.get(term, 0) for term in list_terms(review) if term in pairs)
            / math.sqrt(len(review))
            for plain in odds
        ]
        padded = np.pad(review, padding)[np.newaxis]
        trained = float(layer(padded, training=True)[0, 0])
        assert trained == pytest.approx(sums[part], rel=1e-4, abs=1e-4)
        assert float(layer(padded)[0, 0]) == pytest.approx(np.mean(sums), rel=1e-4, abs=1e-4)


def test_what_several_reviews_hold_is_counted_and_the_most_frequent_of_it_first():
    reviews, labels = make_reviews()
    frequencies = Counter(term for review in reviews for term in set(list_terms(review)))
    repeated = {term for term, count in frequencies.items() if count > 1}
    all_pairs = read_pairs(make_layer(10_000, reviews, labels))
    assert all_pairs <= repeated
    assert len(all_pairs) > 0.95 * len(repeated)  # few share a slot of so many
    few = read_pairs(make_layer(50, reviews, labels))
    (most_frequent, _), *_ = frequencies.most_common(1)
    assert most_frequent in few and 25 < len(few) <= 50
    threshold = sorted(frequencies.values(), reverse=True)[49]
    assert min(frequencies[term] for term in few) >= threshold


@pytest.mark.parametrize("reviews", [[[1]], [[1, 2, 2], [1, 2, 2]], [[1, 4, 5], [1, 6, 7]]])
def test_reviews_that_share_no_words_count_for_nothing(reviews):
    reviews = [np.array(review, dtype=np.int32) for review in reviews]
    layer = make_layer(10, reviews, np.ones(len(reviews), dtype=np.float32))
    assert not keras.ops.convert_to_numpy(layer.log_odds).any()
    assert not np.array(layer(np.array([[1, 4, 5, 6, 7]]))).any()


def test_large_ids_do_not_go_astray():
    review = np.array([1, 999_998, 999_999] * 200, dtype=np.int32)
    other = np.array([1, 999_998, 7], dtype=np.int32)
    layer = make_layer(10, [review, review, other, other], np.array([1, 1, 0, 0]))
    assert read_pairs(layer) == {
        (0, 999_998),
        (0, 999_999),
        (999_998, 999_999),
        (0, 7),
        (999_998, 7),
    }
    assert float(layer(review[np.newaxis])[0, 0]) > 0 > float(layer(other[np.newaxis])[0, 0])


def test_on_real_reviews_it_is_as_right_in_training_as_later(data):
    layer = make_layer(100_000, data.x_train[::4], data.y_train[::4])

    def measure(sequences, labels, training):
        batches = Batches(sequences, labels, 100)
        right = [
            np.array(layer(word_ids, training=training))[:, 0] * (y - 0.5) > 0
            for word_ids, y in (batches[i] for i in range(len(batches)))
        ]
        return np.concatenate(right).mean()

    later = measure(data.x_validation, data.y_validation, False)
    assert later > 0.8
    assert measure(data.x_train[::4], data.y_train[::4], True) == pytest.approx(later, abs=0.03)
    # What the layer keeps a training from: nearly all reviews look easy that were counted.
    assert measure(data.x_train[::4], data.y_train[::4], False) > later + 0.08


def test_it_is_saved_with_its_counts_and_the_same_everywhere(tmp_path):
    reviews, labels = make_reviews()
    word_ids = keras.Input((None,), dtype="int32")
    model = keras.Model(word_ids, NaiveBayes(300, name="naive_bayes")(word_ids))
    model.get_layer("naive_bayes").adapt(reviews, labels)
    assert [weight.name for weight in model.trainable_weights] == ["factors"]
    model.save(tmp_path / "model.keras")
    code = (
        "import sentiment.naive_bayes, keras, numpy; m = keras.models.load_model('model.keras'); "
        f"print(m.predict_on_batch(numpy.array([{reviews[0].tolist()}])).item())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT)},
    )
    assert done.returncode == 0, done.stderr
    expected = model.predict_on_batch(reviews[0][np.newaxis]).item()
    assert float(done.stdout.split("\n")[-2]) == pytest.approx(expected, abs=1e-6)
    assert naive_bayes.NaiveBayes.from_config(model.layers[1].get_config()).terms == 300

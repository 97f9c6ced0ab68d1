"""The weights that training starts from are those that their docstrings promise."""

from sentiment import initial
from sentiment.initial import set_word_vectors, spread_memory
from sentiment.lstm import LSTM

import keras
import numpy as np
import pytest


def make_embedding(vocabulary_size, size):
    embedding = keras.layers.Embedding(vocabulary_size, size)
    embedding.build()
    return embedding


def find_vectors(sequences, vocabulary_size, size):
    embedding = make_embedding(vocabulary_size, size)
    set_word_vectors(embedding, sequences)
    return embedding.get_weights()[0]


def make_reviews(count=40, longest=30, vocabulary_size=25):
    generator = np.random.default_rng(0)
    return [
        generator.integers(1, vocabulary_size, generator.integers(1, longest)).astype(np.int32)
        for _ in range(count)
    ]


def count_information(sequences, vocabulary_size):
    """Positive pointwise mutual information, pair by pair."""
    counts = np.zeros((vocabulary_size, vocabulary_size))
    for sequence in sequences:
        for i, word in enumerate(sequence):
            for j, neighbour in enumerate(sequence):
                if 0 < abs(i - j) <= initial.WINDOW and min(word, neighbour) > 3:
                    counts[word, neighbour] += 1 / abs(i - j)
    share = counts.sum(axis=0) ** initial.SMOOTHING
    share /= share.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(counts / (counts.sum(axis=1, keepdims=True) * share))
    return np.where(counts > 0, np.maximum(information, 0), 0)


def test_vectors_are_the_singular_vectors_of_the_information():
    reviews = make_reviews()
    left, values, _ = np.linalg.svd(count_information(reviews, 25))
    expected = left[:, :6] * np.sqrt(values[:6])
    expected *= initial.SCALE / np.sqrt(np.mean(expected**2))
    vectors = find_vectors(reviews, 25, 6)
    # A singular vector may point either way, so products of words are compared.
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-4)


def test_words_of_similar_neighbours_get_similar_vectors(data):
    vectors = find_vectors(data.x_train, 10_000, 32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-6)
    ids = {word: i for i, word in enumerate(data.vocabulary)}
    good, great, awful, terrible, monday, six = (
        vectors[ids[word]] for word in ("good", "great", "awful", "terrible", "monday", "six")
    )
    assert min(good @ great, awful @ terrible) > max(good @ monday, awful @ six) + 0.2


def test_ids_without_neighbours_start_from_zeros(monkeypatch):
    monkeypatch.setattr(initial, "WORDS", 20)
    vectors = find_vectors(make_reviews(), 30, 40)
    assert not vectors[:4].any()  # padding, start, unknown, unused
    assert not vectors[20:].any()  # too rare
    assert not vectors[:, 20:].any()  # no more directions than words
    assert vectors[4:20].any(axis=1).all()
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("reviews", [[[1]], [[1, 4]], [[1, 2, 2]], [[1, 4], [1, 5]]])
def test_reviews_that_tell_nothing_start_from_zeros(reviews):
    vectors = find_vectors([np.array(review, dtype=np.int32) for review in reviews], 6, 4)
    assert vectors.shape == (6, 4)
    assert not vectors.any()


@pytest.mark.parametrize("layer", [LSTM, keras.layers.LSTM])
def test_units_forget_over_two_words_to_the_span(layer):
    span, steps = 300, 50
    lstm = layer(8, return_state=True)
    lstm.build((None, None, 4))
    recurrent_kernel = lstm.get_weights()[1]
    spread_memory(lstm, span)
    kernel, kept, bias = lstm.get_weights()
    assert np.array_equal(recurrent_kernel, kept)
    lstm.set_weights([np.zeros_like(kernel), np.zeros_like(kept), bias])
    state = [np.zeros((1, 8), np.float32), np.ones((1, 8), np.float32)]
    cell = lstm(np.zeros((1, steps, 4), np.float32), initial_state=state)[2]
    # Without input a unit keeps this share of what it holds with each word.
    kept_share = 1 - 1 / np.linspace(2, span, 8)
    np.testing.assert_allclose(np.array(cell)[0], kept_share**steps, rtol=1e-3)
    input_gate = 1 / (1 + np.exp(-bias[:8]))
    np.testing.assert_allclose(input_gate, 1 - kept_share, rtol=1e-4)

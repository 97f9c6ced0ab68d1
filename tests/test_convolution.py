"""Convolution and pooling leave the padding out, and lose no step."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from sentiment.layers import masked_conv_pool, padding_mask

FEATURES, FILTERS = 4, 3


def make_model(kernel_size, pool_size, padding="post"):
    """Return a network from word ids to the pooled output and its mask."""
    word_ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(50, FEATURES, embeddings_initializer="normal")(word_ids)
    x, mask = masked_conv_pool(x, padding_mask(word_ids, padding), FILTERS, kernel_size, pool_size)
    return keras.Model(word_ids, [x, mask])


def compute_plainly(model, sequence, kernel_size, pool_size):
    """Return the pooled output of one review without padding."""
    (vectors,), (kernel, bias) = (
        layer.get_weights() for layer in model.layers if layer.get_weights()
    )
    before = (kernel_size - 1) // 2
    x = np.pad(vectors[sequence], ((before, kernel_size - 1 - before), (0, 0)))
    steps = [
        np.maximum(np.tensordot(x[i : i + kernel_size], kernel) + bias, 0)
        for i in range(len(sequence))
    ]
    groups = [steps[i : i + pool_size] for i in range(0, len(steps), pool_size)]
    return np.array([np.max(group, axis=0) for group in groups])


def test_padding_mask():
    word_ids = np.array([[1, 9, 2, 0], [1, 0, 0, 0]])
    mask = convert_to_numpy(padding_mask(word_ids, "post"))
    np.testing.assert_array_equal(mask, [[[1], [1], [1], [0]], [[1], [0], [0], [0]]])
    assert mask.dtype == np.float32
    mask = convert_to_numpy(padding_mask(word_ids, "pre"))
    np.testing.assert_array_equal(mask, np.ones((2, 4, 1)))


@pytest.mark.parametrize(("kernel_size", "pool_size"), [(3, 2), (1, 1), (4, 3), (5, 1), (2, 8)])
def test_padding_does_not_change_the_output_of_a_review(kernel_size, pool_size):
    model = make_model(kernel_size, pool_size)
    generator = np.random.default_rng(0)
    for weights in model.weights:  # a bias, which would reach masked steps, among them
        weights.assign(generator.normal(size=weights.shape))
    for tokens in range(1, 10):
        review = generator.integers(1, 50, tokens)
        expected = compute_plainly(model, review, kernel_size, pool_size)
        for padding in (0, 1, 2, 7):
            x, mask = map(convert_to_numpy, model(np.pad(review, (0, padding))[np.newaxis]))
            # The incomplete last group of steps is kept, so that the last word is read.
            assert len(expected) == -(-tokens // pool_size)
            assert x.shape[1] == mask.shape[1] == -(-(tokens + padding) // pool_size)
            np.testing.assert_array_equal(mask[0], np.arange(mask.shape[1]) < len(expected))
            np.testing.assert_allclose(x[0][mask[0]], expected, atol=1e-5)
            assert not x[0][~mask[0]].any()


def test_pre_padding_is_read():
    model = make_model(3, 2, padding="pre")
    x, mask = map(convert_to_numpy, model(np.array([[0, 0, 0, 0, 1, 9, 2]])))
    assert mask.all()
    assert x.shape == (1, 4, FILTERS)
    expected = compute_plainly(model, np.array([0, 0, 0, 0, 1, 9, 2]), 3, 2)
    np.testing.assert_allclose(x[0], expected, atol=1e-5)

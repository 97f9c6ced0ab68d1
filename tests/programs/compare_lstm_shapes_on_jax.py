"""Compare the LSTM on JAX with the stock layer for shapes that don't fit; argument: cpu or gpu."""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import itertools
import sys
from types import SimpleNamespace

import jax
import keras
import numpy as np

from sentiment.layers import LSTM, lstm_jax

UNITS, REVIEWS, TOKENS, FEATURES = 3, 8, 4, 2
MASKS = [(8, 4), (8, 5), (8, 3), (8, 1), (1, 4), (4, 4), (16, 4), (0, 4), (4,), (8, 4, 1), ()]
STATES = [(8, 3), (1, 3), (4, 3), (8, 4), (8, 1), (3,), (8, 3, 1), ()]


def reference(x, h, c, weights, lengths, **_):
    # cuDNN reads beyond the end of arrays that are too small, so their shapes are checked before.
    assert x.shape == (len(x), TOKENS, FEATURES) and lengths.shape == (len(x),)
    assert h.shape == c.shape == (1, len(x), UNITS)
    return None, h, c


def attempt(layer, mask, states):
    try:
        return jax.tree.leaves(layer(x, mask=mask, initial_state=states))
    except Exception as error:
        return error


lstm_jax.rnn = SimpleNamespace(lstm=reference)
lstm_jax.jax = SimpleNamespace(**{**vars(jax), "default_backend": lambda: sys.argv[1]})
generator = np.random.default_rng(0)
x = generator.normal(size=(REVIEWS, TOKENS, FEATURES)).astype("float32")
stock, fast = (layer(UNITS, return_state=True) for layer in (keras.layers.LSTM, LSTM))
stock.build(x.shape)
fast.build(x.shape)
fast.set_weights(stock.get_weights())
if jax.device_count() > 1:
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))

results = []
for mask_shape, state_shape in itertools.product(MASKS, STATES):
    # The last cases are those that `reference` computes: for them it need only not fail.
    is_usual = mask_shape == (REVIEWS, TOKENS) and state_shape == (REVIEWS, UNITS)
    for number_of_states in (2,) if state_shape != (REVIEWS, UNITS) else (1, 2, 3):
        mask = (generator.random(mask_shape) < 0.6).astype("int32")
        states = [generator.normal(size=state_shape).astype("float32")] * number_of_states
        expected, found = attempt(stock, mask, states), attempt(fast, mask, states)
        case = mask_shape, state_shape, number_of_states, expected, found
        assert isinstance(found, Exception) == isinstance(expected, Exception), case
        results.append(isinstance(found, Exception))
        if not results[-1] and not (is_usual and sys.argv[1] == "gpu"):
            for one, other in zip(expected, found, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
assert {*results} == {True, False}

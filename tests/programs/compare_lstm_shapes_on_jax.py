"""Compare the LSTM on JAX, which has four devices here, with the stock layer for unfit shapes."""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import itertools
from types import SimpleNamespace

import jax
import keras
import numpy as np

from sentiment.layers import LSTM, lstm_jax

UNITS, REVIEWS, TOKENS, FEATURES = 3, 8, 4, 2
FIT = (REVIEWS, TOKENS), (REVIEWS, UNITS)
MASKS = [(8, 4), (8, 5), (8, 3), (8, 1), (1, 4), (4, 4), (16, 4), (0, 4), (4,), (8, 4, 1), ()]
STATES = [(8, 3), (1, 3), (4, 3), (8, 4), (8, 1), (3,), (8, 3, 1), ()]
# Of these, both do not fit: they may be broadcast, and have the same number of rows or not.
BOTH = itertools.product([(1, 4), (4, 4), (8, 1), (4,)], [(1, 3), (4, 3), (8, 4)])
SHAPES = [
    *((mask, FIT[1]) for mask in MASKS),
    *((FIT[0], state) for state in STATES[1:]),
    *BOTH,
]


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
generator = np.random.default_rng(0)
x = generator.normal(size=(REVIEWS, TOKENS, FEATURES)).astype("float32")
stock, fast = (layer(UNITS, return_state=True) for layer in (keras.layers.LSTM, LSTM))
stock.build(x.shape)
fast.build(x.shape)
fast.set_weights(stock.get_weights())
assert jax.device_count() > 1

for distribution in (None, keras.distribution.DataParallel(auto_shard_dataset=False)):
    keras.distribution.set_distribution(distribution)
    results = []
    for mask_shape, state_shape in SHAPES:
        # The cases that fit are those that `reference` computes: they need only not fail.
        is_usual = (mask_shape, state_shape) == FIT
        for number_of_states in (1, 2, 3) if is_usual else (2,):
            mask = (generator.random(mask_shape) < 0.6).astype("int32")
            states = [generator.normal(size=state_shape).astype("float32")] * number_of_states
            expected = attempt(stock, mask, states)
            results.append(isinstance(expected, Exception))
            for kind in ("cpu", "gpu"):
                default_backend = lambda kind=kind: kind  # noqa: E731
                lstm_jax.jax = SimpleNamespace(**{**vars(jax), "default_backend": default_backend})
                found = attempt(fast, mask, states)
                case = kind, distribution, mask_shape, state_shape, number_of_states
                case += expected, found
                assert isinstance(found, Exception) == results[-1], case
                if not results[-1] and not (is_usual and kind == "gpu"):
                    for one, other in zip(expected, found, strict=True):
                        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert {*results} == {True, False}

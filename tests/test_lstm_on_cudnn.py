"""What cuDNN is given on JAX, and what is made of its results, with JAX's own reference for it.

That it can be called at all needs a GPU.
"""

import os
import subprocess
import sys

from tests.conftest import PROJECT

import pytest

CODE = """
import sys
sys.modules["tensorflow"] = sys.modules["torch"] = None
from sentiment import lstm
import jax, jax.numpy as jnp, keras, numpy as np
from jax.experimental import rnn

calls = []

def reference(x, h, c, weights, lengths, *, input_size, hidden_size, **options):
    calls.append(x.shape)
    assert x.dtype == weights.dtype == jnp.float32 and lengths.dtype == jnp.int32
    sizes = np.cumsum([4 * hidden_size * n for n in (input_size, hidden_size, 1)])
    w, r, b, b2 = jnp.split(weights, sizes)
    w, r = w.reshape(-1, input_size), r.reshape(-1, hidden_size)
    one = lambda array: {0: array}
    options.pop("num_layers")
    return rnn.lstm_ref(x, h, c, one(w), one(r), one(b), one(b2), lengths,
                        input_size, hidden_size, 1, 0.0, False)

lstm.rnn = type("", (), {"lstm": staticmethod(reference)})
lstm.jax = type("", (), {**vars(jax), "default_backend": staticmethod(lambda: "gpu")})
keras.distribution.set_distribution(
    keras.distribution.DataParallel(auto_shard_dataset=False) if jax.device_count() > 1 else None)
generator = np.random.default_rng(0)
x = jnp.asarray(generator.normal(size=(8, 6, 5)), dtype="float32")
mask = generator.random((8, 6)) < 0.6
mask[0] = True
mask[1] = False
stock, fast = (kind(7, bias_initializer="normal") for kind in (keras.layers.LSTM, lstm.LSTM))
stock.build(x.shape), fast.build(x.shape)
fast.set_weights(stock.get_weights())
start = [jnp.asarray(generator.normal(size=(8, 7)), dtype="float32") for _ in range(2)]

def run(layer, x, start, variables):
    trainable, fixed = variables, [v.value for v in layer.non_trainable_variables]
    (output, *states), _ = layer.stateless_call(
        trainable, fixed, x, mask=mask, initial_state=start, training=True)
    return sum((weight * part ** 2).sum() for weight, part in zip((1, 2, 3), (output, *states)))

weights = [v.value for v in stock.trainable_variables]
stock.return_state = fast.return_state = True
def differentiate(layer):
    function = jax.value_and_grad(lambda *arrays: run(layer, *arrays), argnums=(0, 1, 2))
    return jax.jit(function)(x, start, weights)

expected = differentiate(stock)
assert not calls
found = differentiate(fast)
assert calls == [(8 // jax.device_count(), 6, 5)], calls
for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
"""


@pytest.mark.parametrize("devices", [1, 4])
def test_masked_reviews_have_the_results_and_gradients_of_the_stock_layer(devices):
    pytest.importorskip("jax")
    subprocess.run(
        [sys.executable, "-c", CODE],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "PYTHONPATH": str(PROJECT),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        },
        check=True,
    )

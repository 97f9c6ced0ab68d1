"""The LSTM on JAX, on one device and on several.

What cuDNN is given and what is made of its results is tested with JAX's own reference for it. That
it can be called at all needs a GPU.
"""

import os
import subprocess
import sys

from tests.conftest import PROJECT

import pytest

CODE = """
import sys
sys.modules["tensorflow"] = sys.modules["torch"] = None
from sentiment import lstm, lstm_on_jax
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

lstm_on_jax.rnn = type("", (), {"lstm": staticmethod(reference)})
lstm_on_jax.jax = type("", (), {**vars(jax), "default_backend": staticmethod(lambda: sys.argv[1])})
devices = jax.device_count()
generator = np.random.default_rng(0)
x = generator.normal(size=(8, 6, 5)).astype("float32")
mask = generator.random((8, 6)) < 0.6
mask[0] = True
mask[1] = False
stock, fast = (kind(7, bias_initializer="normal") for kind in (keras.layers.LSTM, lstm.LSTM))
stock.build(x.shape), fast.build(x.shape)
fast.set_weights(stock.get_weights())
start = [generator.normal(size=(8, 7)).astype("float32") for _ in range(2)]
if devices > 1:
    distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
    keras.distribution.set_distribution(distribution)
    rows = jax.NamedSharding(
        distribution.device_mesh.backend_mesh, jax.sharding.PartitionSpec("batch"))
    x, start = jax.device_put((x, start), rows)

def run(layer, x, start, variables):
    trainable, fixed = variables, [v.value for v in layer.non_trainable_variables]
    (output, *states), _ = layer.stateless_call(
        trainable, fixed, x, mask=mask, initial_state=start, training=True)
    return sum((weight * part ** 2).sum() for weight, part in zip((1, 2, 3), (output, *states)))

weights = [v.value for v in stock.trainable_variables]
stock.return_state = fast.return_state = True
def differentiate(layer):
    function = jax.value_and_grad(lambda *arrays: run(layer, *arrays), argnums=(0, 1, 2))
    compiled = jax.jit(function).lower(x, start, weights).compile()
    in_loops, _, outside = compiled.as_text().partition("ENTRY")
    return compiled(x, start, weights), ["all-reduce(" in part for part in (in_loops, outside)]

expected, sums = differentiate(stock)
assert sums == [devices > 1, devices > 1] and not calls
found, sums = differentiate(fast)
assert sums == [False, devices > 1]
assert calls == ([(8 // devices, 6, 5)] if sys.argv[1] == "gpu" else []), calls
for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
"""


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_masked_reviews_have_the_results_and_gradients_of_the_stock_layer(kind, devices):
    pytest.importorskip("jax")
    subprocess.run(
        [sys.executable, "-c", CODE, kind],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "PYTHONPATH": str(PROJECT),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        },
        check=True,
    )

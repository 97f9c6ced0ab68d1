"""Compare the LSTM on JAX with the stock layer, on one device and on four.

For a GPU, a reference stands for cuDNN.
"""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.experimental import rnn

from sentiment.layers import LSTM, lstm_jax

UNITS, REVIEWS, TOKENS, FEATURES = 7, 8, 6, 5
shapes_on_cudnn = []


def reference(x, h, c, weights, lengths, *, input_size, hidden_size, num_layers, **_):
    shapes_on_cudnn.append(x.shape)
    assert x.dtype == weights.dtype == jnp.float32 and lengths.dtype == jnp.int32
    sizes = np.cumsum([4 * hidden_size * n for n in (input_size, hidden_size, 1)])
    w, r, b, b2 = jnp.split(weights, sizes)
    parameters = (w.reshape(-1, input_size), r.reshape(-1, hidden_size), b, b2)
    layers = ({0: parameter} for parameter in parameters)
    return rnn.lstm_ref(x, h, c, *layers, lengths, input_size, hidden_size, num_layers, 0.0, False)


def differentiate(layer, x, initial_state, weights):
    """Return values and gradients, and whether devices add up: in loops, and outside of them."""
    fixed = [variable.value for variable in layer.non_trainable_variables]

    def sum_outputs(x, initial_state, weights):
        (output, *states), _ = layer.stateless_call(
            weights, fixed, x, mask=mask, initial_state=initial_state, training=True
        )
        return sum((i * part**2).sum() for i, part in enumerate((output, *states), 1))

    function = jax.jit(jax.value_and_grad(sum_outputs, argnums=(0, 1, 2)))
    compiled = function.lower(x, initial_state, weights).compile()
    in_loops, _, outside = compiled.as_text().partition("ENTRY")
    sums = ["all-reduce(" in part for part in (in_loops, outside)]
    return compiled(x, initial_state, weights), sums


lstm_jax.rnn = SimpleNamespace(lstm=reference)
generator = np.random.default_rng(0)
x = generator.normal(size=(REVIEWS, TOKENS, FEATURES)).astype("float32")
mask = generator.random((REVIEWS, TOKENS)) < 0.6
mask[0] = True
mask[1] = False
initial_state = [generator.normal(size=(REVIEWS, UNITS)).astype("float32") for _ in range(2)]
stock, fast = (
    layer(UNITS, bias_initializer="normal", return_state=True)
    for layer in (keras.layers.LSTM, LSTM)
)
stock.build(x.shape)
fast.build(x.shape)
fast.set_weights(stock.get_weights())
assert jax.device_count() == 4

for devices in (1, 4):
    if devices > 1:
        distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(distribution)
        mesh = distribution.device_mesh.backend_mesh
        rows = jax.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
        x, initial_state = jax.device_put((x, initial_state), rows)
    given = x, initial_state, [variable.value for variable in stock.trainable_variables]
    expected, sums = differentiate(stock, *given)
    assert sums == [devices > 1, devices > 1] and not shapes_on_cudnn
    for kind in ("cpu", "gpu"):
        default_backend = lambda kind=kind: kind  # noqa: E731
        lstm_jax.jax = SimpleNamespace(**{**vars(jax), "default_backend": default_backend})
        found, sums = differentiate(fast, *given)
        assert sums == [False, devices > 1], (devices, kind)
        local_shape = (REVIEWS // devices, TOKENS, FEATURES)
        assert shapes_on_cudnn == ([local_shape] if kind == "gpu" else []), shapes_on_cudnn
        shapes_on_cudnn.clear()
        for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)

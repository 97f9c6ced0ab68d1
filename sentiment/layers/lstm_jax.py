"""The LSTM on JAX: masked input on cuDNN, and on several devices each with its own rows.

Keras uses cuDNN, NVIDIA's library, only for input without a mask, and computes all other input step
by step. cuDNN itself can skip masked steps, so here it gets masked input, too.
"""

import functools

import jax
import jax.numpy as jnp
import keras
from jax.experimental import rnn
from keras import ops


def run(layer, stock_loop, sequences, initial_state, mask, training):
    """Return what `keras.layers.LSTM.inner_loop` returns for a layer.

    Args:
        layer: the LSTM.
        stock_loop: that method, for what cuDNN does not support, and for what Keras itself gives
            to cuDNN.
        sequences: ``(batch, steps, features)``.
        initial_state: two arrays ``(batch, units)``.
        mask: None or bool ``(batch, steps)``.
        training: whether to apply dropout.
    """
    if _can_run_masked(layer, sequences, initial_state, mask):
        if training and 0.0 < layer.dropout < 1.0:
            sequences *= layer.cell.get_dropout_mask(sequences[:, 0, :])[:, None, :]
        return _run_masked(sequences, initial_state, mask, layer.cell)
    if layer.dropout or layer.recurrent_dropout:
        # The dropout masks of the cell are for all rows, not for those of one device.
        return stock_loop(sequences, initial_state, mask, training=training)
    loop = functools.partial(stock_loop, training=training)
    return _share_rows(
        functools.partial(_run_with_weights, loop, layer.cell),
        [sequences, initial_state, mask],
        [variable.value for variable in layer.cell.weights],
    )


def _can_run_masked(layer, sequences, initial_state, mask):
    batch, steps, _ = sequences.shape
    return (
        jax.default_backend() == "gpu"
        and mask is not None
        # Other shapes are left to the stock layer, which broadcasts them or raises an error.
        and mask.shape == (batch, steps)
        and [state.shape for state in initial_state] == 2 * [(batch, layer.units)]
        and layer.activation is keras.activations.tanh
        and layer.recurrent_activation is keras.activations.sigmoid
        and not layer.recurrent_dropout
        and not layer.unroll
        and not layer.go_backwards
        and not layer.return_sequences
        and layer.use_bias
        and layer.use_cudnn is not False
    )


def _run_masked(sequences, initial_state, mask, cell):
    """Return what the stock loop does without `return_sequences`, on cuDNN."""
    dtype, mask = sequences.dtype, mask.astype(bool)
    # A masked step carries the state on unchanged, so moving all masked steps behind the others
    # changes no state.
    order = jnp.argsort(~mask, axis=1, stable=True)
    sequences = jnp.take_along_axis(sequences, order[:, :, None], axis=1)
    lengths = jnp.count_nonzero(mask, axis=1).astype(jnp.int32)
    kernel, recurrent_kernel, bias = map(
        ops.convert_to_tensor, (cell.kernel, cell.recurrent_kernel, cell.bias)
    )
    # cuDNN has the same order of gates, transposed kernels, and two biases that it adds.
    parameters = (kernel.T, recurrent_kernel.T, bias, jnp.zeros_like(bias))
    weights = jnp.concatenate([part.ravel() for part in parameters])
    arrays = [array.astype(jnp.float32) for array in (sequences, *initial_state)]
    last_hidden, last_cell = _share_rows(
        functools.partial(_run_cudnn, units=cell.units),
        [*arrays, jnp.maximum(lengths, 1)],
        weights.astype(jnp.float32),
    )
    has_steps = (lengths > 0)[:, None]
    # As in the stock layer on JAX, a review without any step keeps its initial state.
    states = [
        jnp.where(has_steps, last, initial).astype(initial.dtype)
        for last, initial in zip((last_hidden, last_cell), initial_state, strict=True)
    ]
    last_output = states[0].astype(dtype)
    return last_output, last_output[:, None, :], states


def _run_cudnn(arrays, weights, units):
    """Return the last two states ``(batch, units)``."""
    sequences, hidden, cell, lengths = arrays
    _, hidden, cell = rnn.lstm(
        sequences,
        hidden[None],
        cell[None],
        weights,
        lengths,
        input_size=sequences.shape[-1],
        hidden_size=units,
        num_layers=1,
        dropout=0.0,
        bidirectional=False,
    )
    return hidden[0], cell[0]


def _run_with_weights(function, layer, arrays, weights):
    """Call a function of arrays with the given values of the layer's weights."""
    with keras.StatelessScope(zip(layer.weights, weights, strict=True)):
        return function(*arrays)


def _share_rows(function, arrays, weights):
    """Call a function of a list of arrays and of weights; each device gets its own rows.

    Otherwise XLA would sum the gradients of all devices at each step of the loop instead of once a
    batch, and would give all rows to the cuDNN of each device.
    """
    distribution = keras.distribution.distribution()
    if distribution:
        mesh, dimension = distribution.device_mesh.backend_mesh, distribution.batch_dim_name
        rows, whole = jax.sharding.PartitionSpec(dimension), jax.sharding.PartitionSpec()
        sizes = {array.shape[:1] for array in jax.tree.leaves(arrays)}
        # Arrays of other sizes are broadcast, or raise an error, only if they are whole.
        if len(sizes) == 1 and len(arrays[0]) % mesh.shape[dimension] == 0:
            function = jax.shard_map(
                function, mesh=mesh, in_specs=(rows, whole), out_specs=rows, check_vma=False
            )
    return function(arrays, weights)

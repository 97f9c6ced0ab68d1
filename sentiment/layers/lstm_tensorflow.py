"""The LSTM on TensorFlow without a GPU: masks, options and states around the fused `run_chunks`.

Importing it changes how the process keeps freed memory, where there is glibc: see
`_keep_freed_memory`.
"""

import ctypes

import keras
import tensorflow as tf
from keras import ops
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

from sentiment.layers.block_lstm import run_chunks


def can_run(layer, sequences, initial_state, mask):
    """Return whether `run` supports a layer's options and its input.

    Shapes that don't fit are left to the stock layer, which broadcasts them or raises an error.
    """
    batch = sequences.shape[:1]
    return (
        layer.compute_dtype == sequences.dtype.name == "float32"
        and layer.activation is keras.activations.tanh
        and layer.recurrent_activation is keras.activations.sigmoid
        and layer.cell.implementation == 2
        and not layer.recurrent_dropout
        and not layer.unroll
        and layer.use_cudnn is not True
        and len(initial_state) == 2
        and all(
            batch.is_compatible_with(state.shape[:1]) and state.shape[1:] == [layer.units]
            for state in initial_state
        )
        and (
            mask is None
            or (len(mask.shape) == 2 and sequences.shape[:2].is_compatible_with(mask.shape))
        )
        and all(device.device_type == "CPU" for device in tf.config.get_visible_devices())
        # XLA, the compiler behind `jit_compile`, has no kernel for the fused operation.
        and not GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
        # `tf.vectorized_map`, which `TimeDistributed` uses where the number of its steps is
        # unknown, loses custom gradients; this scope of names is the only trace it leaves.
        and "/loop_body" not in f"/{tf.get_current_name_scope()}"
    )


def run(layer, sequences, initial_state, mask, training):
    """Return what `keras.layers.LSTM.inner_loop` returns for a layer.

    Args:
        layer: an LSTM that `can_run` supports.
        sequences: float32 ``(batch, steps, features)``.
        initial_state: two float32 tensors ``(batch, units)``.
        mask: None or bool ``(batch, steps)``.
        training: whether to apply dropout.
    """
    if training and 0.0 < layer.dropout < 1.0:
        # The cell drew this mask before the loop, so the seed is used as in the stock layer.
        sequences *= layer.cell.get_dropout_mask(sequences[:, 0, :])[:, tf.newaxis, :]
    if layer.go_backwards:
        sequences = tf.reverse(sequences, [1])
    batch, steps = tf.unstack(tf.shape(sequences)[:2])
    # Sizes that `can_run` did not know are broadcast, or raise an error, as in the stock layer.
    initial_state = [tf.broadcast_to(state, [batch, layer.units]) for state in initial_state]

    if mask is None:
        lengths = tf.fill([batch], steps)
    else:
        mask = tf.cast(mask, tf.bool)
        if layer.go_backwards:
            mask = tf.reverse(mask, [1])
        # In a graph, the stock layer ignores what a mask has beyond the last step.
        mask = tf.broadcast_to(tf.slice(mask, [0, 0], [-1, steps]), [batch, steps])
        lengths = tf.math.count_nonzero(mask, axis=1, dtype=tf.int32)
        is_right_padded = tf.reduce_all(mask == tf.sequence_mask(lengths, steps))
        # A masked step carries the state on unchanged, so moving all masked steps behind the
        # others changes no state. `top_k` keeps the order of equal elements.
        sequences = tf.cond(
            is_right_padded,
            lambda: sequences,
            lambda: _take_steps(sequences, tf.math.top_k(tf.cast(mask, tf.int32), steps)[1]),
        )

    kernel, recurrent_kernel, bias = (
        _to_block_gate_order(ops.convert_to_tensor(weight))
        for weight in (
            layer.cell.kernel,
            layer.cell.recurrent_kernel,
            layer.cell.bias if layer.use_bias else tf.zeros([4 * layer.units]),
        )
    )
    last_hidden, last_cell, *all_hidden = run_chunks(
        sequences,
        tf.concat([kernel, recurrent_kernel], 0),
        bias,
        *initial_state,
        lengths,
        layer.return_sequences,
        keep_activations=bool(training),
    )
    if mask is None:
        last_output = last_hidden
    else:
        # The stock layer's output is zero up to the first step that is not masked, whatever
        # the initial state is.
        has_steps = (lengths > 0)[:, tf.newaxis]
        last_output = tf.where(has_steps, last_hidden, 0.0)
        last_hidden = tf.where(has_steps, last_hidden, initial_state[0])
        last_cell = tf.where(has_steps, last_cell, initial_state[1])

    if not layer.return_sequences:
        if mask is not None and layer.zero_output_for_mask:
            last_output = tf.where(mask[:, -1:], last_output, 0.0)
        return last_output, last_output[:, tf.newaxis, :], [last_hidden, last_cell]

    outputs = all_hidden[0]
    if mask is not None:
        # Each step gets the output of the last unmasked step up to it.
        positions = tf.cumsum(tf.cast(mask, tf.int32), axis=1) - 1
        outputs = tf.cond(
            is_right_padded,
            lambda: outputs,
            lambda: _take_steps(outputs, tf.maximum(positions, 0)),
        )
        if layer.zero_output_for_mask:
            has_output, filling = mask, tf.zeros_like(last_output)
        else:
            has_output = tf.where(is_right_padded, mask, positions >= 0)
            filling = tf.where(is_right_padded, last_output, 0.0)
        outputs = tf.where(has_output[:, :, tf.newaxis], outputs, filling[:, tf.newaxis, :])
    return outputs[:, -1], outputs, [last_hidden, last_cell]


def _keep_freed_memory():
    """Make glibc keep freed memory for the next step instead of returning it to the kernel.

    A step's activations are about 100 MB. To return and allocate them at each step costs more time
    in page faults than the whole computation.
    """
    trim_threshold, mmap_max = -1, -4  # from malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)


_keep_freed_memory()


def _to_block_gate_order(weight):
    """Reorder the last axis from Keras' gates (input, forget, cell, output) to `BlockLSTM`'s."""
    input_gate, forget_gate, cell_gate, output_gate = tf.split(weight, 4, axis=-1)
    return tf.concat([input_gate, cell_gate, forget_gate, output_gate], axis=-1)


def _take_steps(sequences, indices):
    """Return the steps ``(batch, steps)`` of the sequences ``(batch, steps, features)``."""
    return tf.gather(sequences, indices, batch_dims=1)

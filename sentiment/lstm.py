"""A drop-in `keras.layers.LSTM` that trains faster: without a GPU on TensorFlow, with one on JAX.

The way on JAX is `sentiment.lstm_on_jax`; what follows is for TensorFlow.

Without a GPU, TensorFlow's fused operation `BlockLSTM` runs all steps of a batch without a Python
or graph loop. Its matrix products are too small to gain from being shared among threads, so the
batch is cut into parts, one for each core, and `MapDefun` runs the parts side by side with one
thread inside each.
That limit holds inside `MapDefun` only: this module changes no thread setting of the process.
It does change, where there is glibc, how the process keeps memory: see `_keep_freed_memory`.
"""

import ctypes
import functools
import os

import keras
from keras import ops

if keras.backend.backend() == "jax":
    from sentiment import lstm_on_jax

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

# Measured on two cores with 32 features and 100 units: two parts of 4 rows take about as long as
# one of 8, two of 8 rows 0.8 to 1 times as long as one of 16, and two of 16 about 0.6 times.
MINIMUM_ROWS_PER_PART = 8


class LSTM(keras.layers.LSTM):
    """Long short-term memory layer (Hochreiter and Schmidhuber, 1997), see `keras.layers.LSTM`.

    The constructor, the weights, the config, the call arguments, the errors and, up to float32
    rounding, the results are those of `keras.layers.LSTM`. Inputs have the shape
    `(batch, steps, features)` and the mask `(batch, steps)`; outputs have the shape
    `(batch, units)`, or `(batch, steps, units)` with `return_sequences`; both states have the shape
    `(batch, units)`.

    The fused way is taken on the TensorFlow backend where no GPU is visible, for float32, with the
    default activations, and without `recurrent_dropout`, `unroll`, `implementation=1` or
    `jit_compile`. Everything else runs as in `keras.layers.LSTM`. The fused way has no second
    derivatives: TensorFlow raises `LookupError` where one is asked for.

    On the JAX backend with a GPU, a mask is served by cuDNN where only the last output is wanted,
    under the same conditions but for float32: what it gets in 16 bits it computes in 32.

    A saved model names `keras.layers.LSTM` and needs no code from here to be loaded. Loaded where
    this module has been imported, it holds this layer again.
    """

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Runs all steps; shapes and results as `keras.layers.RNN.inner_loop` has them.

        Returns:
            The output of the last step `(batch, units)`, the outputs `(batch, steps, units)`, or
            `(batch, 1, units)` without `return_sequences`, and the list of the two last states.
        """
        if keras.tree.is_nested(mask):
            mask = mask[0]
        if keras.backend.backend() == "jax":
            loop = super().inner_loop
            return lstm_on_jax.run(self, loop, sequences, initial_state, mask, training)
        if not self._can_run_fused(sequences, mask):
            return super().inner_loop(sequences, initial_state, mask, training=training)
        if training and 0.0 < self.dropout < 1.0:
            # The cell drew this mask before the loop, so the seed is used as in the stock layer.
            sequences *= self.cell.get_dropout_mask(sequences[:, 0, :])[:, tf.newaxis, :]
        if self.go_backwards:
            sequences = tf.reverse(sequences, [1])
        batch, steps = tf.unstack(tf.shape(sequences)[:2])

        if mask is None:
            lengths = tf.fill([batch], steps)
        else:
            mask = tf.cast(mask, tf.bool)
            if self.go_backwards:
                mask = tf.reverse(mask, [1])
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
                self.cell.kernel,
                self.cell.recurrent_kernel,
                self.cell.bias if self.use_bias else tf.zeros([4 * self.units]),
            )
        )
        last_hidden, last_cell, *all_hidden = _run_in_parts(
            sequences,
            tf.concat([kernel, recurrent_kernel], 0),
            bias,
            *initial_state,
            lengths,
            self.return_sequences,
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

        if not self.return_sequences:
            if mask is not None and self.zero_output_for_mask:
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
            if self.zero_output_for_mask:
                has_output, filling = mask, tf.zeros_like(last_output)
            else:
                has_output = tf.where(is_right_padded, mask, positions >= 0)
                filling = tf.where(is_right_padded, last_output, 0.0)
            outputs = tf.where(has_output[:, :, tf.newaxis], outputs, filling[:, tf.newaxis, :])
        return outputs[:, -1], outputs, [last_hidden, last_cell]

    def _can_run_fused(self, sequences, mask):
        return (
            keras.backend.backend() == "tensorflow"
            and self.compute_dtype == sequences.dtype.name == "float32"
            and self.activation is keras.activations.tanh
            and self.recurrent_activation is keras.activations.sigmoid
            and self.cell.implementation == 2
            and not self.recurrent_dropout
            and not self.unroll
            and self.use_cudnn is not True
            and (mask is None or len(mask.shape) == 2)
            and all(device.device_type == "CPU" for device in tf.config.get_visible_devices())
            # XLA, the compiler behind `jit_compile`, has no kernel for the fused operation.
            and not GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
            # `tf.vectorized_map`, which `TimeDistributed` uses where the number of its steps is
            # unknown, loses custom gradients; this scope of names is the only trace it leaves.
            and "/loop_body" not in f"/{tf.get_current_name_scope()}"
        )

    def __reduce__(self):
        # A pickle holds a saved model, and like it names the stock layer.
        return keras.layers.LSTM._unpickle_model, super().__reduce__()[1]


# The config of the layer names the class by these two, and Keras loads `keras.layers.LSTM` from it.
# `Bidirectional` and other wrappers copy their layer by its config: the registration lets them,
# and loading where this module is imported, find this class again. The stock layer's own config
# has no registered name and so keeps naming the stock layer.
LSTM.__module__ = "keras.layers"
keras.saving.get_custom_objects()["LSTM"] = LSTM


def _keep_freed_memory():
    """Has glibc keep freed memory for the next step instead of giving it back to the kernel.

    A step's activations are some 100 MB. Given back and fetched again at each step, they cost more
    time in page faults than the whole computation.
    """
    trim_threshold, mmap_max = -1, -4  # as malloc.h numbers them
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)


if keras.backend.backend() == "tensorflow":
    _keep_freed_memory()


def _to_block_gate_order(weight):
    """Reorders the last axis from Keras' gates (input, forget, cell, output) to `BlockLSTM`'s."""
    input_gate, forget_gate, cell_gate, output_gate = tf.split(weight, 4, axis=-1)
    return tf.concat([input_gate, cell_gate, forget_gate, output_gate], axis=-1)


def _take_steps(sequences, indices):
    """Returns the steps `(batch, steps)` of the sequences `(batch, steps, features)`."""
    return tf.gather(sequences, indices, batch_dims=1)


def _run_in_parts(
    sequences, kernel, bias, hidden, cell, lengths, return_sequences, keep_activations
):
    """Cuts the batch into parts and runs them side by side.

    Args:
        sequences: float32 `(batch, steps, features)`, with the masked steps at the end.
        kernel: float32 `(features + units, 4 * units)`, in `BlockLSTM`'s gate order.
        bias: float32 `(4 * units,)`, in the same order.
        hidden, cell: float32 `(batch, units)`, the two initial states.
        lengths: int32 `(batch,)`, the number of unmasked steps of each row.
        return_sequences: whether the hidden states of all steps are wanted.
        keep_activations: whether to keep in memory what the gradients need, or else to compute it
            anew for them, which suits calls that mostly have none, and lets a model be exported:
            TensorFlow exports no gradient that needs kept activations.

    Returns:
        A list of float32 tensors: the two states `(batch, units)` after the last unmasked step,
        which have no meaning for a row without any, and with `return_sequences` also the hidden
        states of all steps `(batch, steps, units)`.
    """
    # TensorFlow's graph threads run the parts; zero stands for as many as there are cores.
    threads = tf.config.threading.get_inter_op_parallelism_threads() or _count_cores()
    batch = tf.shape(sequences)[0]
    parts = tf.clip_by_value(batch // MINIMUM_ROWS_PER_PART, 1, threads)
    # `BlockLSTM` is slow, and writes warnings, where the number of rows is odd: round it up.
    rows = 2 * tf.maximum((batch + 2 * parts - 1) // (2 * parts), 1)

    def cut(tensor):
        padding = [[0, parts * rows - batch]] + [[0, 0]] * (len(tensor.shape) - 1)
        shape = tf.concat([[parts, rows], tf.shape(tensor)[1:]], 0)
        cut_tensor = tf.reshape(tf.pad(tensor, padding), shape)
        return tf.ensure_shape(cut_tensor, [None, None, *tensor.shape[1:]])

    def join(tensor):
        shape = tf.concat([[parts * rows], tf.shape(tensor)[2:]], 0)
        joined = tf.reshape(tensor, shape)[:batch]
        return tf.ensure_shape(joined, [sequences.shape[0], *tensor.shape[2:]])

    @tf.custom_gradient
    def run(lengths, sequences, hidden, cell, kernel, bias):
        inputs, weights = [lengths, sequences, hidden, cell], [kernel, bias]
        results = _map_parts(_run_part, inputs, weights, return_sequences, keep_activations)
        number_of_states = 3 if return_sequences else 2
        states, activations = results[:number_of_states], results[number_of_states:]

        def differentiate(*state_gradients):
            sequences, hidden, cell, kernels, biases = _map_parts(
                _differentiate_part,
                [*inputs, *state_gradients, *activations],
                weights,
                return_sequences,
            )
            weight_gradients = [tf.reduce_sum(kernels, 0), tf.reduce_sum(biases, 0)]
            return None, sequences, hidden, cell, *weight_gradients

        return states, differentiate

    states = run(*map(cut, (lengths, sequences, hidden, cell)), kernel, bias)
    return [join(state) for state in states]


def _map_parts(function, part_inputs, common_inputs, *options):
    """Calls `function` for each part, side by side and with one thread inside each call.

    Args:
        function: takes the options and tensors, and returns a list of tensors.
        part_inputs: tensors whose first axis counts the parts.
        common_inputs: tensors that every part gets whole, after its own.
        *options: what the function takes before its tensors.

    Returns:
        The list of the function's results, stacked along a new first axis.
    """
    specs = [tf.TensorSpec(tensor.shape[1:], tensor.dtype) for tensor in part_inputs]
    specs += [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in common_inputs]
    traced = _make_graph_function(function).get_concrete_function(*options, *specs)
    return tf.raw_ops.MapDefun(
        arguments=part_inputs,
        captured_inputs=common_inputs,
        output_types=[output.dtype for output in traced.outputs],
        output_shapes=[output.shape for output in traced.outputs],
        f=traced,
        max_intra_op_parallelism=1,
    )


@functools.cache
def _make_graph_function(function):
    return tf.function(function, autograph=False)


def _block_inputs(lengths, sequences, hidden, cell, kernel, bias):
    unused = tf.zeros([hidden.shape[-1]])
    return {
        "seq_len_max": tf.cast(tf.reduce_max(lengths), tf.int64),
        "x": tf.transpose(sequences, [1, 0, 2]),
        "cs_prev": cell,
        "h_prev": hidden,
        "w": kernel,
        "b": bias,
        "wci": unused,
        "wcf": unused,
        "wco": unused,
        "use_peephole": False,
    }


def _run_block(inputs):
    """Returns the seven results `(steps, rows, units)` of `BlockLSTM`, in its order."""
    return tf.raw_ops.BlockLSTM(**inputs, forget_bias=0.0, cell_clip=-1.0)


def _last_steps(lengths):
    """Returns the indices `(rows, 2)` of each row's last unmasked step in a time-major tensor."""
    return tf.stack([tf.maximum(lengths - 1, 0), tf.range(tf.shape(lengths)[0])], axis=1)


def _run_part(return_sequences, keep_activations, lengths, *inputs):
    """Returns the last hidden and cell state, and the hidden states and activations asked for."""
    block = _run_block(_block_inputs(lengths, *inputs))
    last_steps = _last_steps(lengths)
    results = [tf.gather_nd(block.h, last_steps), tf.gather_nd(block.cs, last_steps)]
    if return_sequences:
        results.append(tf.transpose(block.h, [1, 0, 2]))
    if keep_activations:
        # `MapDefun` copies what a part returns, but of a variant only the reference.
        results.append(tf.raw_ops.OptionalFromValue(components=list(block)))
    return results


def _differentiate_part(return_sequences, lengths, sequences, hidden, cell, *others):
    """Returns the gradients for the sequences, both initial states, kernel and bias."""
    hidden_gradients, cell_gradients, *others, kernel, bias = others
    inputs = _block_inputs(lengths, sequences, hidden, cell, kernel, bias)
    sequence_gradients = others.pop(0) if return_sequences else None
    if others:
        shape = [sequences.shape[1], sequences.shape[0], hidden.shape[1]]
        block = tf.raw_ops.OptionalGetValue(
            optional=others[0], output_types=[tf.float32] * 7, output_shapes=[shape] * 7
        )
    else:
        block = _run_block(inputs)
    last_steps, shape = _last_steps(lengths), tf.shape(block[0])
    hidden_gradients = tf.scatter_nd(last_steps, hidden_gradients, shape)
    if return_sequences:
        hidden_gradients += tf.transpose(sequence_gradients, [1, 0, 2])
    gradients = tf.raw_ops.BlockLSTMGrad(
        **inputs,
        **dict(zip(("i", "cs", "f", "o", "ci", "co", "h"), block, strict=True)),
        h_grad=hidden_gradients,
        cs_grad=tf.scatter_nd(last_steps, cell_gradients, shape),
    )
    return [
        tf.transpose(gradients.x_grad, [1, 0, 2]),
        gradients.h_prev_grad,
        gradients.cs_prev_grad,
        gradients.w_grad,
        gradients.b_grad,
    ]


def _count_cores():
    # TensorFlow counts the cores that the process may use, which not every system tells.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()

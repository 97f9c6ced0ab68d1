"""TensorFlow's fused operation ``BlockLSTM`` on chunks of a batch, with its gradient.

Its matrix products are too small to gain from several threads. So the batch is split into chunks,
one a core, and ``MapDefun`` computes the chunks in parallel with one thread each. That limit holds
inside ``MapDefun`` alone: no thread setting of the process is changed.
"""

import functools
import os

import tensorflow as tf

# Measured on two cores with 32 features and 100 units: two chunks of 4 rows take about as long as
# one of 8, two of 8 rows 0.8 to 1 times as long as one of 16, and two of 16 about 0.6 times.
MINIMUM_ROWS = 8
KEPT_TRACES = 32  # for layers that run eagerly; more of other sizes would fill the memory


def run_chunks(sequences, kernel, bias, hidden, cell, lengths, return_sequences, keep_activations):
    """Split the batch into chunks and compute them in parallel.

    Args:
        sequences: float32 ``(batch, steps, features)``, with the masked steps at the end.
        kernel: float32 ``(features + units, 4 * units)``, in `BlockLSTM`'s gate order.
        bias: float32 ``(4 * units,)``, in the same order.
        hidden, cell: float32 ``(batch, units)``, the two initial states.
        lengths: int32 ``(batch,)``, the number of unmasked steps of each row.
        return_sequences: whether to return the hidden states of all steps.
        keep_activations: whether to keep in memory what the gradients need. Otherwise it is
            recomputed for them, which suits calls that rarely have gradients, and lets a model be
            exported: TensorFlow can't export a gradient that needs kept activations.

    Returns:
        A list of float32 tensors: the two states ``(batch, units)`` after the last unmasked step,
        which are undefined for a row without any, and with `return_sequences` also the hidden
        states of all steps ``(batch, steps, units)``.
    """
    # TensorFlow's inter-op threads compute the chunks; zero means one a core.
    threads = tf.config.threading.get_inter_op_parallelism_threads() or _count_cores()
    batch = tf.shape(sequences)[0]
    chunks = tf.clip_by_value(batch // MINIMUM_ROWS, 1, threads)
    # `BlockLSTM` is slow, and warns, if the number of rows is odd, so it is rounded up.
    rows = 2 * tf.maximum((batch + 2 * chunks - 1) // (2 * chunks), 1)

    def split(tensor):
        padding = [[0, chunks * rows - batch]] + [[0, 0]] * (len(tensor.shape) - 1)
        shape = tf.concat([[chunks, rows], tf.shape(tensor)[1:]], 0)
        split_tensor = tf.reshape(tf.pad(tensor, padding), shape)
        return tf.ensure_shape(split_tensor, [None, None, *tensor.shape[1:]])

    def join(tensor):
        shape = tf.concat([[chunks * rows], tf.shape(tensor)[2:]], 0)
        joined = tf.reshape(tensor, shape)[:batch]
        return tf.ensure_shape(joined, [sequences.shape[0], *tensor.shape[2:]])

    @tf.custom_gradient
    def run(lengths, sequences, hidden, cell, kernel, bias):
        inputs, weights = [lengths, sequences, hidden, cell], [kernel, bias]
        results = _map_chunks(_run_chunk, inputs, weights, return_sequences, keep_activations)
        number_of_states = 3 if return_sequences else 2
        states, activations = results[:number_of_states], results[number_of_states:]
        # If a tape is outside a `tf.function`, TensorFlow asks for zeros like the activations,
        # which it has of a list of variants, but not of a tensor of them.
        arrays = [
            tf.TensorArray(tf.variant, chunks, element_shape=[]).unstack(variants)
            for variants in activations
        ]

        def differentiate(*state_gradients):
            sequences, hidden, cell, kernels, biases = _map_chunks(
                _differentiate_chunk,
                [*inputs, *state_gradients, *(array.stack() for array in arrays)],
                weights,
                return_sequences,
            )
            weight_gradients = [tf.reduce_sum(kernels, 0), tf.reduce_sum(biases, 0)]
            return None, sequences, hidden, cell, *weight_gradients

        return states, differentiate

    states = run(*map(split, (lengths, sequences, hidden, cell)), kernel, bias)
    return [join(state) for state in states]


def _map_chunks(function, chunk_inputs, common_inputs, *options):
    """Call `function` for each chunk, in parallel, with one thread in each call.

    Args:
        function: takes the options and tensors, and returns a list of tensors.
        chunk_inputs: tensors whose first axis is that of the chunks.
        common_inputs: tensors that every call gets, after those of its chunk.
        *options: what the function takes before its tensors.

    Returns:
        The list of the function's results, stacked along a new first axis.
    """
    specs = [tf.TensorSpec(tensor.shape[1:], tensor.dtype) for tensor in chunk_inputs]
    specs += [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in common_inputs]
    traced = _trace(function, *options, *specs)
    return tf.raw_ops.MapDefun(
        arguments=chunk_inputs,
        captured_inputs=common_inputs,
        output_types=[output.dtype for output in traced.outputs],
        output_shapes=[output.shape for output in traced.outputs],
        f=traced,
        max_intra_op_parallelism=1,
    )


@functools.lru_cache(maxsize=KEPT_TRACES)
def _trace(function, *inputs):
    return tf.function(function, autograph=False).get_concrete_function(*inputs)


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
    """Return the seven results ``(steps, rows, units)`` of `BlockLSTM`, in its order."""
    return tf.raw_ops.BlockLSTM(**inputs, forget_bias=0.0, cell_clip=-1.0)


def _last_steps(lengths):
    """Return the indices ``(rows, 2)`` of each row's last unmasked step in a time-major tensor."""
    return tf.stack([tf.maximum(lengths - 1, 0), tf.range(tf.shape(lengths)[0])], axis=1)


def _run_chunk(return_sequences, keep_activations, lengths, *inputs):
    """Return the last states, and, if asked for, all hidden states and the activations."""
    block = _run_block(_block_inputs(lengths, *inputs))
    last_steps = _last_steps(lengths)
    results = [tf.gather_nd(block.h, last_steps), tf.gather_nd(block.cs, last_steps)]
    if return_sequences:
        results.append(tf.transpose(block.h, [1, 0, 2]))
    if keep_activations:
        # `MapDefun` copies the results of a chunk; of a variant it copies only the reference.
        results.append(tf.raw_ops.OptionalFromValue(components=list(block)))
    return results


def _differentiate_chunk(return_sequences, lengths, sequences, hidden, cell, *others):
    """Return the gradients for the sequences, both initial states, kernel and bias."""
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
    # TensorFlow counts the cores that the process may use, which not every system reports.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()

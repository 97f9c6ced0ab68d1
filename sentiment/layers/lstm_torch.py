"""The LSTM on PyTorch without a GPU: PyTorch's own, also for masked input.

On a CPU, Keras computes all steps one by one in Python. ``torch.lstm`` computes them in one call,
but knows no masks. So masked steps are moved behind the others, where they change nothing, and the
output of the last unmasked step is chosen.

Importing it makes the processor treat subnormal numbers as zero in this thread and in those that it
starts, as TensorFlow does in its own: with them, products can take several times as long.
"""

import keras
import torch
from keras import ops

torch.set_flush_denormal(True)


def can_run(layer, sequences, initial_state, mask):
    """Return whether `run` supports a layer's options and its input.

    Shapes that don't fit are left to the stock layer, which broadcasts them or raises an error.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    batch, steps, _ = sequences.shape
    tensors = sequences, *initial_state, ops.convert_to_tensor(layer.cell.kernel)
    # ``torch.lstm`` returns the state of the cell only after the last step, masked or not.
    needs_states = layer.return_state or layer.stateful
    return (
        layer.compute_dtype == "float32"
        and sequences.dtype == torch.float32
        and all(tensor.device.type == "cpu" for tensor in tensors)
        and batch > 0
        and steps > 0
        and layer.activation is keras.activations.tanh
        and layer.recurrent_activation is keras.activations.sigmoid
        and layer.cell.implementation == 2
        and layer.dropout < 1
        and not layer.recurrent_dropout
        and not layer.unroll
        and layer.use_cudnn is not True
        and [tuple(state.shape) for state in initial_state] == 2 * [(batch, layer.units)]
        and (mask is None or (tuple(mask.shape) == (batch, steps) and not needs_states))
    )


def run(layer, sequences, initial_state, mask, training):
    """Return what `keras.layers.LSTM.inner_loop` returns for a layer.

    With a mask, the returned states are not valid; `can_run` excludes layers that use them.

    Args:
        layer: an LSTM that `can_run` supports.
        sequences: float32 ``(batch, steps, features)``.
        initial_state: two float32 tensors ``(batch, units)``.
        mask: None or bool ``(batch, steps)``.
        training: whether to apply dropout.
    """
    if training and layer.dropout:
        # The cell drew this mask before the loop, so the seed is used as in the stock layer.
        sequences = sequences * layer.cell.get_dropout_mask(sequences[:, 0, :])[:, None, :]
    if layer.go_backwards:
        sequences = sequences.flip(1)
    if mask is not None:
        mask = mask.to(torch.bool)
        if layer.go_backwards:
            mask = mask.flip(1)
        order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)
        sequences = torch.take_along_dim(sequences, order[:, :, None], 1)

    weights = [layer.cell.kernel, layer.cell.recurrent_kernel]
    # PyTorch has the same order of gates, transposed kernels, and two biases that it adds.
    weights = [ops.convert_to_tensor(weight).T.contiguous() for weight in weights]
    if layer.use_bias:
        bias = ops.convert_to_tensor(layer.cell.bias)
        weights += [bias, torch.zeros_like(bias)]
    outputs, *states = torch.lstm(
        sequences,
        tuple(state[None].clone() for state in initial_state),  # `stateful` overwrites them
        weights,
        has_biases=layer.use_bias,
        num_layers=1,
        dropout=0.0,
        train=torch.is_grad_enabled(),
        bidirectional=False,
        batch_first=True,
    )
    last_output = outputs[:, -1]
    if mask is not None:
        # The number of unmasked steps up to each step.
        positions = torch.cumsum(mask, 1)
        if not layer.return_sequences:
            positions, mask = positions[:, -1:], mask[:, -1:]
        # The output is zero up to the first step that is not masked, whatever the initial state is.
        has_output = mask if layer.zero_output_for_mask else positions > 0
        chosen = torch.take_along_dim(outputs, (positions - 1).clamp(min=0)[:, :, None], 1)
        outputs = torch.where(has_output[:, :, None], chosen, 0.0)
        last_output = outputs[:, -1]
    elif not layer.return_sequences:
        outputs = last_output[:, None]
    return last_output, outputs, [state[0] for state in states]

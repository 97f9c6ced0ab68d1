"""A faster `keras.layers.LSTM`: on TensorFlow and PyTorch without a GPU, on JAX with one.

`sentiment.layers.lstm_tensorflow`, `sentiment.layers.lstm_jax` and `sentiment.layers.lstm_torch`
hold the implementations.
"""

import importlib
from typing import Any

import keras

BACKEND = keras.backend.backend()
implementation: Any = None
if BACKEND in ("tensorflow", "jax", "torch"):
    implementation = importlib.import_module(f"sentiment.layers.lstm_{BACKEND}")


class LSTM(keras.layers.LSTM):
    """Long short-term memory layer (Hochreiter and Schmidhuber, 1997), see `keras.layers.LSTM`.

    The constructor, the weights, the config, the call arguments, the errors and, up to float32
    rounding, the results are those of `keras.layers.LSTM`. Inputs have the shape
    ``(batch, steps, features)``, the mask ``(batch, steps)``, outputs ``(batch, units)``, or
    ``(batch, steps, units)`` with `return_sequences`, and both states ``(batch, units)``.

    On TensorFlow the fused implementation is used if no GPU is visible, for float32, with the
    default activations, and without `recurrent_dropout`, `unroll`, `implementation=1` or
    `jit_compile`. In all other cases the stock implementation runs. The fused one has no second
    derivatives: TensorFlow raises `LookupError` if one is asked for.

    On JAX with a GPU, cuDNN computes masked input if only the last output is returned, under the
    same conditions except for float32: 16-bit input is computed in 32 bits.

    On PyTorch without a GPU, ``torch.lstm`` is used under the same conditions as the fused
    implementation; for masked input also without `return_state` and `stateful`.

    A saved model names `keras.layers.LSTM`, so plain Keras loads it. Loaded where this module has
    been imported, it holds this layer again.
    """

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Compute all steps; shapes and results are those of `keras.layers.RNN.inner_loop`.

        Returns:
            The output of the last step ``(batch, units)``; the outputs ``(batch, steps, units)``,
            or ``(batch, 1, units)`` without `return_sequences`; and the list of the two last
            states.
        """
        if keras.tree.is_nested(mask):
            mask = mask[0]
        stock_loop, arguments = super().inner_loop, (sequences, initial_state, mask)
        if BACKEND == "jax":
            return implementation.run(self, stock_loop, *arguments, training)
        if implementation and implementation.can_run(self, *arguments):
            return implementation.run(self, *arguments, training)
        return stock_loop(*arguments, training=training)

    def __reduce__(self):
        # A pickle holds a saved model, which names the stock layer.
        return keras.layers.LSTM._unpickle_model, super().__reduce__()[1]


# A saved model names its layers by module and class. With this module name it names
# `keras.layers.LSTM`, which plain Keras loads. The registration makes Keras use this class instead
# where this module is imported: for saved models, and in wrappers such as `Bidirectional`, which
# copy their layer through its config.
LSTM.__module__ = "keras.layers"
keras.saving.get_custom_objects()["LSTM"] = LSTM

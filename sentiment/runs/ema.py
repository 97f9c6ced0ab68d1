"""The exponential moving average (EMA) of the weights, as Keras' optimizers keep it."""

import keras


class EmaWeights:
    """Swaps a model's weights with their moving averages, where its optimizer keeps any.

    The trained weights are copied and restored exactly; Keras' ``SwapEMAWeights`` may round them.
    """

    def __init__(self, model: keras.Model):
        self.model = model

    def swap_in(self):
        """Set the model to the averages. Without ``use_ema`` its weights stay as they are."""
        self._trained = self.model.get_weights()
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        # JAX reuses the memory of what it evaluates, which must not be that of the averages.
        self.model.set_weights(self.model.get_weights())

    def swap_out(self) -> list:
        """Set the model to the trained weights again, and return the averages."""
        averages = self.model.get_weights()
        self.model.set_weights(self._trained)
        return averages

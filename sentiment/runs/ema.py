"""The exponential moving average (EMA) of the weights, as Keras' optimizers keep it."""

import keras


class EmaWeights:
    """Swaps a model's weights with their moving averages, where its optimizer keeps any.

    The trained weights are copied and restored exactly; Keras' ``SwapEMAWeights`` may round them.
    """

    def __init__(self, model: keras.Model):
        self.model = model

    def average(self) -> list:
        """Return the averages; without ``use_ema`` the weights as they are."""
        self.swap_in()
        averages = self.model.get_weights()
        self.swap_out()
        return averages

    def swap_in(self):
        """Set the model to the averages."""
        self._trained = self.model.get_weights()
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        # JAX reuses the memory of what it evaluates, which must not be that of the averages.
        self.model.set_weights(self.model.get_weights())

    def swap_out(self):
        """Set the model to the trained weights again."""
        self.model.set_weights(self._trained)

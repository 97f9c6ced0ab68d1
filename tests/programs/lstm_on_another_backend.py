"""Compare the LSTM with the stock layer where Keras has another backend than TensorFlow."""

import keras
import numpy as np

keras.backend.backend = lambda: "openvino"

import sentiment.layers.lstm  # noqa: E402, after the backend is set

assert sentiment.layers.lstm.implementation is None
layer, stock = sentiment.layers.LSTM(4), keras.layers.LSTM(4)
inputs, mask = np.ones((2, 3, 5), "float32"), np.array([[True, True, False]] * 2)
layer(inputs), stock(inputs)
stock.set_weights(layer.get_weights())
np.testing.assert_array_equal(layer(inputs, mask=mask), stock(inputs, mask=mask))

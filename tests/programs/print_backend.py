"""Print the backend that Keras uses in this project."""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import keras

print(keras.backend.backend())

"""The classic recipe in stock Keras alone, as published scripts have it."""

import sentiment  # noqa: F401, before Keras: it quiets TensorFlow

import keras
from keras import layers

from benchmarks.classic_recipe import (
    EMBEDDING_SIZE,
    FILTERS,
    KERNEL_SIZE,
    LSTM_UNITS,
    POOL_SIZE,
    VOCABULARY_SIZE,
)


def build_model(network, mask_padding=False):
    model = keras.Sequential([keras.Input((None,), dtype="int32")])
    model.add(layers.Embedding(VOCABULARY_SIZE, EMBEDDING_SIZE, mask_zero=mask_padding))
    if network == "cnn_lstm":
        model.add(layers.Conv1D(FILTERS, KERNEL_SIZE, padding="same", activation="relu"))
        model.add(layers.MaxPooling1D(POOL_SIZE))
    model.add(layers.LSTM(LSTM_UNITS))
    model.add(layers.Dense(1, activation="sigmoid"))
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model

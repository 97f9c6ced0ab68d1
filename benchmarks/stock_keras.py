"""The classic recipe in stock Keras alone, as in published scripts: the baseline of the benchmarks.

``python -m benchmarks.stock_keras lstm`` (or ``cnn_lstm``) trains, evaluates and saves the network
as those scripts do. Only the reviews come from this project, so that both train on the same ones.
"""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import sys

import keras
from keras import layers

from benchmarks.classic_recipe import (
    BATCH_SIZE,
    EMBEDDING_SIZE,
    FILTERS,
    KERNEL_SIZE,
    LSTM_UNITS,
    MAXIMUM_TOKENS,
    POOL_SIZE,
    VOCABULARY_SIZE,
)
from sentiment.data import load_data

EPOCHS = 1


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


def main(network):
    data = load_data("imdb-package", VOCABULARY_SIZE, MAXIMUM_TOKENS)
    x_train, x_validation, x_test = (
        keras.utils.pad_sequences(sequences, MAXIMUM_TOKENS)
        for sequences in (data.x_train, data.x_validation, data.x_test)
    )
    model = build_model(network)
    model.summary()
    model.fit(
        x_train,
        data.y_train,
        validation_data=(x_validation, data.y_validation),
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
    )
    print(model.evaluate(x_test, data.y_test, batch_size=BATCH_SIZE))
    model.save("stock.keras")


if __name__ == "__main__":
    main(sys.argv[1])

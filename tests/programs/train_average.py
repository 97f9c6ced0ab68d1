"""A training script for the tests of tune.py: the mean of the word vectors decides."""

import sentiment  # noqa: F401

import keras
from keras import layers

from sentiment.cli import run
from sentiment.data import load_data, make_batches
from sentiment.layers import set_word_vectors
from sentiment.runs.recorder import RunRecorder
from sentiment.script import training_script

DATA = "reviews.csv"
VOCABULARY_SIZE = 200
MAXIMUM_TOKENS = 20
PADDING = "post"
BATCH_SIZE = 32
EMBEDDING_SIZE = 4  # embedding dimension
WORD_VECTORS = "ppmi"
IS_LINEAR = True
NAME = "average"
SEED = 1
LEARNING_RATE = 0.01
EPOCHS = 2


@training_script(globals())
def main(settings):
    keras.utils.set_random_seed(SEED)
    data = load_data(DATA, VOCABULARY_SIZE, MAXIMUM_TOKENS)
    recorder = RunRecorder(__file__, settings, data)
    train, validation, test = make_batches(data, BATCH_SIZE, PADDING, SEED, recorder.initial_epoch)
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(VOCABULARY_SIZE, EMBEDDING_SIZE, mask_zero=True),
            layers.GlobalAveragePooling1D(),
            layers.Activation("linear" if IS_LINEAR else "tanh"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    set_word_vectors(model, WORD_VECTORS, data)
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    model.compile(optimizer, loss="binary_crossentropy", weighted_metrics=["accuracy"])
    epochs, verbose = EPOCHS, settings.verbose
    model.fit(
        train,
        validation_data=validation,
        epochs=epochs,
        initial_epoch=recorder.initial_epoch,
        shuffle=False,
        callbacks=[recorder],
        verbose=verbose,
    )
    return recorder.finish(lambda: model.evaluate(test, verbose=verbose, return_dict=True))


if __name__ == "__main__":
    run(main)

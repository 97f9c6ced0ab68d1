"""Train naive Bayes and a CNN-LSTM, as one network, to tell positive from negative movie reviews.

Measured: 91.9 % of 5,000 held-out reviews right (mean of three seeds), three epochs at
26 s per epoch on two cores of an AMD EPYC without a GPU; the records are in benchmarks/recipes.

The reviews are IMDB's. Change a constant below, or name it on the command
line (``--lstm-units 64``), and run again: each run gets a folder of its own under models/.
"""

from sentiment.batches import Batches
from sentiment.data import load_data
from sentiment.devices import on_all_devices
from sentiment.initial import set_word_vectors, spread_memory
from sentiment.lstm import LSTM
from sentiment.naive_bayes import NaiveBayes
from sentiment.settings import read_settings
from sentiment.training import Run
from sentiment.words import PADDING

import keras
from keras import layers, ops

# Data
DATA = "auto"  # imdb, imdb-package, auto: the first of these to be had, or a path of one's own
VOCABULARY_SIZE = 30_000  # word ids; rarer words are read as "unknown"
MAXIMUM_TOKENS = 500  # words kept of a review: its last ones
MASK_PADDING = True  # skip the padding; if not, it is put in front and read, as in classic scripts
BATCH_SIZE = 64  # reviews in one training step

# Model
COUNTED_TERMS = 200_000  # most frequent words and bigrams, which naive Bayes counts
EMBEDDING_SIZE = 64  # numbers that stand for a word
WORD_VECTORS = True  # start with similar numbers for words that have similar neighbours
DROPOUT_AFTER_EMBEDDING = 0.4  # share of those numbers set to zero in training
FILTERS = 64  # patterns of neighbouring words that the convolution looks for
KERNEL_SIZE = 3  # words in such a pattern
POOL_SIZE = 2  # neighbouring places of which the strongest is kept
LSTM_UNITS = 100  # numbers that the LSTM remembers
MEMORY_SPAN = 300  # words for which it remembers them at first, at most; 0: as Keras starts it
DROPOUT_AFTER_LSTM = 0.3  # share of those set to zero in training

# Training
NAME = "naive_bayes_lstm"  # folder under models/; a number is added if it is taken
SEED = 1  # the same seed on the same processor gives the same weights
LEARNING_RATE = 0.002  # Adam's step size
EPSILON = 1e-5  # added to what Adam divides by; less moves rare words more
AVERAGED_STEPS = 50  # steps whose weights are averaged into those that are kept; 1: the last's
PRECISION = "float32"  # or mixed_bfloat16, mixed_float16: 16 bits where they do, faster on GPUs
EPOCHS = 3  # times that every review is read
KEEP_WEIGHTS = "best"  # best: those of the epoch of lowest validation loss; last: the last's


def build_model():
    word_ids = keras.Input((None,), dtype="int32")
    # Convolution and pooling know no masks: where is_word is 0 they must read and leave zeros.
    is_word = ops.not_equal(word_ids, PADDING) if MASK_PADDING else ops.ones_like(word_ids)
    is_word = ops.expand_dims(ops.cast(is_word, "float32"), -1)

    def pool(x):
        # The zeros complete the last group, so that no word is lost with it.
        return layers.MaxPooling1D(POOL_SIZE)(layers.ZeroPadding1D((0, POOL_SIZE - 1))(x))

    x = layers.Embedding(VOCABULARY_SIZE, EMBEDDING_SIZE, name="embedding")(word_ids)
    x = layers.Dropout(DROPOUT_AFTER_EMBEDDING)(x) * is_word
    x = layers.Conv1D(FILTERS, KERNEL_SIZE, padding="same", activation="relu")(x) * is_word
    x = LSTM(LSTM_UNITS, name="lstm")(pool(x), mask=ops.squeeze(pool(is_word), -1) > 0)
    x = layers.Dropout(DROPOUT_AFTER_LSTM)(x)
    # The CNN-LSTM learns what to add to naive Bayes' log odds.
    log_odds = NaiveBayes(COUNTED_TERMS, name="naive_bayes", dtype="float32")(word_ids)
    weigh = layers.Dense(1, use_bias=False, kernel_initializer="ones", dtype="float32")
    x = layers.Dense(1, dtype="float32")(x) + weigh(log_odds)
    return keras.Model(word_ids, layers.Activation("sigmoid", dtype="float32")(x))


def main():
    settings = read_settings(globals())
    keras.utils.set_random_seed(SEED)
    keras.config.set_dtype_policy(PRECISION)

    data = load_data(DATA, VOCABULARY_SIZE, MAXIMUM_TOKENS)
    front_padded_to = None if MASK_PADDING else MAXIMUM_TOKENS
    run = Run(__file__, settings, data)
    train = Batches(data.x_train, data.y_train, BATCH_SIZE, SEED, front_padded_to, run.first_epoch)
    validation = Batches(data.x_validation, data.y_validation, BATCH_SIZE, None, front_padded_to)
    test = Batches(data.x_test, data.y_test, BATCH_SIZE, None, front_padded_to)

    model = build_model()
    model.get_layer("naive_bayes").adapt(data.x_train, data.y_train)
    if WORD_VECTORS:
        set_word_vectors(model.get_layer("embedding"), data.x_train)
    if MEMORY_SPAN:
        spread_memory(model.get_layer("lstm"), MEMORY_SPAN)
    model.summary()
    momentum = 1 - 1 / AVERAGED_STEPS
    model.compile(
        optimizer=keras.optimizers.Adam(
            LEARNING_RATE, epsilon=EPSILON, use_ema=momentum > 0, ema_momentum=momentum
        ),
        loss="binary_crossentropy",
        weighted_metrics=["accuracy"],
    )
    model.fit(
        train,
        validation_data=validation,
        epochs=EPOCHS,
        initial_epoch=run.first_epoch,
        shuffle=False,  # the batches mix the reviews themselves
        callbacks=[run],
    )
    run.finish(model.evaluate(test, return_dict=True))


if __name__ == "__main__":
    on_all_devices(main)

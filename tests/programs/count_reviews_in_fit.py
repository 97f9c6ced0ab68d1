"""Check that `fit` gets each review once an epoch, whether it is called for one epoch or three."""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import keras
import numpy as np

from sentiment.data.batches import Batches

reviews = [np.full(1 + i % 3, i, np.int32) for i in range(1, 61)]
model = keras.Sequential(
    [
        keras.Input((None,), dtype="int32"),
        keras.layers.Embedding(61, 1, "zeros", mask_zero=True),
        keras.layers.GlobalAveragePooling1D(),
    ]
)
# Each time that a review is trained on, the embedding of its id grows by one.
model.compile(keras.optimizers.SGD(1.0), loss=lambda labels, output: -output)
batches = Batches(reviews, np.zeros(60), 1, shuffle_seed=1)
for epochs in (1, 2, 3):
    model.fit(batches, initial_epoch=epochs - 1, epochs=epochs, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0][1:], epochs, atol=1e-5)
model.fit(batches, epochs=3, shuffle=False, verbose=0)
np.testing.assert_allclose(model.get_weights()[0][1:], 6, atol=1e-5)

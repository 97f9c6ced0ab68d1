"""Compare the LSTM with the stock layer where the shapes of input, mask and states may not fit."""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import itertools

import keras
import numpy as np
import tensorflow as tf

from sentiment.layers import LSTM

FEATURES, UNITS, SHAPE = 2, 3, (4, 5)
MASKS = [(4, 5), (4, 6), (4, 4), (4, 1), (1, 5), (1, 6), (1, 1), (3, 5), (8, 5), (0, 5), (4, 0)]
STATES = [(4, 3), (1, 3), (3, 3), (8, 3), (0, 3)]
WRONG_STATES = [[(4, 3)], [(4, 3)] * 3, [(4, 2)] * 2, [(4, 4)] * 2, [(4, 1)] * 2, [(3,)] * 2]
WRONG_STATES += [[(4, 3, 1)] * 2, [()] * 2, [(4, 3), (1, 3)], [(4, 3), (4, 4)]]
generator = np.random.default_rng(0)


def make_numbers(shape):
    return tf.constant(generator.normal(size=shape).astype("float32"))


def attempt(function, *arguments):
    try:
        return tf.nest.flatten(function(*arguments))
    except Exception as error:
        return error


def compare(functions, *arguments):
    expected, found = (attempt(function, *arguments) for function in functions)
    shapes = [argument.shape for argument in tf.nest.flatten(arguments)]
    assert isinstance(found, Exception) == isinstance(expected, Exception), (shapes, found)
    if not isinstance(found, Exception):
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def differentiate(layer, x, mask, states):
    with tf.GradientTape() as tape:
        tape.watch([x, states])
        outputs = layer(x, mask=mask, initial_state=states, training=True)
        loss = sum(tf.reduce_sum(tf.sin(output)) for output in outputs)
    return outputs, tape.gradient(loss, [x, *states, layer.cell.kernel.value])


def trace(layer):
    """Return `differentiate` as a graph for all sizes."""
    return tf.function(
        lambda *arguments: differentiate(layer, *arguments),
        input_signature=[
            tf.TensorSpec([None, None, FEATURES]),
            tf.TensorSpec([None, None], tf.bool),
            [tf.TensorSpec([None, UNITS])] * 2,
        ],
        autograph=False,
    )


for options in ({}, {"return_sequences": True, "go_backwards": True}):
    layers = [
        layer(UNITS, return_state=True, seed=1, **options) for layer in (keras.layers.LSTM, LSTM)
    ]
    for layer in layers:
        layer.build((None, None, FEATURES))
    layers[1].set_weights(layers[0].get_weights())
    x = make_numbers((*SHAPE, FEATURES))
    graphs = [trace(layer) for layer in layers]
    for mask_shape, state_shape in itertools.product(MASKS, STATES):
        states = [make_numbers(state_shape) for _ in range(2)]
        for mask in (tf.ones(mask_shape, tf.bool), make_numbers(mask_shape) > 0):
            compare(graphs, x, mask, states)
    eager = [lambda *arguments, layer=layer: differentiate(layer, *arguments) for layer in layers]
    states = [make_numbers(STATES[0]) for _ in range(2)]
    for mask_shape in (*MASKS, (5,), (4, 5, 1), (4,), ()):
        compare(eager, x, tf.ones(mask_shape, tf.bool), states)
    for shapes in [[shape] * 2 for shape in STATES] + WRONG_STATES:
        compare(eager, x, tf.ones(SHAPE, tf.bool), [make_numbers(shape) for shape in shapes])
    for dtype in ("int32", "float32"):
        compare(eager, x, tf.cast(make_numbers(SHAPE) * 4, dtype), states)
    for rows in (4, 0):
        states = [make_numbers((rows, UNITS)) for _ in range(2)]
        compare(eager, make_numbers((rows, 0, FEATURES)), tf.ones((rows, 0), tf.bool), states)

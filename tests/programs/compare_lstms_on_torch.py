"""Compare the LSTM on PyTorch with the stock layer: results, gradients, and what is left to it."""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import itertools

import keras
import numpy as np
import torch

from sentiment.layers import LSTM, lstm_torch

UNITS, REVIEWS, TOKENS, FEATURES = 7, 8, 6, 5
fast_runs = []
run = lstm_torch.run
lstm_torch.run = lambda *arguments: fast_runs.append(1) or run(*arguments)


def make_mask(kind):
    generator = np.random.default_rng(1)
    mask = generator.random((REVIEWS, TOKENS)) < 0.6
    if kind == "right":
        mask = np.arange(TOKENS) < generator.integers(0, TOKENS + 1, (REVIEWS, 1))
    mask[0], mask[1] = True, False
    return None if kind == "absent" else torch.tensor(mask)


def make_pair(**arguments):
    """Return the stock layer and this one, with the same weights."""
    pair = [layer(UNITS, **arguments) for layer in (keras.layers.LSTM, LSTM)]
    generator = np.random.default_rng(0)
    for layer in pair:
        layer.build((None, None, FEATURES))
    for one, other in zip(*(layer.trainable_variables for layer in pair), strict=True):
        value = generator.normal(size=one.shape) / 2
        one.assign(value), other.assign(value)
    return pair


def differentiate(layer, mask, training):
    """Return the results, and the gradients for inputs, initial states and weights."""
    generator = np.random.default_rng(2)
    sizes = [(REVIEWS, TOKENS, FEATURES), (REVIEWS, UNITS), (REVIEWS, UNITS)]
    given = [torch.tensor(generator.normal(size=size), dtype=torch.float32) for size in sizes]
    for tensor in given:
        tensor.requires_grad_()
    x, *states = given
    results = layer(x, mask=mask, initial_state=states, training=training)
    results = results if isinstance(results, (list, tuple)) else [results]
    sum((i * part**2).sum() for i, part in enumerate(results, 1)).backward()
    sources = [*given, *(weight.value for weight in layer.trainable_variables)]
    gradients = [torch.zeros_like(x) if x.grad is None else x.grad for x in sources]
    return [tensor.detach().cpu().numpy() for tensor in (*results, *gradients)]


def compare(arguments, kind, is_fast):
    mask = make_mask(kind)
    for training in (False, True):
        fast_runs.clear()
        expected, found = (differentiate(layer, mask, training) for layer in make_pair(**arguments))
        assert bool(fast_runs) == is_fast, (arguments, kind)
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


flags = "return_sequences", "go_backwards", "zero_output_for_mask"
for values in itertools.product([False, True], repeat=3):
    for kind in ("absent", "right", "gappy"):
        compare(dict(zip(flags, values, strict=True)), kind, is_fast=True)
compare({"use_bias": False}, "right", is_fast=True)
compare({"dropout": 0.5, "seed": 3}, "right", is_fast=True)
compare({"return_state": True}, "absent", is_fast=True)
compare({"return_state": True}, "right", is_fast=False)
compare(
    {"dropout": 0.5, "seed": 3, "implementation": 1, "use_cudnn": False}, "right", is_fast=False
)
compare({"activation": "relu"}, "right", is_fast=False)
compare({"recurrent_dropout": 0.5, "seed": 3}, "right", is_fast=False)

# The state of one batch is that before the next one, and each has gradients.
pair = [layer(UNITS, stateful=True, use_cudnn=False) for layer in (keras.layers.LSTM, LSTM)]
x = torch.ones((REVIEWS, TOKENS, FEATURES))
for layer in pair:
    layer.build(tuple(x.shape))
pair[1].set_weights(pair[0].get_weights())
for _ in range(2):
    fast_runs.clear()
    expected, found = (layer(x) for layer in pair)
    assert fast_runs
    np.testing.assert_allclose(expected.detach(), found.detach(), rtol=1e-4, atol=1e-5)
    found.sum().backward()

# Shapes that don't fit are broadcast or refused.
for mask_size, state_size in itertools.product(
    [(8, 6), (8, 5), (8, 1), (1, 6), (4, 6), (8, 7)], [(8, 7), (1, 7), (4, 7), (8, 6)]
):
    results = []
    for layer in make_pair():
        mask, states = torch.ones(mask_size) > 0, 2 * [torch.ones(state_size)]
        try:
            results.append(layer(x, mask=mask, initial_state=states).detach().cpu().numpy())
        except Exception:
            results.append(None)
    expected, found = results
    assert (expected is None) == (found is None), (mask_size, state_size)
    if expected is not None:
        np.testing.assert_allclose(expected, found, rtol=1e-4, atol=1e-5)

# No review, and no step.
for size in ((0, TOKENS, FEATURES), (REVIEWS, 0, FEATURES)):
    outcomes = []
    for layer in make_pair():
        try:
            outcomes.append(layer(np.ones(size, "float32")).shape)
        except Exception as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1], outcomes

"""Checks and describes a network, which a user may have edited."""

import inspect
import re
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from sentiment.data.batches import predict_in_batches
from sentiment.data.dataset import Dataset
from sentiment.data.sequences import subsample
from sentiment.data.tokenizer import OOV_ID, PADDING_ID, SPECIAL_TOKENS, START_ID
from sentiment.errors import SentimentError
from sentiment.runs.allowed_layers import check_config, find_own_layers

REVIEWS = 200_000  # reviews of a set whose ids are checked, if there are more
PLAIN = (dict, tuple, bool, int, float, str)  # types of the arguments that are recorded
UNDESCRIBED = ("name", "dtype", "data_format", "trainable")
LAYER_NAME = r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*"  # what TensorFlow takes as the name of a scope
PADDING_TOLERANCE = 1e-5  # float32 rounding changes a probability by less


def check_network(model: keras.Model, data: Dataset, padding: str) -> list[str]:
    """Check that a compiled network can be trained and saved.

    Args:
        model: the network.
        data: what it will be trained on.
        padding: how the reviews are padded, ``"post"`` or ``"pre"``.

    Returns:
        Warnings, a line each.

    Raises:
        SentimentError: if it doesn't fit the data, as `check_shapes` says, or if it can't be copied
            through its config, as Keras saves it.
    """
    largest_id = len(data.vocabulary) - 1
    if len(data.vocabulary) == len(SPECIAL_TOKENS):  # the words are not known, only their ids
        largest_id = max(
            int(sequence.max())
            for sequences in (data.x_train, data.x_validation, data.x_test)
            for sequence in subsample(sequences, REVIEWS)
        )
    check_shapes(model, largest_id, data.maximum_tokens if padding == "pre" else None)
    for layer in model._flatten_layers():
        if not re.fullmatch(LAYER_NAME, layer.name):
            raise SentimentError(
                f"the layer name {layer.name!r} can't be used; use letters, digits and '_'"
            )
    own_layers = " and ".join(sorted(layer.__name__ for layer in find_own_layers(model)))
    try:
        type(model).from_config(model.get_config())
    except Exception as error:  # a layer of a user's own can fail in any way
        reason = " ".join(str(error).split()).partition(". ")[0]
        advice = (
            "; add @keras.saving.register_keras_serializable() and a get_config to "
            f"{own_layers}, as in sentiment/layers/ngrams.py"
        )
        raise SentimentError(
            f"Keras can't save this network: {reason}{advice * bool(own_layers)}"
        ) from None
    problems = []
    activation = getattr(model.layers[-1], "activation", keras.activations.sigmoid)
    if activation is not keras.activations.sigmoid:
        problems.append(
            "the last layer has no sigmoid, so its output is not a probability; use "
            'layers.Dense(1, activation="sigmoid")'
        )
    try:
        check_config(model)
    except ValueError as error:
        problems.append(f"predict.py and export.py will not load this network: {error}")
    if own_layers:
        problems.append(
            f"predict.py and export.py need --layers FILE.py, the file that defines {own_layers}, "
            "unless it is in sentiment/layers"
        )
    if padding == "post" and _depends_on_padding(model):
        problems.append(
            "the network doesn't mask the padding, so its output depends on the other reviews in a "
            'batch; use mask_zero=True and layers that support masks, or PADDING = "pre"'
        )
    return problems


def check_shapes(model: keras.Model, largest_id: int, padded_length: int | None):
    """Check that a network maps word ids to probabilities.

    Args:
        model: the network.
        largest_id: the largest word id that it will read.
        padded_length: the number of tokens to which reviews are pre-padded; None if they are
            post-padded.

    Raises:
        SentimentError: if its input is not ``(batch, tokens)``, if its output is not
            ``(batch, 1)``, or if it has no vector for a word id.
    """
    if not hasattr(model, "output_shape"):
        raise SentimentError(
            "build_model() must return a keras.Sequential or a functional keras.Model(inputs, "
            "outputs); subclassed models are not supported"
        )
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 2:
        shapes = " and ".join(_describe_shape(tensor.shape) for tensor in model.inputs)
        raise SentimentError(
            f"the network's input has the shape {shapes}; it must be (batch, tokens), the word ids"
        )
    tokens = model.inputs[0].shape[1]
    if tokens not in (None, padded_length):
        length = f"{padded_length:,} tokens" if padded_length else "no fixed length"
        raise SentimentError(
            f"the network takes {tokens:,} tokens, but the reviews have {length}; use "
            "keras.Input((None,))"
        )
    if model.output_shape != (None, 1):
        hint = ""
        if isinstance(model.output_shape, tuple) and len(model.output_shape) > 2:
            hint = "; the last recurrent layer must not have return_sequences=True"
        raise SentimentError(
            f"the network's output has the shape {_describe_shape(model.output_shape)}; it must be "
            f"(batch, 1), the probability that a review is positive{hint}"
        )
    embeddings = [
        layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Embedding)
    ]
    # Another one may be of positions.
    widest = max(embeddings, key=lambda layer: layer.input_dim, default=None)
    if widest is not None and widest.input_dim <= largest_id:
        raise SentimentError(
            f"the word ids go up to {largest_id:,}, but the layer {widest.name} has "
            f"input_dim={widest.input_dim:,}; set it to VOCABULARY_SIZE"
        )


def copy_network(model: keras.Model, weights: list | None) -> keras.Model:
    """Return a network with other weights and without the optimizer, whose state is large."""
    network = type(model).from_config(model.get_config())
    network.set_weights(weights)
    return network


def create_variables(model: keras.Model):
    """Create the variables of the optimizer and of the metrics before the first training step.

    If the step created them, TensorFlow would trace it twice, which takes about a second.
    """
    model.optimizer.build(model.trainable_variables)
    has_own_metrics = type(model).compute_metrics is not keras.Model.compute_metrics
    shapes = [tuple(output.shape) for output in getattr(model, "outputs", [])]
    if shapes == [(None, 1)] and not has_own_metrics:
        probability = np.zeros((1, 1), "float32")
        model.compute_metrics(None, probability, probability)
        model.reset_metrics()


def predict_probabilities(
    model: keras.Model,
    sequences: Sequence[np.ndarray],
    batch_size: int,
    padded_length: int | None = None,
) -> np.ndarray:
    """Return the probability that each review is positive, shape ``(reviews,)``.

    Args:
        model: the network.
        sequences, batch_size, padded_length: as for `sentiment.data.batches.Batches`.
    """
    is_traced = keras.backend.backend() == "tensorflow" and not model.run_eagerly
    if is_traced and model.predict_function is None:
        import tensorflow

        # TensorFlow would trace it for the size of the first batch, and then again for any size.
        model.make_predict_function()
        predict: Any = model.predict_function
        predict.get_concrete_function([(tensorflow.TensorSpec(model.inputs[0].shape, "int32"),)])
    return predict_in_batches(model.predict_on_batch, sequences, batch_size, padded_length)[:, 0]


def describe_network(model: keras.Model) -> list[str]:
    """Return a line per layer, such as ``LSTM(100)``, with arguments that differ from defaults."""
    lines = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            lines += describe_network(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            lines.append(_describe_layer(layer))
    return lines


def _describe_layer(layer: keras.Layer) -> str:
    config = layer.get_config()
    arguments = []
    for name, parameter in inspect.signature(type(layer).__init__).parameters.items():
        default, value = parameter.default, config.get(name, parameter.default)
        if name in ("layer", "cell") and isinstance(value, dict):  # of a wrapper
            inner = getattr(layer, "forward_layer", None) or getattr(layer, name)
            arguments.append(_describe_layer(inner))
            continue
        value, default = _simplify(value), _simplify(default)
        if name in UNDESCRIBED or not isinstance(value, PLAIN) or value == default:
            continue
        if isinstance(value, dict) and name.endswith(("regularizer", "constraint")):
            numbers = ", ".join(map(str, value.get("config", {}).values()))
            arguments.append(f"{name}={value.get('class_name')}({numbers})")
        elif not isinstance(value, dict) and (name, value) != ("activation", "linear"):
            is_first = default is inspect.Parameter.empty
            arguments.append(str(value) if is_first else f"{name}={value}")
    return f"{type(layer).__name__}({', '.join(arguments)})"


def _simplify(value):
    """Return a list as a tuple, and one of a single element as this element."""
    if not isinstance(value, list | tuple):
        return value
    return value[0] if len(value) == 1 else tuple(value)


def _describe_shape(shape) -> str:
    return str(shape).replace("(None", "(batch")


def _depends_on_padding(model: keras.Model) -> bool:
    ids = np.array([[START_ID, *[OOV_ID] * 99]], dtype=np.int32)
    longer = np.pad(ids, ((0, 0), (0, 100)), constant_values=PADDING_ID)
    try:
        with warnings.catch_warnings(action="ignore"):  # Keras warns if the inputs are a list
            outputs = [keras.ops.convert_to_numpy(model(x, training=False)) for x in (ids, longer)]
    except Exception:  # `fit` reports the error if it occurs there
        return False
    tolerance = PADDING_TOLERANCE if model.compute_dtype == "float32" else np.inf
    return bool(np.abs(outputs[0] - outputs[1]).max() > tolerance)

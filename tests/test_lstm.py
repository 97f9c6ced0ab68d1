"""Tests that the fused layer equals `keras.layers.LSTM`, as properties of drawn inputs."""

import functools
import json
import os
import pickle
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentiment.data.batches import Batches
from sentiment.layers import LSTM
from tests.conftest import PROGRAMS, PROJECT, run_script

FEATURES, UNITS = 3, 5
TOLERANCE = 1e-5  # relative to the largest element, in float32
MASK_KINDS = ("right", "left", "gappy", "full", "empty", "mixed")
drawn = functools.partial(settings, derandomize=True, deadline=None)


def make_mask(kind, batch, steps, generator):
    """Returns a boolean mask `(batch, steps)`; only "right" needs no reordering of steps."""
    lengths = generator.integers(0, steps + 1, size=(batch, 1))
    right = np.arange(steps) < lengths
    gappy = generator.random((batch, steps)) < generator.random((batch, 1))
    return {
        "right": right,
        "left": right[:, ::-1],
        "gappy": gappy,
        "full": np.ones((batch, steps), bool),
        "empty": np.zeros((batch, steps), bool),
        "mixed": np.where(generator.random((batch, 1)) < 0.5, right, gappy),
    }[kind]


def make_pair(units=UNITS, features=FEATURES, **arguments):
    """Returns a stock and a fused layer with equal random weights."""
    pair = [layer_class(units, **arguments) for layer_class in (keras.layers.LSTM, LSTM)]
    generator = np.random.default_rng(0)
    for layer in pair:
        layer.build((None, None, features))
    weights = [
        generator.normal(size=w.shape).astype("float32") / units**0.5 for w in pair[0].weights[:3]
    ]
    for layer in pair:
        for variable, value in zip(layer.trainable_variables, weights, strict=False):
            variable.assign(value)
    return pair


def count_up(tensor):
    return tf.cast(tf.range(tf.size(tensor)), tensor.dtype)


def differentiate(layer, sequences, mask, initial_state, training=False):
    """Returns outputs and the gradients for inputs, initial states and weights."""
    sources = [sequences, *initial_state]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        results = tf.nest.flatten(
            layer(sequences, mask=mask, initial_state=initial_state or None, training=training)
        )
        # The cosine gives every element of every result another weight.
        loss = tf.add_n(
            [
                tf.reduce_sum(result * tf.reshape(tf.cos(count_up(result)), tf.shape(result)))
                for result in results
            ]
        )
    return results, tape.gradient(loss, sources + [w.value for w in layer.trainable_variables])


def assert_close(actual, expected, tolerance=TOLERANCE):
    actual, expected = tf.nest.flatten(actual), tf.nest.flatten(expected)
    assert len(actual) == len(expected)
    for left, right in zip(actual, expected, strict=True):
        left, right = np.asarray(left), np.asarray(right)
        assert left.dtype == right.dtype and left.shape == right.shape
        left, right = left.astype("float64"), right.astype("float64")
        # A gradient that has vanished over many steps may be below the range of float32.
        allowed = tolerance * np.abs(right).max(initial=0.0) + 1e-30
        assert np.abs(left - right).max(initial=0.0) <= allowed


def runs_fused(layer, features=FEATURES, jit_compile=None):
    """Tells whether the graph of the layer has the operation that runs the chunks."""
    spec = tf.TensorSpec([2, 4, features], layer.compute_dtype)
    function = tf.function(layer, autograph=False, jit_compile=jit_compile)
    graph = function.get_concrete_function(spec).graph
    return any(operation.type == "MapDefun" for operation in graph.get_operations())


@functools.cache
def traced_pair(units, return_sequences, go_backwards, masked, zero_output_for_mask, training):
    """Traces both layers once for all sizes of batch and steps."""
    signature = [
        tf.TensorSpec([None, None, FEATURES]),
        tf.TensorSpec([None, None], tf.bool),
        tf.TensorSpec([None, units]),
        tf.TensorSpec([None, units]),
    ]
    pair = make_pair(
        units,
        return_sequences=return_sequences,
        return_state=True,
        go_backwards=go_backwards,
        zero_output_for_mask=zero_output_for_mask,
    )
    assert runs_fused(pair[1])

    def trace(layer):
        def run(sequences, mask, hidden, cell):
            mask = mask if masked else None
            return differentiate(layer, sequences, mask, [hidden, cell], training)

        return tf.function(run, input_signature=signature, autograph=False)

    return [trace(layer) for layer in pair]


def check_traced_pair(units, batch, steps, mask_kind, options, seed=0):
    generator = np.random.default_rng(seed)
    stock, fused = traced_pair(units, *options[:2], mask_kind != "absent", *options[2:])
    arguments = [
        generator.normal(size=(batch, steps, FEATURES)).astype("float32"),
        make_mask("full" if mask_kind == "absent" else mask_kind, batch, steps, generator),
        generator.normal(size=(batch, units)).astype("float32"),
        generator.normal(size=(batch, units)).astype("float32"),
    ]
    arguments = [tf.constant(argument) for argument in arguments]
    assert_close(fused(*arguments), stock(*arguments))


# Whether to return sequences, to go backwards, to output zeros at masked steps, and to train.
options_of_results = st.sampled_from(
    [
        (False, False, False, True),
        (False, True, True, False),
        (True, False, False, True),
        (True, True, False, False),
        (True, False, True, True),
    ]
)


@pytest.mark.slow
@drawn(max_examples=100)
@given(
    batch=st.integers(1, 130),
    steps=st.integers(1, 24),
    mask_kind=st.sampled_from((*MASK_KINDS, "absent")),
    options=options_of_results,
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_stock_layer(batch, steps, mask_kind, options, seed):
    check_traced_pair(UNITS, batch, steps, mask_kind, options, seed)


@drawn(max_examples=5)
@given(
    batch=st.integers(1, 130),
    steps=st.integers(200, 500),
    mask_kind=st.sampled_from((*MASK_KINDS, "absent")),
    options=options_of_results,
)
@example(batch=64, steps=500, mask_kind="right", options=(False, False, False, True))
@example(batch=130, steps=500, mask_kind="gappy", options=(True, True, False, False))
@example(batch=1, steps=500, mask_kind="absent", options=(True, False, False, True))
def test_equals_stock_layer_over_many_steps(batch, steps, mask_kind, options):
    check_traced_pair(UNITS, batch, steps, mask_kind, options)


@pytest.mark.parametrize("mask_kind", ["right", "left"])
def test_equals_stock_layer_at_the_size_of_the_task(mask_kind):
    check_traced_pair(100, 64, 500, mask_kind, (False, False, False, True))


@drawn(max_examples=12)
@given(
    batch=st.integers(1, 40),
    steps=st.integers(1, 6),
    mask_kind=st.sampled_from(MASK_KINDS),
    dropout=st.sampled_from([0.0, 0.3]),
    use_bias=st.booleans(),
    training=st.booleans(),
)
def test_equals_stock_layer_in_eager_mode(batch, steps, mask_kind, dropout, use_bias, training):
    generator = np.random.default_rng(1)
    pair = make_pair(dropout=dropout, seed=7, use_bias=use_bias, return_sequences=True)
    sequences = tf.constant(generator.normal(size=(batch, steps, FEATURES)).astype("float32"))
    mask = make_mask(mask_kind, batch, steps, generator)
    for _ in range(2):  # the second call draws another dropout mask
        stock, fused = (differentiate(layer, sequences, mask, [], training) for layer in pair)
        assert_close(fused, stock)


@drawn(max_examples=6)
@given(batch=st.integers(1, 40), mask_kind=st.sampled_from(MASK_KINDS), go_backwards=st.booleans())
def test_stateful(batch, mask_kind, go_backwards):
    generator = np.random.default_rng(2)
    pair = [
        layer_class(UNITS, stateful=True, go_backwards=go_backwards)
        for layer_class in (keras.layers.LSTM, LSTM)
    ]
    for call in range(4):
        sequences = generator.normal(size=(batch, 4, FEATURES)).astype("float32")
        mask = make_mask(mask_kind, batch, 4, generator)
        stock, fused = (layer(sequences, mask=mask) for layer in pair)
        if call == 0:
            pair[1].set_weights(pair[0].get_weights())
            pair[0].reset_state(), pair[1].reset_state()
            stock, fused = (layer(sequences, mask=mask) for layer in pair)
        assert_close([fused, pair[1].states], [stock, pair[0].states])
        if call == 2:
            pair[0].reset_state(), pair[1].reset_state()


@pytest.mark.parametrize(
    "arguments",
    [
        {"activation": "relu"},
        {"recurrent_activation": "hard_sigmoid"},
        {"recurrent_dropout": 0.2, "dropout": 0.2, "seed": 3},
        # Keras' own attempt at cuDNN fails on the four masks of this implementation.
        {"implementation": 1, "dropout": 0.2, "seed": 3, "use_cudnn": False},
        {"unroll": True},
        {"dtype": "float16"},
        {"dtype": "bfloat16", "recurrent_initializer": "glorot_uniform"},
        {"dtype": "mixed_float16"},
        {"dtype": "mixed_bfloat16"},
        {"dtype": "float64"},
    ],
    ids=str,
)
def test_stock_implementation_for_unsupported_options(arguments):
    pair = make_pair(return_sequences=True, **arguments)
    assert not runs_fused(pair[1])
    generator = np.random.default_rng(3)
    sequences = tf.cast(generator.normal(size=(9, 4, FEATURES)), pair[0].compute_dtype)
    mask = tf.constant(make_mask("gappy", 9, 4, generator))
    stock, fused = (differentiate(layer, sequences, mask, [], training=True) for layer in pair)
    assert_close(fused, stock)


def test_stock_implementation_where_a_gpu_is_visible(monkeypatch):
    stock, layer = make_pair()
    assert runs_fused(layer) and not runs_fused(stock)
    devices = [tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")]
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda: devices)
    assert not runs_fused(layer)


def test_same_errors_as_the_stock_layer():
    for layer_class in (keras.layers.LSTM, LSTM):
        with pytest.raises(ValueError, match="use_cudnn=True was specified"):
            layer_class(UNITS, use_cudnn=True)(np.zeros((2, 3, FEATURES), "float32"))
        with pytest.raises(ValueError, match="invalid value for argument `units`"):
            layer_class(0)
        with pytest.raises(ValueError, match="expected ndim=3"):
            layer_class(UNITS)(np.zeros((2, FEATURES), "float32"))


@pytest.mark.extended
def test_shapes_that_do_not_fit_are_broadcast_or_refused_as_in_the_stock_layer():
    # In a process of its own, which a mask that is longer than its input must not end.
    done = run_script(PROGRAMS / "lstm_shapes.py", folder=PROJECT)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_jit_compile():
    pair = make_pair(return_sequences=True)
    assert not runs_fused(pair[1], jit_compile=True)
    generator = np.random.default_rng(4)
    sequences = tf.constant(generator.normal(size=(9, 4, FEATURES)).astype("float32"))
    mask = tf.constant(make_mask("gappy", 9, 4, generator))
    compiled = [
        tf.function(functools.partial(differentiate, layer), jit_compile=True, autograph=False)
        for layer in pair
    ]
    stock, fused = (function(sequences, mask, []) for function in compiled)
    assert_close(fused, stock)
    assert_close(differentiate(pair[1], sequences, mask, []), stock)


def make_model(layer_class):
    keras.utils.set_random_seed(5)
    keras.backend.clear_session()
    model = keras.Sequential(
        [
            keras.layers.Embedding(20, 8, mask_zero=True),
            keras.layers.Bidirectional(layer_class(6, return_sequences=True)),
            layer_class(7),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.build((None, None))
    return model


def make_reviews(count=70, steps=9):
    """Returns right-padded word numbers `(count, steps)`, some of them all padding, and labels."""
    generator = np.random.default_rng(6)
    words = generator.integers(1, 20, size=(count, steps))
    words *= make_mask("right", count, steps, generator)
    return words, generator.integers(0, 2, size=(count, 1)).astype("float32")


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_training_equals_stock_layer(jit_compile):
    words, labels = make_reviews()
    weights, losses = [], []
    for layer_class in (keras.layers.LSTM, LSTM):
        keras.utils.set_random_seed(5)
        model = keras.Sequential(
            [
                keras.layers.Embedding(20, 8, mask_zero=True),
                layer_class(7, dropout=0.2, seed=8),
                keras.layers.Dense(1, activation="sigmoid"),
            ]
        )
        model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy", jit_compile=jit_compile)
        history = model.fit(words, labels, batch_size=35, epochs=2, shuffle=False, verbose=0)
        losses.append(history.history["loss"])
        weights.append(model.get_weights())
    assert_close(losses[1], losses[0])
    assert_close(weights[1], weights[0])


@pytest.mark.extended
def test_an_epoch_of_real_batches_ends_with_the_weights_of_the_stock_layer(data):
    weights = []
    for layer_class in (keras.layers.LSTM, LSTM):
        keras.utils.set_random_seed(5)
        model = keras.Sequential(
            [
                keras.layers.Embedding(10_000, 32, mask_zero=True),
                layer_class(100),
                keras.layers.Dense(1, activation="sigmoid"),
            ]
        )
        model.compile("adam", "binary_crossentropy")
        batches = Batches(data.x_train[:1_280], data.y_train[:1_280], 64, shuffle_seed=1)
        start = model.predict(batches[0][0], verbose=0)
        model.fit(batches, shuffle=False, verbose=0)
        assert np.abs(model.predict(batches[0][0], verbose=0) - start).max() > 0.01
        weights.append(model.get_weights())
    # Adam divides by the gradient's own size, which makes rounding in small ones larger.
    for fused, stock in zip(weights[1], weights[0], strict=True):
        assert np.abs(fused - stock).max() < 1e-4
        assert np.sqrt(np.mean((fused - stock) ** 2)) < 1e-6


@drawn(max_examples=8)
@given(
    mask_kind=st.sampled_from((*MASK_KINDS, "absent")),
    return_sequences=st.booleans(),
    batch=st.integers(1, 20),
)
def test_bidirectional(mask_kind, return_sequences, batch):
    generator = np.random.default_rng(9)
    sequences = tf.constant(generator.normal(size=(batch, 5, FEATURES)).astype("float32"))
    mask = None if mask_kind == "absent" else make_mask(mask_kind, batch, 5, generator)
    pair = [
        keras.layers.Bidirectional(
            layer_class(UNITS, return_sequences=return_sequences, return_state=True)
        )
        for layer_class in (keras.layers.LSTM, LSTM)
    ]
    for layer in pair:
        layer.build(sequences.shape)
    assert type(pair[0].forward_layer) is keras.layers.LSTM
    assert type(pair[1].forward_layer) is type(pair[1].backward_layer) is LSTM
    pair[1].set_weights(pair[0].get_weights())
    stock, fused = (differentiate(layer, sequences, mask, []) for layer in pair)
    assert_close(fused, stock)


@pytest.mark.parametrize("outer_steps", [4, pytest.param(None, marks=pytest.mark.slow)])
def test_time_distributed(outer_steps):
    generator = np.random.default_rng(10)
    # Where the number of outer steps is unknown, Keras takes it to be the batch size.
    batch = 11 if outer_steps else 4
    sequences = tf.constant(generator.normal(size=(batch, 4, 5, FEATURES)).astype("float32"))
    signature = [tf.TensorSpec([None, outer_steps, 5, FEATURES])]
    results = []
    for layer in map(keras.layers.TimeDistributed, make_pair()):

        @tf.function(input_signature=signature, autograph=False)
        def run(sequences, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(sequences)
                outputs = layer(sequences)
                loss = tf.reduce_sum(tf.sin(3.0 * outputs))
            if outer_steps is None:  # Keras' own layer has no gradients there
                return outputs
            variables = [weight.value for weight in layer.trainable_variables]
            return outputs, tape.gradient(loss, [sequences, *variables])

        results.append(run(sequences))
    assert_close(results[1], results[0])


def test_equal_bits_from_run_to_run():
    fused = traced_pair(UNITS, True, False, True, False, True)[1]
    generator = np.random.default_rng(11)
    sequences = tf.constant(generator.normal(size=(67, 30, FEATURES)).astype("float32"))
    mask = tf.constant(make_mask("gappy", 67, 30, generator))
    state = tf.constant(generator.normal(size=(67, UNITS)).astype("float32"))
    runs = [tf.nest.flatten(fused(sequences, mask, state, state)) for _ in range(5)]
    for run in runs[1:]:
        assert all(bool(tf.reduce_all(a == b)) for a, b in zip(run, runs[0], strict=True))


def start_program(name, *arguments, folder=PROJECT, python_path=PROJECT):
    """Starts a program of tests/programs in a process of its own."""
    return subprocess.Popen(
        [sys.executable, PROGRAMS / name, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(python_path)},
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_succeeds(process):
    messages = process.communicate(timeout=300)[1]
    assert process.returncode == 0, messages


@pytest.mark.extended
def test_threads():
    # Each pair holds TensorFlow's threads among and inside operations.
    pairs = [(1, 1), (2, 2), (3, 1)]
    for process in [start_program("lstm_threads.py", *pair) for pair in pairs]:
        assert_succeeds(process)


def read_saved(path):
    """Returns the config and the names of all weights in a saved model."""
    names = []
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        with archive.open("model.weights.h5") as file, h5py.File(file) as weights:
            weights.visit(names.append)
    return config["config"], names


def drop_process_details(config):
    """Removes the registered names, and the object numbers, which differ from save to save."""
    if isinstance(config, dict):
        dropped = ("registered_name", "shared_object_id")
        return {k: drop_process_details(v) for k, v in config.items() if k not in dropped}
    if isinstance(config, list):
        return [drop_process_details(item) for item in config]
    return config


@pytest.mark.slow
def test_a_saved_model_contains_the_stock_layer(tmp_path):
    words, _ = make_reviews(count=12)
    stock, fused = (make_model(layer_class) for layer_class in (keras.layers.LSTM, LSTM))
    expected = fused(words)
    assert_close(expected, stock(words))
    stock.save(tmp_path / "stock.keras")
    fused.save(tmp_path / "fused.keras")
    np.save(tmp_path / "words.npy", words)
    np.save(tmp_path / "expected.npy", expected)
    (tmp_path / "fused.pickle").write_bytes(pickle.dumps(fused.layers[2]))

    # The two files differ only in the registered name, which plain Keras ignores.
    (stock_config, stock_names), (config, names) = (
        read_saved(tmp_path / name) for name in ("stock.keras", "fused.keras")
    )
    assert names == stock_names
    assert drop_process_details(config) == drop_process_details(stock_config)
    assert fused.layers[2].get_config() == stock.layers[2].get_config()

    # The program does not find this project, only plain Keras.
    assert_succeeds(start_program("load_lstm.py", folder=tmp_path, python_path=""))

    # Loaded where the module is imported, each file contains the layer that it was saved with.
    loaded = keras.saving.load_model(tmp_path / "fused.keras")
    assert type(loaded.layers[1].backward_layer) is type(loaded.layers[2]) is LSTM
    assert_close(loaded(words), expected)
    assert type(pickle.loads((tmp_path / "fused.pickle").read_bytes())) is LSTM
    loaded = keras.saving.load_model(tmp_path / "stock.keras")
    assert type(loaded.layers[1].backward_layer) is type(loaded.layers[2]) is keras.layers.LSTM
    assert type(keras.models.clone_model(fused).layers[2]) is LSTM


@pytest.mark.slow
def test_export(tmp_path):
    words, _ = make_reviews(count=12)
    model = make_model(LSTM)
    model.export(tmp_path, verbose=False)
    exported = tf.saved_model.load(tmp_path)
    assert_close(exported.serve(tf.constant(words, tf.float32)), model(words))


@pytest.mark.slow
def test_on_another_backend_the_stock_implementation_runs():
    assert_succeeds(start_program("lstm_on_another_backend.py"))


@pytest.mark.parametrize("training", [False, True])
def test_a_tape_outside_a_function(training):
    sequences = tf.random.stateless_normal([20, 6, FEATURES], [1, 2])
    mask = make_mask("gappy", 20, 6, np.random.default_rng(0))

    def run(layer):
        weights = [weight.value for weight in layer.trainable_variables]
        call = tf.function(layer, autograph=False)
        with tf.GradientTape() as tape:
            tape.watch(sequences)
            outputs = call(sequences, mask=mask, training=training)
            loss = tf.reduce_sum(outputs * tf.cos(tf.range(20.0))[:, tf.newaxis])
        return outputs, tape.gradient(loss, [sequences, *weights])

    stock, fused = map(run, make_pair(dropout=0.0))
    assert_close(fused, stock)


def test_second_derivatives_are_refused():
    layer = make_pair()[1]
    sequences = tf.ones((2, 3, FEATURES))
    with tf.GradientTape() as outer:
        outer.watch(sequences)
        with tf.GradientTape() as inner:
            inner.watch(sequences)
            outputs = layer(sequences)
        gradients = inner.gradient(outputs, sequences)
    with pytest.raises(LookupError):
        outer.gradient(gradients, sequences)

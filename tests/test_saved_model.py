"""Saved networks: what may be in them loads, anything else is one line and does nothing."""

import copy
import io
import json
import os
import runpy
import shutil
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers, ops

import export
import predict
import train_lstm
from sentiment.data.imdb import read_package
from sentiment.errors import SentimentError
from sentiment.inference import load_predictor
from sentiment.layers import LSTM, NgramClassifiers, masked_conv_pool, padding_mask
from sentiment.runs.network import check_network
from sentiment.runs.reproduction import compare_with
from sentiment.runs.saved_model import load_model
from tests.conftest import CONSTANTS, PROJECT, assert_one_line, run_script, run_untraced
from tests.fuzzing import JSON, damage, fuzz, make_folder, read_or_reject
from tests.test_edited_scripts import EDITS, load_script, replace_once
from tests.test_files import write_csv

BUNDLED = PROJECT / "models" / "lstm"
WORDS = ["<padding>", "<start>", "<unknown>", "<unused>", "the", "good", "bad", "film"]
REVIEW = "the good film"


def read_ids(*shape):
    return keras.Input(shape or (None,), dtype="int32")


def embed(word_ids, ids=8):
    return layers.Embedding(ids, 4, mask_zero=True)(word_ids)


def average(word_ids):
    return layers.GlobalAveragePooling1D()(embed(word_ids))


def classify(x):
    return layers.Dense(1, activation="sigmoid")(x)


def build_network(change=average, word_ids=None):
    """Return a network with some other layers between its input and its output."""
    word_ids = read_ids() if word_ids is None else word_ids
    return keras.Model(word_ids, classify(change(word_ids)))


def compute(word_ids):
    x = embed(word_ids)
    x = x * ops.cast(ops.not_equal(word_ids, 0), "float32")[:, :, None]
    first, last = x[:, 0], x[:, -1, ...]
    mean = ops.mean(x, axis=1) + np.arange(4, dtype="float32")
    return ops.concatenate([first, last, ops.where(mean > 0, mean, -mean)], axis=-1)


def convolve(word_ids):
    x, mask = masked_conv_pool(embed(word_ids), padding_mask(word_ids, "post"), 4, 3, 2)
    return LSTM(3)(x, mask=mask)


def count(word_ids):
    return layers.Concatenate()([*NgramClassifiers(20)(word_ids), average(word_ids)])


def attend(word_ids):
    x = embed(word_ids)
    x = layers.MultiHeadAttention(2, 2, kernel_regularizer=keras.regularizers.L1L2(0.1, 0.1))(x, x)
    x = layers.TimeDistributed(layers.Dense(3, activation=keras.activations.gelu))(x)
    cells = [layers.GRUCell(3), layers.LSTMCell(3, kernel_constraint=keras.constraints.MaxNorm(1))]
    return layers.Bidirectional(layers.RNN(layers.StackedRNNCells(cells)))(
        layers.Activation("elu")(x)
    )


def share(word_ids):
    cell = layers.GRUCell(4)
    return layers.RNN([cell, cell])(embed(word_ids))


NETWORKS = {
    change.__name__: change for change in (average, compute, convolve, count, attend, share)
}


def get_weights_exactly(model):
    return [(weight.dtype, weight.shape, weight.tobytes()) for weight in model.get_weights()]


@pytest.mark.parametrize("name", [*NETWORKS, *EDITS])
def test_a_network_of_known_layers_loads_with_its_weights(name, tmp_path):
    model = build_network(NETWORKS[name]) if name in NETWORKS else EDITS[name][0]()
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert get_weights_exactly(loaded) == get_weights_exactly(model)
    ids = np.array([[1, 5, 7, 0], [1, 4, 6, 7]])
    np.testing.assert_array_equal(loaded(ids), model(ids))


def fit_ngrams(ngrams, reviews=20):
    """Return a network whose n-gram classifiers know a few reviews."""
    model = build_network(
        lambda ids: layers.Concatenate()([*NgramClassifiers(ngrams, name="x")(ids), average(ids)])
    )
    ids = np.arange(4, 4 + reviews, dtype=np.int32)
    sequences = [np.array([1, *pair], dtype=np.int32) for pair in zip(ids, ids + 1, strict=True)]
    model.get_layer("x").adapt(sequences, ids > ids.mean())
    return model


def test_a_large_table_with_few_ngrams_loads(tmp_path):
    fit_ngrams(200_000).save(tmp_path / "model.keras")
    assert (tmp_path / "model.keras").stat().st_size < 40_000
    assert load_model(tmp_path / "model.keras").get_layer("x").ngrams == 200_000


def set_ngrams(ngrams):
    def change(config):
        found = [x for x in config["config"]["layers"] if x["class_name"] == "NgramClassifiers"]
        found[0]["config"]["ngrams"] = ngrams

    return change


def replace_table(**arrays):
    def change(file):
        group = file["layers/ngram_classifiers/vars"]
        for name, array in arrays.items():
            del group[name]
            group[name] = array

    return change


KEYS = np.array([[0, 0, 4], [0, 0, 5]], dtype=np.int32)
ONES = np.ones(2, dtype=np.float32)


@pytest.mark.parametrize(
    ("config", "weights", "expected"),
    [
        (set_ngrams(1_000_001), None, "1,000,000"),
        (set_ngrams(0), None, "1,000,000"),
        (set_ngrams("many"), None, "damaged"),
        (None, replace_table(keys=-KEYS, log_odds=ONES, regression=ONES), "ids"),
        (None, replace_table(keys=KEYS[:0]), "shape"),
        (None, replace_table(keys=KEYS[[0, 0]], log_odds=ONES, regression=ONES), "slot"),
        (None, replace_table(keys=KEYS, log_odds=ONES, regression=ONES * np.nan), "NaN"),
    ],
)
def test_a_damaged_or_absurd_table_is_one_line(config, weights, expected, tmp_path):
    path = tmp_path / "model.keras"
    fit_ngrams(1_000).save(path)
    rewrite(path, config, weights)
    with pytest.raises(ValueError, match=expected) as raised:
        load_model(path)
    assert_one_line(raised.value)


def test_a_run_is_compared_by_what_its_network_saves(tmp_path):
    model = fit_ngrams(1_000)
    factors = model.get_layer("x").factors
    factors.assign(np.linspace(0.5, 1.5, 2_000)[:, np.newaxis])
    first, second = (write_run(tmp_path / name, model) for name in ("first", "second"))
    factors.assign(np.linspace(0.5, 1.6, 2_000)[:, np.newaxis])
    third = write_run(tmp_path / "third", model)
    history = read_rows(first)
    compared = {"history": {}, "device": {}, "best": {"val_accuracy": 0.5}}
    assert compare_with(first, second, compared, history).startswith("Reproduced ")
    assert compare_with(first, third, compared, history).startswith("Not reproduced ")
    assert compare_with(first, second, compared, history[:-1]).startswith("Not reproduced ")


@pytest.mark.parametrize("name", ["lstm", "cnn_lstm"])
def test_a_bundled_network_is_the_one_that_plain_keras_loads(name):
    path = PROJECT / "models" / name / "model.keras"
    expected = keras.saving.load_model(path)
    loaded = load_model(path)
    assert get_weights_exactly(loaded) == get_weights_exactly(expected)
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in expected.layers]


def test_a_precision_is_kept(tmp_path):
    word_ids = read_ids()
    x = layers.LSTM(4, dtype="mixed_bfloat16")(embed(word_ids))
    keras.Model(word_ids, classify(x)).save(tmp_path / "model.keras")
    assert load_model(tmp_path / "model.keras").layers[-2].compute_dtype == "bfloat16"


def rewrite(path, config=None, weights=None):
    """Change the config, given as a dictionary, or the HDF5 file of weights in a saved network."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    if config:
        read = json.loads(files["config.json"])
        files["config.json"] = json.dumps(config(read) or read).encode()
    if weights:
        file = io.BytesIO(files["model.weights.h5"])
        with h5py.File(file, "r+") as opened:
            weights(opened)
        files["model.weights.h5"] = file.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def describe(class_name, module="keras.layers", registered_name=None, **config):
    config.setdefault("name", "x")
    return {
        "module": module,
        "class_name": class_name,
        "config": config,
        "registered_name": registered_name,
        "name": "x",
        "inbound_nodes": [],
    }


def describe_function(name, module):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


GALLERY = describe_function("plot_image_gallery", "keras.visualization")
LAMBDA = describe("Lambda", function=GALLERY, arguments={"path": "victim", "value_range": [0, 1]})
PYTHON = {"class_name": "__lambda__", "config": {"code": "", "defaults": None, "closure": None}}


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (LAMBDA, "keras.layers.Lambda"),
        (describe("Lambda", "keras.src.layers.core.lambda_layer"), "Lambda"),
        (describe("Lambda", function=PYTHON), "Lambda"),
        (describe("Wrapper", layer=LAMBDA), "Lambda"),
        (describe("Sequential", "keras", layers=[LAMBDA]), "Lambda"),
        (describe("TimeDistributed", layer={"inner": [LAMBDA]}), "Lambda"),
        (describe("Activation", activation=GALLERY), "plot_image_gallery"),
        (describe("Activation", activation=describe_function("get", "builtins")), "get"),
        (describe("Activation", activation=describe_function("system", "os")), "system"),
        (describe("Activation", activation=PYTHON), "__lambda__"),
        (describe("Map", "keras.src.ops.core"), "Map"),
        (describe("StringLookup", vocabulary="/etc/passwd"), "StringLookup"),
        (describe("TextVectorization"), "TextVectorization"),
        (describe("TFSMLayer", filepath="x"), "TFSMLayer"),
        (describe("TorchModuleWrapper"), "TorchModuleWrapper"),
        (describe("TorchModuleWrapper", "keras.src.utils.torch_utils"), "TorchModuleWrapper"),
        (describe("get_file", "keras.utils"), "get_file"),
        (describe("Popen", "subprocess"), "Popen"),
        (describe("Dense", registered_name="pkg>Other", units=1), "Dense"),
        (describe("Dense", "os", units=1), "Dense"),
        ({"class_name": "Lambda", "config": {"function": GALLERY}}, "Lambda"),
        ({"class_name": "__typespec__", "module": "tensorflow", "config": []}, "__typespec__"),
        ({"class_name": ["Dense"], "config": {}}, "damaged"),
    ],
)
@pytest.mark.parametrize("place", ["layers", "arguments", "build_config"])
def test_what_could_run_code_is_refused_by_its_name(layer, named, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("victim").write_text("precious")

    def insert(config):
        target = config["config"]["layers"]
        if place == "layers":
            target.append(layer)
        elif place == "arguments":
            target[1]["inbound_nodes"][0]["kwargs"]["mask"] = [layer]
        else:
            target[1]["build_config"]["input_shape"] = layer

    build_network().save("model.keras")
    rewrite("model.keras", insert)
    with pytest.raises(ValueError, match=r"model\.keras") as raised:
        load_model(Path("model.keras"))
    assert_one_line(raised.value)
    assert named in str(raised.value)
    assert Path("victim").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "victim"]


def write_run(folder, model=None, words=WORDS, **constants):
    """Write a run with a network of few words, and return its folder."""
    folder.mkdir(parents=True)
    shutil.copy(BUNDLED / "history.csv", folder)
    record = json.loads((BUNDLED / "run.json").read_text())
    record["constants"] |= {"VOCABULARY_SIZE": 10_000, "PADDING": "post", "MAXIMUM_TOKENS": 500}
    record["constants"] |= constants
    (folder / "run.json").write_text(json.dumps({**record, "sha256": {}}))
    (folder / "vocabulary.txt").write_bytes("".join(f"{word}\n" for word in words).encode())
    (model or build_network()).save(folder / "model.keras")
    return folder


def read_rows(folder):
    """Return the history of a run from `write_run`, a dictionary per epoch."""
    return [
        {"accuracy": float(a), "loss": float(b), "val_accuracy": float(c), "val_loss": float(d)}
        for a, b, c, d in np.genfromtxt(folder / "history.csv", delimiter=",", skip_header=1)[
            :, 1:5
        ]
    ]


def plot(word_ids):
    image = layers.Reshape((1, 1, 1))(layers.Dense(1)(average(word_ids)))
    arguments = {"path": "victim.png", "value_range": [0, 1], "rows": 1, "cols": 1}
    gallery = keras.visualization.plot_image_gallery
    return layers.Lambda(gallery, arguments=arguments, output_shape=(1,))(image)


def test_a_function_of_keras_can_not_overwrite_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = build_network(plot)
    model.compile(run_eagerly=True)
    folder = write_run(tmp_path / "run", model)

    def name_module(config):
        function = config["config"]["layers"][-2]["config"]["function"]
        function |= {"module": "keras.visualization", "registered_name": "plot_image_gallery"}

    rewrite(folder / "model.keras", name_module)
    Path("victim.png").write_text("precious")
    with pytest.raises(SentimentError, match=r"keras\.layers\.Lambda"):
        load_predictor(folder).predict([REVIEW])
    assert Path("victim.png").read_text() == "precious"


def test_a_network_is_not_compiled_as_its_file_says(tmp_path):
    model = build_network(lambda word_ids: build_network(average)(word_ids))
    model.layers[1].compile(run_eagerly=True)
    model.compile(run_eagerly=True)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert not loaded.compiled and not loaded.layers[1].compiled


def set_units(units):
    def change(config):
        *_, hidden, output = config["config"]["layers"]
        hidden["config"]["units"] = units
        del output["build_config"], hidden["build_config"]
        for node in output["inbound_nodes"]:
            node["args"][0]["config"]["shape"] = [None, units]

    return change


def replace_kernel(create):
    def change(file):
        group = file["layers/dense/vars"]
        shape = group["0"].shape
        del group["0"]
        create(group, shape)

    return change


def fill(value):
    return lambda group, shape: group.create_dataset("0", data=np.full(shape, value, "float32"))


def compress(group, shape):
    group.create_dataset("0", (2**29,), "float32", chunks=(2**20,), compression="gzip")


def link(group, shape):
    group["0"] = h5py.ExternalLink("/etc/passwd", "x")


def store_outside(group, shape):
    group.create_dataset("0", shape, "float32", external=[("/etc/passwd", 0, 4 * shape[0] ** 2)])


def map_outside(group, shape):
    layout = h5py.VirtualLayout(shape, "float32")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape)
    group.create_virtual_dataset("0", layout)


def damage_weights(path):
    content = bytearray(path.read_bytes())
    at = content.index(b"\x89HDF") + 100
    content[at] ^= 255
    path.write_bytes(content)


def refer_to_one_content(group, shape):
    group.create_dataset("0", (8,), dtype=h5py.vlen_dtype(np.uint8))


def describe_in_many_words(group, shape):
    group.create_dataset("0", data=np.zeros(shape, "float32")).attrs["dtype"] = ["float32"] * 9


def compute_at_once(config):
    tensor = {"class_name": "__tensor__", "config": {"value": [[[1.0]]], "dtype": "float32"}}
    layer = describe("ZeroPadding1D", padding=10**9)
    layer["inbound_nodes"] = [{"args": [tensor], "kwargs": {}}]
    config["config"]["layers"].append(layer)


def write_archive(compression=zipfile.ZIP_STORED, **files):
    def write(path):
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in files.items():
                archive.writestr(name.replace("__", "."), content)

    return write


def nest(config):
    value = config
    for _ in range(900):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda path: rewrite(path, set_units(10**9)), "weights"),
        (lambda path: rewrite(path, set_units(10**30)), "model.keras"),
        (lambda path: rewrite(path, set_units(-1)), "-1"),
        (lambda path: rewrite(path, nest), "nested"),
        (lambda path: rewrite(path, lambda config: describe("Dense", units=1)), "not a network"),
        (lambda path: rewrite(path, lambda config: [1]), "not a network"),
        (lambda path: rewrite(path, weights=replace_kernel(fill(np.nan))), "NaN"),
        (lambda path: rewrite(path, weights=replace_kernel(fill(np.inf))), "infinit"),
        (lambda path: rewrite(path, weights=replace_kernel(compress)), "compressed"),
        (lambda path: rewrite(path, weights=replace_kernel(link)), "weights"),
        (lambda path: rewrite(path, weights=replace_kernel(store_outside)), "external"),
        (lambda path: rewrite(path, weights=replace_kernel(map_outside)), "virtual"),
        (lambda path: rewrite(path, weights=replace_kernel(refer_to_one_content)), "not numbers"),
        (lambda path: rewrite(path, weights=replace_kernel(describe_in_many_words)), "not numbers"),
        (lambda path: rewrite(path, compute_at_once), "while it is loaded"),
        (damage_weights, "CRC"),
        (lambda path: path.write_bytes(path.read_bytes()[:-900]), "zip"),
        (lambda path: path.write_bytes(b""), "zip"),
        (write_archive(config__json="{}"), "model.weights.h5"),
        (write_archive(**{"config__json": "{", "model__weights__h5": ""}), "model.keras"),
        (write_archive(**{"config__json": "[" * 10**5, "model__weights__h5": ""}), "recursion"),
        (write_archive(config__json=b" " * 2 * 10**7, model__weights__h5=""), "bytes"),
        (
            write_archive(zipfile.ZIP_BZIP2, config__json="{}", model__weights__h5=bytes(10**7)),
            "compressed",
        ),
        (lambda path: path.unlink(), "no file"),
        (lambda path: path.unlink() or path.mkdir(), "no file"),
        (lambda path: path.unlink() or os.mkfifo(path), "no file"),
    ],
)
def test_a_damaged_or_absurd_network_is_one_line_and_affects_no_other(spoil, expected, tmp_path):
    model = build_network(lambda word_ids: layers.Dense(3, name="dense")(average(word_ids)))
    path = tmp_path / "model.keras"
    model.save(path)
    shutil.copy(path, tmp_path / "good.keras")
    spoil(path)
    with pytest.raises(ValueError, match=r"model\.keras") as raised:
        load_model(path)
    assert_one_line(raised.value)
    assert expected in str(raised.value) and len(str(raised.value)) < 400
    loaded = load_model(tmp_path / "good.keras")
    assert get_weights_exactly(loaded) == get_weights_exactly(model)


def take_two_inputs():
    inputs = [read_ids(), read_ids()]
    return keras.Model(inputs, classify(layers.Add()([average(x) for x in inputs])))


def return_two_outputs():
    word_ids = read_ids()
    x = average(word_ids)
    return keras.Model(word_ids, [classify(x), classify(x)])


def reshape(word_ids):
    return average(layers.Reshape((-1,))(word_ids))


UNFIT = {
    "two inputs": (take_two_inputs, {}, "input"),
    "three dimensions": (lambda: build_network(reshape, read_ids(None, 3)), {}, r"batch, None, 3"),
    "two outputs": (return_two_outputs, {}, r"\(batch, 1\), \(batch, 1\)"),
    "two classes": (
        lambda: keras.Model(word_ids := read_ids(), layers.Dense(2)(average(word_ids))),
        {},
        r"\(batch, 2\)",
    ),
    "an output for each word": (lambda: build_network(embed), {}, "return_sequences"),
    "a fixed batch size": (
        lambda: build_network(word_ids=keras.Input(batch_shape=(3, None), dtype="int32")),
        {},
        r"\(3, 1\)",
    ),
    "few ids": (
        lambda: build_network(lambda ids: layers.GlobalMaxPooling1D()(embed(ids, 7))),
        {},
        "input_dim=7",
    ),
    "a fixed length": (lambda: build_network(word_ids=read_ids(9)), {}, "9 tokens"),
    "another length": (
        lambda: build_network(word_ids=read_ids(9)),
        {"PADDING": "pre", "MAXIMUM_TOKENS": 8},
        "9 tokens.*8 tokens",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_network_that_does_not_fit_its_run_is_one_line(name, tmp_path):
    build, constants, expected = UNFIT[name]
    folder = write_run(tmp_path / "run", build(), **constants)
    with pytest.raises(SentimentError, match=f"run can't be loaded.*{expected}") as raised:
        load_predictor(folder)
    assert_one_line(raised.value)


@pytest.mark.parametrize("name", ["two inputs", "three dimensions", "a fixed length"])
def test_the_same_network_is_not_trained(name, small_data):
    build, _, expected = UNFIT[name]
    with pytest.raises(SentimentError, match=expected):
        check_network(build(), small_data, "post")


@keras.saving.register_keras_serializable(package="tests")
def double(x):
    return 2 * x


@pytest.mark.parametrize("activation", [double, "relu"])
def test_a_network_that_will_not_be_loaded_is_reported_before_the_training(activation, small_data):
    ids = len(small_data.vocabulary)
    hidden = layers.Dense(2, activation=activation)
    word_ids = read_ids()
    x = layers.GlobalAveragePooling1D()(layers.Embedding(ids, 4, mask_zero=True)(word_ids))
    model = keras.Model(word_ids, classify(hidden(x)))
    model.compile()
    reported = [line for line in check_network(model, small_data, "post") if "not load" in line]
    assert [("double" in line, line.isprintable()) for line in reported] == [(True, True)] * (
        activation is double
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([*WORDS, "film"], "'film' more than once"),
        ([*WORDS, "", "x"], "line 9.*empty"),
        ([*WORDS, *map(str, range(99))], "input_dim=8"),
        (WORDS[:4], "without their words"),
    ],
)
def test_a_vocabulary_that_can_not_be_right_is_one_line(words, expected, tmp_path):
    folder = write_run(tmp_path / "run", words=words)
    with pytest.raises(SentimentError, match=f"run can't be loaded.*{expected}") as raised:
        load_predictor(folder)
    assert_one_line(raised.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"<padding>\n<start", "incomplete"), (b"\xff\xfe\n", "not UTF-8"), (None, "No such file")],
)
def test_a_damaged_vocabulary_is_one_line(content, expected, tmp_path):
    folder = write_run(tmp_path / "run")
    if content is None:
        (folder / "vocabulary.txt").unlink()
    else:
        (folder / "vocabulary.txt").write_bytes(content)
    with pytest.raises(SentimentError, match=f"run can't be loaded.*{expected}") as raised:
        load_predictor(folder)
    assert_one_line(raised.value)


def diverge(word_ids):
    return ops.log(-1.0 - ops.abs(average(word_ids)))


def add_positions(word_ids):
    positions = layers.Embedding(6, 4)(ops.cumsum(ops.ones_like(word_ids), axis=1))
    return layers.GlobalAveragePooling1D()(embed(word_ids) + positions)


@pytest.mark.parametrize(
    ("change", "expected"), [(diverge, "NaN"), (add_positions, "6|NaN")], ids=["NaN", "positions"]
)
def test_a_network_that_fails_on_a_review_is_one_line(change, expected, tmp_path):
    folder = write_run(tmp_path / "run", build_network(change))
    with pytest.raises(SentimentError, match=f"network of .*run.*({expected})") as raised:
        load_predictor(folder).predict([REVIEW, f"{REVIEW} {REVIEW}"])
    assert_one_line(raised.value)


def test_a_number_that_is_no_probability_is_one_line(tmp_path):
    word_ids = read_ids()
    output = layers.Dense(1, bias_initializer=keras.initializers.Constant(7.0))(average(word_ids))
    folder = write_run(tmp_path / "run", keras.Model(word_ids, output))
    with pytest.raises(SentimentError, match="probabilit") as raised:
        load_predictor(folder).predict([REVIEW])
    assert_one_line(raised.value)


OWN_LAYER = """

{decorator}class Scale(keras.layers.Layer):
    def __init__(self, factor=1.0, **options):
        super().__init__(**options)
        self.factor = factor

    def build(self, input_shape):
        self.table = keras.Variable([2.0], trainable=False)

    def call(self, x):
        return x * self.factor * self.table

    def get_config(self):
        return {{**super().get_config(), "factor": self.factor}}
"""
REGISTRATIONS = {
    "unregistered": "",
    "registered": "@keras.saving.register_keras_serializable()\n",
    "package": '@keras.saving.register_keras_serializable("mine", name="Other")\n',
}


def write_script(path, registration="unregistered"):
    """Write a copy of train_lstm.py that defines a layer and uses it before its output."""
    source = Path(train_lstm.__file__).read_text(encoding="utf-8")
    layer = OWN_LAYER.format(decorator=REGISTRATIONS[registration])
    marker = "\n\n\ndef build_model("
    source = replace_once(source, marker, layer + marker)
    last = "            layers.Dense(1,"
    path.write_text(
        replace_once(source, last, f"            Scale(3.0),\n{last}"), encoding="utf-8"
    )
    return path


@pytest.fixture
def run_predict(monkeypatch, capsys, tmp_path):
    """A function that runs predict.py on a review and returns its row."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["predict.py", *map(str, arguments), REVIEW])
        capsys.readouterr()
        predict.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def custom_objects():
    """The registered objects, restored after the test."""
    registered = keras.saving.get_custom_objects()
    before = dict(registered)
    yield registered
    registered.clear()
    registered.update(before)


@pytest.mark.parametrize("registration", REGISTRATIONS)
@pytest.mark.parametrize("saved_in", ["__main__", "train_mine"])
def test_a_layer_of_ones_own_is_loaded_with_its_file(
    registration, saved_in, tmp_path, run_predict, custom_objects
):
    script = write_script(tmp_path / "train_mine.py", registration)
    scale = runpy.run_path(str(script), run_name="other")["Scale"]
    scale.__module__ = saved_in
    model = build_network(lambda word_ids: keras.Sequential([scale(3.0)])(average(word_ids)))
    folder = write_run(tmp_path / "run", model)
    for key in [key for key, value in custom_objects.items() if value is scale]:
        del custom_objects[key]  # as in another process
    with pytest.raises(SentimentError, match=r"Scale.*--layers") as raised:
        run_predict("--run", folder)
    assert_one_line(raised.value)
    row = run_predict("--run", folder, "--layers", script, "--format", "json")
    expected = model(np.array([[1, 4, 5, 7]]))
    assert json.loads(row)["probability"] == pytest.approx(float(expected[0, 0]), abs=1e-6)
    assert load_predictor(folder, layers=[scale]).predict([REVIEW]).shape == (1,)
    compared = {"history": {}, "device": {}, "best": {"val_accuracy": 0.5}}
    history = read_rows(folder)
    assert "Reproduced" in compare_with(folder, folder, compared, history, [scale])
    assert "Scale" in compare_with(folder, folder, compared, history)


@pytest.mark.extended
def test_a_script_with_its_own_layer_is_trained_compared_predicted_and_exported(tmp_path):
    script = write_script(tmp_path / "train_mine.py", "registered")
    texts, labels = read_package()
    write_csv(tmp_path / "own.csv", texts[::100], labels[::100])
    arguments = [*CONSTANTS[1:], "--data=own.csv", "--epochs=1", "--lstm-units=4"]
    arguments += ["--maximum-tokens=20"]
    trained = run_script(script, *arguments, "--name=mine", folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "Scale" in trained.stdout and "--layers" in trained.stdout
    repeated = run_script(script, "--like=mine", folder=tmp_path)
    assert repeated.stdout.splitlines()[-1].startswith("Reproduced "), repeated.stdout
    for command in (
        ["predict.py", "--run", "mine", REVIEW],
        ["export.py", "mine", "--format=savedmodel"],
    ):
        refused = run_script(*command, folder=tmp_path)
        assert refused.returncode == 1 and "--layers" in refused.stderr
        assert_one_line(refused.stderr.removesuffix("\n"))
    predicted = run_script("predict.py", "--run=mine", "--layers", script, REVIEW, folder=tmp_path)
    assert predicted.returncode == 0 and REVIEW in predicted.stdout, predicted.stderr


def test_export_takes_the_same_option(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    script = write_script(tmp_path / "train_mine.py")
    scale = load_script(script).Scale
    folder = write_run(tmp_path / "run", build_network(lambda ids: scale(3.0)(average(ids))))
    exported = []

    def keep(predictor, path):
        exported.append(predictor)
        raise ValueError("kept")

    monkeypatch.setattr(export, "export_savedmodel", keep)
    monkeypatch.setattr(export, "read_package", lambda: ([REVIEW] * 25_000, []))
    for options, expected in (([], "Scale"), (["--layers", str(script)], "kept")):
        command = ["export.py", str(folder), "--format=savedmodel", *options]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SentimentError, match=expected):
            export.main()
    assert [layer.factor for layer in exported[0].model.layers if hasattr(layer, "factor")] == [3.0]


@pytest.mark.parametrize(
    ("name", "content", "status", "expected"),
    [
        ("missing.py", None, 2, "missing.py"),
        ("x" * 300 + ".py", None, 2, "no such"),
        ("layers.txt", "class X: pass", 2, "layers.txt"),
        ("wrong.py", "import keras\nkeras.layers.Lsmt", 1, "AttributeError.*Lsmt"),
        ("syntax.py", "class", 1, "SyntaxError"),
        ("exits.py", "raise SystemExit(3)", 1, "SystemExit.*3"),
        ("empty.py", "from keras.layers import *\nfrom sentiment.layers import *", 1, "no layer"),
    ],
)
def test_a_file_of_layers_that_can_not_be_used_is_one_line(
    name, content, status, expected, tmp_path, run_predict
):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SentimentError, match=f"--layers.*{expected}") as raised:
        run_predict("--run", BUNDLED, "--layers", name)
    assert_one_line(raised.value)
    assert raised.value.status == status


def list_places(value):
    """Yield all lists and dictionaries in a config, with each of their keys."""
    if isinstance(value, dict | list):
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from list_places(item)


@st.composite
def change_config(draw, config):
    """A config of which a few values are others, come from elsewhere in it, or are missing."""
    config = copy.deepcopy(config)
    for _ in range(draw(st.integers(1, 3))):
        places = list(list_places(config))
        container, key = places[draw(st.integers(0, len(places) - 1))]
        kind = draw(st.sampled_from(["delete", "move", "absurd", "json"]))
        if kind == "delete":
            del container[key]
            continue
        if kind == "move":
            source, other = places[draw(st.integers(0, len(places) - 1))]
            value = source[other]
        else:
            value = draw(st.sampled_from(ABSURD) if kind == "absurd" else JSON)
        container[key] = copy.deepcopy(value)  # the next change may be within it
    return config


ABSURD = [10**9, 2**70, -1, 1e300, "../victim", "/etc/passwd", "Lambda", LAMBDA, GALLERY, PYTHON]
FUZZED = make_folder("saved_model") / "run"
write_run(FUZZED, build_network(attend))
with zipfile.ZipFile(FUZZED / "model.keras") as archive:
    CONFIG = json.loads(archive.read("config.json"))


@pytest.mark.extended
@given(change_config(CONFIG))
@fuzz()
def test_a_changed_config_loads_or_is_one_line(config):
    rewrite(FUZZED / "model.keras", lambda _: config)
    before = {path.name: path.read_bytes() for path in FUZZED.iterdir()}
    with pytest.MonkeyPatch.context() as changed:
        run_untraced(changed)
        read_or_reject(lambda: load_predictor(FUZZED).predict([REVIEW]))
    assert {path.name: path.read_bytes() for path in FUZZED.iterdir()} == before
    assert [path.name for path in FUZZED.parent.iterdir()] == ["run"]


@pytest.mark.extended
@given(damage((FUZZED / "model.keras").read_bytes()))
@fuzz()
def test_a_damaged_file_loads_or_is_one_line(content):
    path = make_folder("damaged_model") / "model.keras"
    path.write_bytes(content)
    read_or_reject(load_model, path, error=ValueError)

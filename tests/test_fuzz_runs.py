"""Run folders, checkpoints, histories and recipes from elsewhere are read or rejected."""

import functools
import json
import shutil
import statistics
from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import train_lstm
from sentiment.constants import parse_constants
from sentiment.inference import load_predictor
from sentiment.runs import checkpoint
from sentiment.runs.checkpoint import read_arrays, read_state, restore_checkpoint
from sentiment.runs.comparison import describe_differences, group_runs, mark_incomparable
from sentiment.runs.folder import HASHED_FILES
from sentiment.runs.record import read_record
from tests.conftest import PROJECT, assert_one_line
from tests.fuzzing import (
    JSON,
    LINES,
    NESTED,
    change,
    damage,
    fuzz,
    make_folder,
    read_or_reject,
    write_npz,
)
from tests.run_folders import make_state

pytestmark = pytest.mark.slow

LSTM = PROJECT / "models" / "lstm"
RECIPE = PROJECT / "recipes" / "tokens_100.toml"


REFIT = {"training": 20_000, "epochs": 2, "accuracy": 0.9, "loss": 0.3}


def copy_run(name):
    """Return a folder with the files of a finished run, without its record."""
    folder = make_folder(name)
    for file in HASHED_FILES:
        if not (folder / file).exists():
            shutil.copy(LSTM / file, folder / file)
    return folder


def parse(*arguments):
    return parse_constants(dict(vars(train_lstm)), list(arguments))


@given(st.one_of(st.binary(), LINES.map(str.encode), damage((LSTM / "history.csv").read_bytes())))
@fuzz()
def test_histories(content):
    path = make_folder("histories") / "history.csv"
    path.write_bytes(content)
    read_or_reject(read_record, path, error=ValueError)


@given(
    st.one_of(
        st.binary(),
        (JSON | st.dictionaries(st.sampled_from(["loss", "acc", "history"]), JSON)).map(
            lambda content: json.dumps(content).encode()
        ),
    )
)
@example(NESTED)
@example(b'{"loss": [1' + b"0" * 400 + b"]}")
@fuzz()
def test_histories_in_json(content):
    path = make_folder("histories_in_json") / "history.json"
    path.write_bytes(content)
    read_or_reject(read_record, path, error=ValueError)


@given(
    st.one_of(
        change({**json.loads((LSTM / "run.json").read_text()), "refit": REFIT}).map(
            lambda x: json.dumps(x).encode()
        ),
        damage((LSTM / "run.json").read_bytes()),
    )
)
@example((LSTM / "run.json").read_bytes().replace(b'"sha256": {', b'"sha256": null, "x": {'))
@example(NESTED)
@fuzz()
def test_records(content):
    folder = copy_run("records")
    (folder / "run.json").write_bytes(content)
    record = read_or_reject(read_record, folder, error=ValueError)
    read_or_reject(load_predictor, str(folder))
    read_or_reject(parse, "--like", str(folder))
    if record:
        groups, _ = group_runs([record, read_record(LSTM), replace(record, name="again")])
        mark_incomparable(groups)
        describe_differences(groups)
        for group in groups:
            assert 0 <= statistics.fmean(group.validation_accuracies) <= 1
            assert all(0 <= accuracy <= 1 for accuracy in group.sentence_accuracies("test"))
            assert "".join(
                [group.title, group.network, group.data, *group.differences]
            ).isprintable()
            assert group.seconds >= 0 and all(group.best_epochs)


@given(
    st.one_of(
        st.binary(),
        damage(RECIPE.read_bytes()),
        change(json.loads((LSTM / "run.json").read_text())["constants"]).map(
            lambda constants: "\n".join(
                ['script = "train_lstm.py"', "[constants]"]
                + [f"{name} = {json.dumps(value)}" for name, value in constants.items()]
            ).encode()
        ),
    )
)
@example(b"x = " + NESTED)
@example(RECIPE.read_bytes().replace(b'"tokens_100"', b"5"))
@example(RECIPE.read_bytes().replace(b'"auto"', b'"' + b"x" * 999 + b'"'))
@fuzz()
def test_recipes(content):
    path = make_folder("recipes") / "recipe.toml"
    path.write_bytes(content)
    read_or_reject(parse, "--like", str(path))


@given(st.one_of(st.binary(), damage((LSTM / "vocabulary.txt").read_bytes()[:3_000])))
@fuzz()
def test_vocabularies(content):
    folder = copy_run("vocabularies")
    record = json.loads((LSTM / "run.json").read_text())
    record.pop("sha256", None)
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "vocabulary.txt").write_bytes(content)
    predictor = read_or_reject(load_predictor, str(folder))
    if predictor:
        assert 0 <= predictor.predict(["a good film"])[0] <= 1


ROW = {"epoch": 1, "accuracy": 0.5, "loss": 1.0, "val_accuracy": 0.5, "val_loss": 1.0, "seconds": 1}
STATE = make_state(options={"EPOCHS": 2, "NAME": "lstm"}, history=[ROW], best=ROW)
REFIT_STATE = {
    **STATE,
    "constants": {**STATE["constants"], "REFIT": True},
    "refit": {"history": [ROW], "unsure": {"margin": 0.1, "words": 5}},
}


def write_checkpoint(state):
    content = np.frombuffer(json.dumps(state).encode(), np.uint8)
    return write_npz(state=content, best_0=np.zeros((3, 2)), model_0=np.zeros((3, 2)))


STATES = change(STATE) | change(REFIT_STATE)


@given(st.one_of(damage(write_checkpoint(STATE)), STATES.map(write_checkpoint)))
@fuzz()
def test_checkpoints(content):
    path = make_folder("checkpoints") / "checkpoint.npz"
    path.write_bytes(content)
    read_or_reject(read_state, path.parent)
    read_or_reject(read_arrays, path.parent)
    read_or_reject(parse, "--resume", str(path.parent))


@functools.cache
def make_model():
    """Return a tiny compiled network, and the arrays of its checkpoint."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    folder = make_folder("arrays")
    checkpoint.write_checkpoint(folder / "checkpoint.npz", STATE, model, model.get_weights())
    return model, read_arrays(folder)


SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
TYPES = st.sampled_from(["f4", "f8", "f2", "i4", "i8", "u1", "?", "c8", "U2", "S2", "V2", "M8[s]"])
ARRAYS = st.builds(np.zeros, SHAPES, TYPES)
NAMES = st.sampled_from(
    ["best_0", "best_1", "best_2", "best_x", "model_0", "model_1", "optimizer_0"]
)


@given(st.dictionaries(NAMES | st.text(max_size=3), st.none() | ARRAYS, min_size=1, max_size=3))
@fuzz()
def test_arrays_of_checkpoints(changes):
    model, arrays = make_model()
    variables = [*model.weights, *model.optimizer.variables]
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
    changed = {key: value for key, value in {**arrays, **changes}.items() if value is not None}
    try:
        best = restore_checkpoint(model, changed)
    except ValueError as error:
        assert_one_line(error)
        after = map(keras.ops.convert_to_numpy, variables)
        assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))
    else:
        expected = model.weights if "best_0" in changed else []
        assert [x.shape for x in best or ()] == [x.shape for x in expected]
        model.predict_on_batch(np.zeros((1, 2)))

"""Run folders, checkpoints, histories and recipes from elsewhere are read or rejected."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import train_lstm
from sentiment.constants import parse_constants
from sentiment.inference import load_predictor
from sentiment.runs.checkpoint import read_checkpoint
from sentiment.runs.folder import HASHED_FILES
from sentiment.runs.record import read_record
from tests.conftest import PROJECT
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

pytestmark = pytest.mark.slow

LSTM = PROJECT / "models" / "lstm"
RECIPE = PROJECT / "recipes" / "tokens_100.toml"


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
        change(json.loads((LSTM / "run.json").read_text())).map(lambda x: json.dumps(x).encode()),
        damage((LSTM / "run.json").read_bytes()),
    )
)
@example((LSTM / "run.json").read_bytes().replace(b'"sha256": {', b'"sha256": null, "x": {'))
@example(NESTED)
@fuzz()
def test_records(content):
    folder = copy_run("records")
    (folder / "run.json").write_bytes(content)
    read_or_reject(read_record, folder, error=ValueError)
    read_or_reject(load_predictor, str(folder))
    read_or_reject(parse, "--like", str(folder))


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


STATE = {
    "script": "train_lstm.py",
    "options": {"EPOCHS": 2, "NAME": "lstm"},
    "evaluate_test": True,
    "constants": {"EPOCHS": 2},
    "data": {},
    "versions": {},
    "sha256": {},
    "history": [],
}


def write_checkpoint(state):
    content = np.frombuffer(json.dumps(state).encode(), np.uint8)
    return write_npz(state=content, model_0=np.zeros((3, 2)), optimizer_0=np.zeros(()))


@given(st.one_of(damage(write_checkpoint(STATE)), change(STATE).map(write_checkpoint)))
@fuzz()
def test_checkpoints(content):
    path = make_folder("checkpoints") / "checkpoint.npz"
    path.write_bytes(content)
    read_or_reject(read_checkpoint, path.parent)
    read_or_reject(parse, "--resume", str(path.parent))

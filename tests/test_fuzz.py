"""Files from elsewhere, whatever they contain, are read or rejected with a one-line error.

``FUZZ_EXAMPLES=5000 python -m pytest tests/test_fuzz.py`` tries more of them. So does atheris,
which looks for inputs that reach code that no other has reached:

    pip install atheris==3.0.0
    python -m tests.fuzz_with_atheris test_csv_files -max_total_time=60
"""

import contextlib
import functools
import gzip
import io
import json
import os
import pickle
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import predict
import train_lstm
from sentiment.constants import parse_constants
from sentiment.data.files import read_files
from sentiment.data.tokenizer import encode_corpus
from sentiment.errors import SentimentError
from sentiment.inference import load_predictor
from sentiment.runs.checkpoint import read_checkpoint
from sentiment.runs.folder import HASHED_FILES
from sentiment.runs.record import read_record
from tests.conftest import PROJECT, assert_one_line

fuzz = functools.partial(
    settings,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")),
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
pytestmark = pytest.mark.slow

TEMPORARY = tempfile.TemporaryDirectory()  # atheris has no fixtures
LSTM = PROJECT / "models" / "lstm"
RECIPE = PROJECT / "recipes" / "tokens_100.toml"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
WORDS = st.sampled_from(["epoch", "loss", "acc", "val_loss", "0.5", "nan", "1e999", "", '"', "x"])
LINES = st.lists(st.lists(WORDS, max_size=4).map(",".join), max_size=5).map("\n".join)
NESTED = b"[" * 100_000  # too deep for the stack


@st.composite
def damage(draw, original: bytes):
    """Bytes that were once a file."""
    content = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        end = at + draw(st.integers(0, 9))
        content[at:end] = draw(st.binary(max_size=6))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@st.composite
def change(draw, original: dict):
    """A dictionary of which one value, on any level, is another or is missing."""
    changed = json.loads(json.dumps(original))
    level = changed
    while True:
        key = draw(st.sampled_from(sorted(level)))
        if isinstance(level[key], dict) and level[key] and draw(st.booleans()):
            level = level[key]
            continue
        if draw(st.booleans()):
            level[key] = draw(JSON)
        else:
            del level[key]
        return changed


@functools.cache
def make_folder(name):
    folder = Path(TEMPORARY.name, name)
    folder.mkdir()
    return folder


def copy_run(name):
    """Return a folder with the files of a finished run, without its record."""
    folder = make_folder(name)
    for file in HASHED_FILES:
        if not (folder / file).exists():
            shutil.copy(LSTM / file, folder / file)
    return folder


def read_or_reject(read, *arguments, error=SentimentError):
    """Call a function that returns, or raises an error whose text is one line."""
    try:
        return read(*arguments)
    except error as raised:
        assert_one_line(raised)


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


OPTIONS = ["", "?", "?text=review", "?label=1&positive=2", "?text=\x1b", "?=&&=", "?positive=1,%"]
OPTIONS += ["?positive=nice&negative=,,", "?label=label&negative=0&positive=1,2"]


def read_table(name, content, options):
    path = make_folder(f"table-{name}") / name
    path.write_bytes(content)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        read_or_reject(read_files, f"{path}{options}")
    assert printed.getvalue().replace("\n", "").isprintable()
    for column in (None, "review"):
        read_or_reject(lambda *given: list(predict.read_reviews(*given)), str(path), column)


@given(
    st.one_of(st.binary(), LINES.map(str.encode), damage(b"review,label\nnice,1\nbad,0\n" * 5)),
    st.sampled_from(OPTIONS),
    st.sampled_from(["utf-8", "utf-16"]),
    st.sampled_from(["own.csv", "own.tsv", "own.txt"]),
)
@fuzz()
def test_csv_files(content, options, encoding, name):
    if encoding == "utf-16":
        content = b"\xff\xfe" + content
    read_table(name, content, options)


@given(
    st.one_of(
        damage(b'{"review": "nice", "label": 1}\n{"review": "bad", "label": 0}\n' * 10),
        st.lists(JSON | st.dictionaries(st.sampled_from(["review", "label"]), JSON)).map(
            lambda rows: "\n".join(map(json.dumps, rows)).encode()
        ),
    ),
    st.sampled_from(OPTIONS),
)
@example(NESTED, "")
@fuzz()
def test_json_lines(content, options):
    read_table("own.jsonl", content, options)


@given(
    st.one_of(st.binary(), damage(gzip.compress(b"review,label\nnice,1\nbad,0\n" * 20, mtime=0))),
    st.sampled_from(["own.csv.gz", "own.jsonl.gz", "own.txt.gz"]),
)
@fuzz()
def test_compressed_files(content, name):
    read_table(name, content, "")


def write_npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


LISTS = np.array([[1, 2], [3]] * 10, dtype=object)
NPZ = write_npz(x_train=LISTS, y_train=np.arange(20) % 2, x_test=LISTS, y_test=np.arange(20) % 2)


@given(st.one_of(st.binary(), damage(NPZ)))
@fuzz()
def test_npz_files(content):
    path = make_folder("npz") / "own.npz"
    path.write_bytes(content)
    read_or_reject(read_files, str(path))


@given(st.data())
@fuzz()
def test_npz_files_with_valid_checksums(data):
    with zipfile.ZipFile(io.BytesIO(NPZ)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = data.draw(st.sampled_from(sorted(members)))
    members[name] = data.draw(st.one_of(damage(members[name]), JSON.map(pickle.dumps)))
    path = make_folder("npz_with_checksums") / "own.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    read_or_reject(read_files, str(path))


@given(JSON | st.dictionaries(st.text(max_size=3), st.integers(1, 3)))
@example([1])
@fuzz()
def test_word_indexes(content):
    path = make_folder("word_indexes") / "own.npz"
    path.write_bytes(NPZ)
    path.with_name("imdb_word_index.json").write_text(json.dumps(content))
    read_or_reject(read_files, str(path))


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


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=8))
@fuzz()
def test_folders(contents):
    folder = make_folder("folders")
    for place in ("train/pos", "train/neg"):
        shutil.rmtree(folder / place, ignore_errors=True)
        (folder / place).mkdir(parents=True)
    for number, content in enumerate(contents):
        (folder / ("train/pos", "train/neg")[number % 2] / f"{number}.txt").write_bytes(content)
    read_or_reject(read_files, str(folder))


load_lstm = functools.cache(functools.partial(load_predictor, str(LSTM)))


@given(
    st.lists(st.text() | st.sampled_from(["good", "\x1b[2J", "\udc80", "a" * 9_999]), min_size=1)
)
@fuzz()
def test_texts(texts):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        predict.predict_all(iter(texts), load_lstm(), "text")
    printed = printed.getvalue()
    assert printed.count("\n") == len(texts)
    assert printed.replace("\n", "").isprintable()
    encode_corpus(texts)

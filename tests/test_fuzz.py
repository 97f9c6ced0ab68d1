"""What is read from outside is read or refused in one line, whatever it holds.

``FUZZ_EXAMPLES=5000 python -m pytest tests/test_fuzz.py`` tries more of it.
"""

import functools
import io
import json
import os
import pickle
import shutil
import zipfile

import predict
from sentiment import own_data, runs
from sentiment.checkpoints import read_checkpoint
from sentiment.data import encode_anew
from tests.conftest import PROJECT

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

fuzz = functools.partial(
    settings,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")),
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LSTM = PROJECT / runs.MODELS / "lstm"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
WORDS = st.sampled_from(["epoch", "loss", "acc", "val_loss", "0.5", "nan", "1e999", "", '"', "x"])
LINES = st.lists(st.lists(WORDS, max_size=4).map(",".join), max_size=5).map("\n".join)


@st.composite
def damage(draw, original: bytes):
    """Bytes that were once a file."""
    content = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        end = at + draw(st.integers(0, 9))
        content[at:end] = draw(st.binary(max_size=6))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


def assert_one_line(message):
    assert message and str(message).isprintable(), message


def read_or_refuse(read, *arguments):
    """Call a function that either returns or leaves with one line."""
    try:
        return read(*arguments)
    except (ValueError, SystemExit) as stopped:
        assert_one_line(stopped)


@given(st.one_of(st.binary(), LINES.map(str.encode), damage((LSTM / "history.csv").read_bytes())))
@fuzz()
def test_histories(tmp_path, content):
    (tmp_path / "history.csv").write_bytes(content)
    read_or_refuse(runs.read_run, tmp_path / "history.csv")


@given(JSON | st.dictionaries(st.sampled_from(["loss", "acc", "history"]), JSON))
@fuzz()
def test_histories_in_json(tmp_path, content):
    (tmp_path / "history.json").write_text(json.dumps(content))
    read_or_refuse(runs.read_run, tmp_path / "history.json")


@st.composite
def change_record(draw):
    """A record one of whose values is another, or is missing."""
    record = json.loads((LSTM / "run.json").read_text())
    at = record
    while True:
        key = draw(st.sampled_from(sorted(at)))
        if isinstance(at[key], dict) and draw(st.booleans()):
            at = at[key]
            continue
        if draw(st.booleans()):
            at[key] = draw(JSON)
        else:
            del at[key]
        return json.dumps(record).encode()


@given(st.one_of(change_record(), damage((LSTM / "run.json").read_bytes())))
@example((LSTM / "run.json").read_bytes().replace(b'"sha256": {', b'"sha256": null, "x": {'))
@fuzz()
def test_records(tmp_path, content):
    for name in ("history.csv", "vocabulary.txt", "model.keras"):
        if not (tmp_path / name).exists():
            shutil.copy(LSTM / name, tmp_path / name)
    (tmp_path / "run.json").write_bytes(content)
    read_or_refuse(runs.read_run, tmp_path)
    read_or_refuse(runs.load_run, str(tmp_path))
    read_or_refuse(runs.find_finished, "train_lstm.py", str(tmp_path))


@given(st.one_of(st.binary(), damage((LSTM / "vocabulary.txt").read_bytes()[:3_000])))
@fuzz()
def test_vocabularies(tmp_path, content):
    for name in ("history.csv", "model.keras"):
        if not (tmp_path / name).exists():
            shutil.copy(LSTM / name, tmp_path / name)
    record = json.loads((LSTM / "run.json").read_text())
    record.pop("sha256", None)
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / "vocabulary.txt").write_bytes(content)
    run = read_or_refuse(runs.load_run, str(tmp_path))
    if run:
        assert 0 <= run.predict([run.encode("a good film")])[0] <= 1


@given(
    st.one_of(st.binary(), LINES.map(str.encode), damage(b"review,label\nnice,1\nbad,0\n" * 5)),
    st.sampled_from(["", "?", "?text=review", "?label=1&positive=2", "?text=\x1b", "?=&&="]),
)
@fuzz()
def test_csv_files(tmp_path, content, options):
    (tmp_path / "own.csv").write_bytes(content)
    read_or_refuse(own_data.read, f"{tmp_path / 'own.csv'}{options}")
    read_or_refuse(lambda: list(predict.read_reviews(str(tmp_path / "own.csv"), options or None)))


def write_npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


LISTS = np.array([[1, 2], [3]] * 10, dtype=object)
NPZ = write_npz(x_train=LISTS, y_train=np.arange(20) % 2, x_test=LISTS, y_test=np.arange(20) % 2)


@given(st.one_of(st.binary(), damage(NPZ)))
@fuzz()
def test_npz_files(tmp_path, content):
    (tmp_path / "own.npz").write_bytes(content)
    read_or_refuse(own_data.read, str(tmp_path / "own.npz"))


@given(st.data())
@fuzz()
def test_npz_files_whose_arrays_are_whole(tmp_path, data):
    """Damage behind the checksums, which a file's maker sets as he likes."""
    with zipfile.ZipFile(io.BytesIO(NPZ)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = data.draw(st.sampled_from(sorted(parts)))
    parts[name] = data.draw(st.one_of(damage(parts[name]), JSON.map(pickle.dumps)))
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    read_or_refuse(own_data.read, str(tmp_path / "own.npz"))


@given(st.data())
@fuzz()
def test_checkpoints(tmp_path, data):
    state = np.frombuffer(b'{"script": "train_lstm.py", "history": []}', np.uint8)
    whole = write_npz(state=state, model_0=np.zeros((3, 2)), optimizer_0=np.zeros(()))
    (tmp_path / "checkpoint.npz").write_bytes(data.draw(damage(whole)))
    read_or_refuse(read_checkpoint, tmp_path / "checkpoint.npz")
    read_or_refuse(runs.find_unfinished, "train_lstm.py", str(tmp_path))


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=8))
@fuzz()
def test_folders(tmp_path, contents):
    for place in ("train/pos", "train/neg"):
        shutil.rmtree(tmp_path / place, ignore_errors=True)
        (tmp_path / place).mkdir(parents=True)
    for number, content in enumerate(contents):
        (tmp_path / ("train/pos", "train/neg")[number % 2] / f"{number}.txt").write_bytes(content)
    read_or_refuse(own_data.read, str(tmp_path))


@pytest.fixture(scope="module")
def run():
    return runs.load_run(str(LSTM))


@given(
    st.lists(st.text() | st.sampled_from(["good", "\x1b[2J", "\udc80", "a" * 9_999]), min_size=1)
)
@fuzz()
def test_texts(run, capsys, texts):
    predict.predict_all(iter(texts), run, "text")
    printed = capsys.readouterr().out
    assert printed.count("\n") == len(texts)
    assert printed.replace("\n", "").isprintable()
    encode_anew(texts)

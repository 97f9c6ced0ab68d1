"""What is read from outside is read or refused in one line, whatever it holds.

``FUZZ_EXAMPLES=5000 python -m pytest tests/test_fuzz.py`` tries more of it. So does atheris, which
looks for inputs that reach code no other has reached:

    pip install atheris==3.0.0
    python -m tests.fuzz_with_atheris test_csv_files -max_total_time=60
"""

import contextlib
import functools
import io
import json
import os
import pickle
import shutil
import tempfile
import zipfile
from pathlib import Path

import predict
from sentiment import own_data, runs
from sentiment.checkpoints import read_checkpoint
from sentiment.words import encode_anew
from tests.conftest import PROJECT

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

fuzz = functools.partial(
    settings,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")),
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TEMPORARY = tempfile.TemporaryDirectory()  # atheris knows no fixtures
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


@functools.cache
def make_folder(name):
    folder = Path(TEMPORARY.name, name)
    folder.mkdir()
    return folder


def copy_run(name):
    """A folder with the files of a finished run, but for its record."""
    folder = make_folder(name)
    for file in runs.HASHED_FILES:
        if not (folder / file).exists():
            shutil.copy(LSTM / file, folder / file)
    return folder


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
def test_histories(content):
    path = make_folder("histories") / "history.csv"
    path.write_bytes(content)
    read_or_refuse(runs.read_run, path)


@given(JSON | st.dictionaries(st.sampled_from(["loss", "acc", "history"]), JSON))
@fuzz()
def test_histories_in_json(content):
    path = make_folder("histories_in_json") / "history.json"
    path.write_text(json.dumps(content))
    read_or_refuse(runs.read_run, path)


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
def test_records(content):
    folder = copy_run("records")
    (folder / "run.json").write_bytes(content)
    read_or_refuse(runs.read_run, folder)
    read_or_refuse(runs.load_run, str(folder))
    read_or_refuse(runs.find_finished, "train_lstm.py", str(folder))


@given(st.one_of(st.binary(), damage((LSTM / "vocabulary.txt").read_bytes()[:3_000])))
@fuzz()
def test_vocabularies(content):
    folder = copy_run("vocabularies")
    record = json.loads((LSTM / "run.json").read_text())
    record.pop("sha256", None)
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "vocabulary.txt").write_bytes(content)
    run = read_or_refuse(runs.load_run, str(folder))
    if run:
        assert 0 <= run.predict([run.encode("a good film")])[0] <= 1


@given(
    st.one_of(st.binary(), LINES.map(str.encode), damage(b"review,label\nnice,1\nbad,0\n" * 5)),
    st.sampled_from(["", "?", "?text=review", "?label=1&positive=2", "?text=\x1b", "?=&&="]),
)
@fuzz()
def test_csv_files(content, options):
    path = make_folder("csv") / "own.csv"
    path.write_bytes(content)
    read_or_refuse(own_data.read, f"{path}{options}")
    read_or_refuse(lambda: list(predict.read_reviews(str(path), options or None)))


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
    read_or_refuse(own_data.read, str(path))


@given(st.data())
@fuzz()
def test_npz_files_whose_arrays_are_whole(data):
    """Damage behind the checksums, which a file's maker sets as he likes."""
    with zipfile.ZipFile(io.BytesIO(NPZ)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = data.draw(st.sampled_from(sorted(parts)))
    parts[name] = data.draw(st.one_of(damage(parts[name]), JSON.map(pickle.dumps)))
    path = make_folder("npz_whole") / "own.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    read_or_refuse(own_data.read, str(path))


@given(st.data())
@fuzz()
def test_checkpoints(data):
    state = np.frombuffer(b'{"script": "train_lstm.py", "history": []}', np.uint8)
    whole = write_npz(state=state, model_0=np.zeros((3, 2)), optimizer_0=np.zeros(()))
    path = make_folder("checkpoints") / "checkpoint.npz"
    path.write_bytes(data.draw(damage(whole)))
    read_or_refuse(read_checkpoint, path)
    read_or_refuse(runs.find_unfinished, "train_lstm.py", str(path.parent))


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=8))
@fuzz()
def test_folders(contents):
    folder = make_folder("folders")
    for place in ("train/pos", "train/neg"):
        shutil.rmtree(folder / place, ignore_errors=True)
        (folder / place).mkdir(parents=True)
    for number, content in enumerate(contents):
        (folder / ("train/pos", "train/neg")[number % 2] / f"{number}.txt").write_bytes(content)
    read_or_refuse(own_data.read, str(folder))


load_lstm = functools.cache(functools.partial(runs.load_run, str(LSTM)))


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
    encode_anew(texts)

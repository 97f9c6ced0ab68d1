"""Tables, folders of texts, and texts from elsewhere are read or rejected in one line."""

import contextlib
import functools
import gzip
import io
import json
import shutil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import predict
from sentiment.data.files import read_files
from sentiment.data.tokenizer import encode_corpus
from sentiment.inference import load_predictor
from tests.conftest import PROJECT
from tests.fuzzing import JSON, LINES, NESTED, damage, fuzz, make_folder, read_or_reject

pytestmark = pytest.mark.slow

LSTM = PROJECT / "models" / "lstm"

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

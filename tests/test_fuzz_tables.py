"""Tables, folders of texts, and texts from elsewhere are read or rejected in one line."""

import contextlib
import functools
import gzip
import io
import itertools
import json
import os
import shutil
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import predict
from sentiment.data.dataset import load_data
from sentiment.data.files import MINIMUM_OF_A_LABEL, MINIMUM_REVIEWS, read_files
from sentiment.data.tokenizer import encode_corpus
from sentiment.errors import SentimentError
from sentiment.inference import load_predictor
from tests.conftest import PROJECT, assert_one_line
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
@example(b"odd\x1fheader", "", "utf-8", "own.csv")
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


def read_cached():
    """Read reviews whose cache has a folder of its own; return all that is read and printed."""
    folder = make_folder("cached")
    with (
        mock.patch.dict(os.environ, SENTIMENT_CACHE=str(folder / "cache")),
        contextlib.redirect_stdout(io.StringIO()) as printed,
    ):
        reviews = read_files(f"{folder / 'own.csv'}?positive=1&negative=0")
    texts = [[reviews.words[token] for token in tokens] for tokens in reviews.sequences]
    arrays = (reviews.sequences.hashes, reviews.labels, reviews.is_test)
    return texts, [array.tolist() for array in arrays], printed.getvalue()


@functools.cache
def make_cache():
    """Return the folder of a cache, the content of its files, and what is read from it."""
    rows = "".join(f"film {i};{i % 3}\n" for i in range(90))
    (make_folder("cached") / "own.csv").write_text(f"text;label\n;0\n{rows}")
    expected = read_cached()
    (folder,) = (make_folder("cached") / "cache").glob("own.csv-*")
    return folder, {path.name: path.read_bytes() for path in folder.iterdir()}, expected


@given(st.data())
@fuzz()
def test_caches(data):
    folder, contents, expected = make_cache()
    for name in data.draw(st.lists(st.sampled_from(sorted(contents)), min_size=1, max_size=2)):
        content = data.draw(damage(contents[name]) | st.sampled_from([*contents.values(), None]))
        if content is None:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).write_bytes(content)
    assert read_cached() == expected
    assert read_cached() == expected


NUMBERS = st.integers(0, 12) | st.integers(5, 30)
split_names = itertools.count()


@st.composite
def labeled_reviews(draw, prefix):
    """Reviews of which each occurs once or more often, with one label or both, as pairs."""
    rows = [
        (f"{prefix} {label} {copies} {i}", label if label is not None else copy % 2)
        for label in (0, 1, None)
        for copies in (1, 3)
        for i in range(draw(NUMBERS))
        for copy in range(max(copies, 2) if label is None else copies)
    ]
    return draw(st.randoms(use_true_random=False)).sample(rows, len(rows))


def has_enough(reviews):
    """Return whether there are enough different reviews with one label."""
    labels: dict[str, set] = {}
    for text, label in reviews:
        labels.setdefault(text, set()).add(label)
    counts = [list(labels.values()).count({label}) for label in (0, 1)]
    return sum(counts) >= MINIMUM_REVIEWS and min(counts) >= MINIMUM_OF_A_LABEL


@given(labeled_reviews("film"), st.none() | labeled_reviews("movie"), st.randoms())
@fuzz()
def test_splits(reviews, test, generator):
    folder = make_folder(f"split-{next(split_names)}")
    if test:  # which may have reviews of the training set
        test += generator.sample(reviews, generator.randint(0, len(reviews) // 2))
    for subset, rows in (("train", reviews), ("test", test or [])):
        for i, (text, label) in enumerate(rows):
            (folder / subset / ("neg", "pos")[label]).mkdir(parents=True, exist_ok=True)
            (folder / subset / ("neg", "pos")[label] / f"{i}.txt").write_text(text)
    tested = {text for text, _ in test or []}
    left = [review for review in reviews if review[0] not in tested]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            data = load_data(str(folder), 1_000, 100)
    except SentimentError as error:
        assert_one_line(error)
        assert not (has_enough(left) and has_enough(test or left)), error
    else:
        assert has_enough(left) and has_enough(test or left)
        sets = (data.x_train, data.x_validation, data.x_test)
        assert sum(map(len, sets)) == len(left) + len(test or [])
        for one, other in itertools.combinations(sets, 2):
            assert not set(one.hashes[one.positions]) & set(other.hashes[other.positions])
        assert all(set(y) == {0, 1} for y in (data.y_train, data.y_validation, data.y_test))
    finally:
        shutil.rmtree(folder)


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

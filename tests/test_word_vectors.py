"""A file that holds no word vectors is one line, however long its lines are."""

import gzip
import os

import numpy as np
import pytest

from sentiment.data.tables import MAXIMUM_CHARACTERS
from sentiment.data.tokenizer import SPECIAL_TOKENS
from sentiment.data.word_vectors import read_word_vectors
from sentiment.errors import SentimentError
from tests.conftest import assert_one_line

VOCABULARY = [*SPECIAL_TOKENS, "film", "good"]


def fail(path):
    with pytest.raises(SentimentError) as raised:
        read_word_vectors(path, VOCABULARY, 2)
    assert_one_line(raised.value)
    assert str(path) in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"film 1 2\n" + b"x " * (MAXIMUM_CHARACTERS // 2 + 1), ["line 2", "10,000,000"]),
        (b"x" * (MAXIMUM_CHARACTERS + 1), ["line 1", "10,000,000"]),
        (b"film 1 " + b"x" * 200_000, ["line 1", "xx…"]),
        (b"film 1 nan\n", ["line 1", "2 numbers"]),
        (b"film 1 2 3\n", ["3 dimensions"]),
        (b"other 1 2\n", ["no vector"]),
    ],
)
def test_other_files_are_one_line(tmp_path, content, words, suffix):
    path = tmp_path / f"vectors{suffix}"
    path.write_bytes(gzip.compress(content, 1) if suffix else content)
    assert all(word in fail(path) for word in words)


def test_what_is_no_file_is_one_line(tmp_path):
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "regular file" in fail(tmp_path / "pipe")
    for name in ("gone", "n" * 300, "."):
        fail(tmp_path / name)


def test_vectors_are_read(tmp_path):
    (tmp_path / "vectors").write_text("2 2\nfilm 1 2\nGood 3 4\n")
    found = read_word_vectors(tmp_path / "vectors", VOCABULARY, 2)
    np.testing.assert_array_equal([found[4], found[5]], [[1, 2], [3, 4]])

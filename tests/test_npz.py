"""An .npz file in the layout of Keras' imdb.npz gives Keras' word ids; others are rejected."""

import json

import numpy as np
import pytest

from sentiment.data.dataset import load_data
from sentiment.data.tokenizer import OOV_ID, SPECIAL_TOKENS, START_ID
from sentiment.errors import SentimentError
from tests.conftest import assert_one_line
from tests.test_files import describe

FEW = [[1]] * 4
FEW_LABELS = [0, 1, 0, 1]


@pytest.fixture
def ranks():
    """100 different reviews as ranks of words."""
    generator = np.random.default_rng(0)
    return [[*generator.integers(1, 50, 6).tolist(), 50 + i] for i in range(100)]


@pytest.fixture
def path(ranks, tmp_path):
    x, y = np.empty(len(ranks), dtype=object), np.arange(len(ranks)) % 2
    x[:] = ranks
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:40], y_test=y[:40])
    return tmp_path / "own.npz"


def test_ranks_become_the_ids_of_keras(ranks, path, capsys):
    data = load_data(str(path), 60, 100)
    assert len(data.x_test) == 40 and data.vocabulary == list(SPECIAL_TOKENS)
    expected = {(START_ID, *(r + 3 if r + 3 < 60 else OOV_ID for r in review)) for review in ranks}
    assert {tuple(sequence) for sequence in [*data.x_train, *data.x_test]} <= expected
    assert "imdb_word_index.json" in capsys.readouterr().out  # so its words are not known


def test_the_words_are_those_of_the_word_index(ranks, path):
    words = {f"word{rank}": rank for rank in range(1, 150)}
    path.with_name("imdb_word_index.json").write_text(json.dumps(words))
    train, *_ = describe(load_data(str(path), 1_000, 100))
    texts = {" ".join(f"word{rank}" for rank in review) for review in ranks}
    assert {text.removeprefix("<start> ") for text, _ in train} <= texts


@pytest.mark.parametrize("index", ['{"word1": 1}', '{"word1": 7}', "[1]", "{"])
def test_a_word_index_of_other_reviews_is_one_line(path, index):
    path.with_name("imdb_word_index.json").write_text(index)
    with pytest.raises(SentimentError, match=r"own\.npz") as raised:
        load_data(str(path), 1_000, 100)
    assert_one_line(raised.value)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (None, "own.npz"),
        ({"x_train": FEW, "y_train": FEW_LABELS}, "x_test"),
        ({"x_train": FEW, "y_train": [0]}, "y_train"),
        ({"x_train": FEW, "y_train": [0, 1, 2, 3]}, "y_train"),
        ({"x_train": [["a"]], "y_train": [0]}, "x_train"),
        ({"x_train": [[-1]], "y_train": [0]}, "x_train"),
        ({"x_train": FEW, "y_train": FEW_LABELS, "x_test": [[]], "y_test": [0]}, "few"),
    ],
)
def test_an_unusable_file_is_one_line(tmp_path, arrays, expected):
    path = tmp_path / "own.npz"
    if arrays is None:
        path.write_bytes(b"PK no")
    elif expected == "x_test":
        np.savez(path, **arrays)
    else:
        np.savez(path, **{"x_test": FEW, "y_test": FEW_LABELS, **arrays})
    with pytest.raises(SentimentError) as raised:
        load_data(str(path), 100, 100)
    assert_one_line(raised.value)
    assert expected in str(raised.value) and str(path) in str(raised.value)

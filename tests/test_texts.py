"""The texts of reviews are found again at their positions, in every kind of data."""

import json

import numpy as np
import pytest

from sentiment.data import load_data, texts
from sentiment.data.files import read_files
from sentiment.data.imdb import read_package
from sentiment.data.sequences import LabeledReviews, Sequences, concatenate
from sentiment.data.texts import read_texts
from sentiment.data.tokenizer import SPECIAL_TOKENS, tokenize
from sentiment.errors import SentimentError
from tests.conftest import assert_one_line
from tests.test_files import write_csv, write_folder

TEXTS = [f"Film no. {i}: a {'Great' if i % 2 else 'dull'} one,\nétrange!" for i in range(30)]
LABELS = np.arange(30) % 2


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_npz(path, has_words):
    words = sorted({word for text in TEXTS for word in tokenize(text)})
    ranks = np.empty(len(TEXTS), dtype=object)
    ranks[:] = [[words.index(word) + 1 for word in tokenize(text)] for text in TEXTS]
    empty = np.empty(0, dtype=object)
    np.savez(path, x_train=ranks, y_train=LABELS, x_test=empty, y_test=np.empty(0, dtype=int))
    if has_words:
        index = {word: rank for rank, word in enumerate(words, 1)}
        path.with_name("imdb_word_index.json").write_text(json.dumps(index))


def take(source, *positions):
    return read_files(source).sequences.take(np.array(positions, dtype=int))


def test_the_package():
    positions = [24_999, 0, 17]
    reviews = Sequences(np.array([]), np.array([]), np.array([]), np.array(positions))
    assert read_texts("imdb-package", reviews) == [read_package()[0][i] for i in positions]


def test_a_table_with_blank_rows(tmp_path):
    rows = [row for text in TEXTS for row in (text, "", "  ")]
    write_csv(tmp_path / "own.csv", rows, np.repeat(LABELS, 3))
    assert read_texts("own.csv", take("own.csv", 29, 3, 0)) == [TEXTS[29], TEXTS[3], TEXTS[0]]
    assert read_texts("own.csv", take("own.csv")) == []


def test_a_table_with_options_and_skipped_labels(tmp_path):
    rows, stars = [*TEXTS, "Skipped."], [*(4 * LABELS + 1), 3]
    columns = ("opinion", "stars")
    write_csv(tmp_path / "own.csv", rows[::-1], stars[::-1], columns, spelled="012345")
    source = "own.csv?text=opinion&positive=5&negative=1"
    assert read_texts(source, take(source, *range(30))) == TEXTS[::-1]


def test_a_folder(tmp_path):
    write_folder(tmp_path / "own", TEXTS, LABELS)
    write_folder(tmp_path / "own", [f"Test: {text}" for text in TEXTS], LABELS, "test")
    reviews = read_files("own")
    found = read_texts("own", reviews.sequences)
    for text, sequence, label, is_test in zip(
        found, reviews.sequences, reviews.labels, reviews.is_test, strict=True
    ):
        assert [reviews.words[i] for i in sequence[1:]] == tokenize(text)
        assert text.startswith("Test: ") == is_test
        assert ("Great" in text) == label


@pytest.mark.parametrize("has_words", [True, False])
def test_word_ids_become_words_or_numbers(tmp_path, capsys, has_words):
    write_npz(tmp_path / "ids.npz", has_words)
    chosen = take("ids.npz", 7, 2)
    capsys.readouterr()
    found = read_texts("ids.npz", chosen)
    if has_words:
        assert found == [" ".join(tokenize(TEXTS[i])) for i in (7, 2)]
    else:
        assert all(word[0] == "#" and int(word[1:]) > 3 for text in found for word in text.split())
    assert not capsys.readouterr().out


def test_the_positions_are_those_of_a_data_set(tmp_path):
    write_csv(tmp_path / "own.csv", [TEXTS[0], *TEXTS], [LABELS[0], *LABELS])
    data = load_data("own.csv", 1_000, 1_000)
    for x in (data.x_train, data.x_validation, data.x_test):
        for text, sequence in zip(read_texts("own.csv", x), x, strict=True):
            known = set(data.vocabulary)
            words = [word if word in known else "<unknown>" for word in tokenize(text)]
            assert [data.vocabulary[i] for i in sequence[1:]] == words


def test_keras_imdb_is_shown_as_words(monkeypatch):
    ids = concatenate([np.array([1, 4, 5], dtype=np.int32), np.array([1, 5], dtype=np.int32)])
    reviews = LabeledReviews("x", ids, np.zeros(2), np.zeros(2), [*SPECIAL_TOKENS, "the", "end"])
    monkeypatch.setattr(texts, "read_keras_imdb", lambda: reviews)
    assert read_texts("imdb", ids.take([1, 0])) == ["end", "the end"]

    def fail():
        raise EOFError("no connection")

    monkeypatch.setattr(texts, "read_keras_imdb", fail)
    with pytest.raises(SentimentError, match="no connection") as raised:
        read_texts("imdb", ids)
    assert_one_line(raised.value)


def test_reviews_that_are_gone_or_have_changed_are_one_line(tmp_path):
    write_csv(tmp_path / "own.csv", TEXTS, LABELS)
    reviews = take("own.csv", 3, 29)
    for rows in (TEXTS[:29], [f"{text} More." for text in TEXTS]):
        write_csv(tmp_path / "own.csv", rows, LABELS[: len(rows)])
        with pytest.raises(SentimentError, match=r"own.csv.*changed") as raised:
            read_texts("own.csv", reviews)
        assert_one_line(raised.value)
    (tmp_path / "own.csv").unlink()
    with pytest.raises(SentimentError, match=r"own.csv.*No such file") as raised:
        read_texts("own.csv", reviews)
    assert_one_line(raised.value)

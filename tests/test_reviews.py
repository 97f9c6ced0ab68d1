"""One's own reviews are encoded once, and read from a file afterwards."""

import errno
from dataclasses import replace

from sentiment import own_data, reviews, training
from sentiment.batches import Batches
from sentiment.data import load_data, read_package
from sentiment.reviews import choose_evenly, join
from sentiment.words import PADDING, START, split_words
from tests.test_own_data import describe, write_csv, write_folder

import keras
import numpy as np
import pytest


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A CSV file of real reviews, the texts in it, and an empty cache."""
    monkeypatch.setattr(reviews, "CACHE", tmp_path / "cache")
    texts, labels = read_package()
    texts, labels = texts[::100], labels[::100]
    return write_csv(tmp_path / "own.csv", texts, labels), texts


def count_encoded(monkeypatch):
    """Return a list that grows with each text that is split into words."""
    split = []
    monkeypatch.setattr(
        reviews, "split_words", lambda text: split.append(text) or split_words(text)
    )
    return split


def list_cache():
    return [path for path in reviews.CACHE.iterdir() if not path.name.startswith(".lock-")]


def test_the_cache_holds_the_words_of_each_review(own):
    path, texts = own
    data = own_data.read(str(path))
    assert len(data.reviews) == len(texts)
    for tokens, text in zip(data.reviews, texts, strict=True):
        assert tokens[0] == START and tokens.dtype == np.int32
        assert [data.words[token] for token in tokens[1:]] == split_words(text)
    assert isinstance(data.reviews.tokens.base, np.memmap)


def test_reviews_are_encoded_once_and_again_when_they_change(own, monkeypatch):
    path, texts = own
    split = count_encoded(monkeypatch)
    first = describe(load_data(str(path), 2_000, 100))
    assert len(split) == len(texts)
    assert describe(load_data(str(path), 2_000, 100)) == first
    assert load_data(str(path), 50, 10).x_train[0].max() < 50
    assert len(split) == len(texts)
    with path.open("a") as file:
        file.write("one more,positive\n")
    load_data(str(path), 2_000, 100)
    assert len(split) == 2 * len(texts) + 1
    assert len(list_cache()) == 1


def test_what_is_encoded_is_read_without_waiting(own, monkeypatch):
    path, _ = own
    expected = describe(load_data(str(path), 2_000, 100))
    monkeypatch.setattr(reviews, "_lock", lambda _: pytest.fail("it waits"))
    assert describe(load_data(str(path), 2_000, 100)) == expected


def test_a_changed_file_in_a_folder_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(reviews, "CACHE", tmp_path / "cache")
    split = count_encoded(monkeypatch)
    write_folder(tmp_path / "own", [f"review {i}" for i in range(40)], np.arange(40) % 2)
    for _ in range(2):
        own_data.read(str(tmp_path / "own"))
    assert len(split) == 40
    (tmp_path / "own" / "train" / "pos" / "1_7.txt").write_text("another review")
    own_data.read(str(tmp_path / "own"))
    assert len(split) == 80


@pytest.mark.parametrize("kept", [0, 0.99])
@pytest.mark.parametrize(
    "name",
    ["tokens", "words", "offsets.npy", "hashes.npy", "labels.npy", "tests.npy", "about.json"],
)
def test_a_damaged_cache_is_made_anew(own, monkeypatch, name, kept):
    path, texts = own
    expected = describe(load_data(str(path), 2_000, 100))
    (file,) = reviews.CACHE.glob(f"*/{name}")
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    split = count_encoded(monkeypatch)
    assert describe(load_data(str(path), 2_000, 100)) == expected
    assert len(split) == len(texts)


def test_what_breaks_off_leaves_nothing(own, monkeypatch):
    path, _ = own
    with path.open("a") as file:
        file.write("one more,neither\n")
    with pytest.raises(SystemExit, match="has the label 'neither'"):
        own_data.read(str(path))
    assert list_cache() == []

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", refuse)
    path.write_text(path.read_text().replace("neither", "positive"))
    with pytest.raises(SystemExit, match=r"Can't write .*own\.csv-.*: No space left on device$"):
        own_data.read(str(path))
    assert list_cache() == []


def test_a_folder_that_cannot_be_made_is_one_line(own, monkeypatch):
    path, _ = own
    monkeypatch.setattr(reviews, "CACHE", path / "cache")
    with pytest.raises(SystemExit, match=r"Can't write .*: Not a directory"):
        own_data.read(str(path))


def test_reviews_in_one_array_are_the_sequences_that_they_were_joined_from():
    sequences = [np.arange(i % 7 + 1, dtype=np.int32) + i for i in range(50)]
    joined = join(sequences)
    chosen = joined.take(np.array([3, 30, 4]))
    for found, position in zip(chosen, (3, 30, 4), strict=True):
        np.testing.assert_array_equal(found, sequences[position], strict=True)
    assert chosen.lengths.tolist() == [4, 3, 5]
    assert len(np.unique(joined.hashes)) == 50 and joined[10:12].hashes is joined.hashes
    for batches in zip(Batches(joined, None, 8), Batches(sequences, None, 8), strict=True):
        np.testing.assert_array_equal(*(x for (x,) in batches))


@pytest.mark.parametrize("in_front", [False, True])
@pytest.mark.parametrize("maximum_tokens", [None, 4])
def test_they_are_padded_as_keras_pads(in_front, maximum_tokens):
    sequences = [np.arange(i % 7 + 1, dtype=np.int32) + i + 1 for i in range(50)]
    ids = np.random.default_rng(0).permutation(99).astype(np.int32) + 1
    ids[PADDING] = PADDING
    joined = replace(join(sequences), ids=ids, maximum_tokens=maximum_tokens)
    chosen = np.array([6, 49, 3])
    for width in (3, 9):
        expected = keras.utils.pad_sequences(
            [ids[sequences[i]][-(maximum_tokens or 9) :] for i in chosen],
            maxlen=width,
            padding="pre" if in_front else "post",
        )
        np.testing.assert_array_equal(joined.pad(chosen, width, in_front), expected, strict=True)


def test_few_are_all_chosen_and_many_evenly():
    assert choose_evenly("abc", 3) == ["a", "b", "c"]
    assert choose_evenly(range(1_001), 3) == [0, 500, 1_000]


def test_large_data_are_told_apart_by_their_hashes(own, monkeypatch):
    monkeypatch.setattr(training, "REVIEWS_HASHED_WHOLE", 10)
    data = load_data(str(own[0]), 2_000, 100)
    before = training._hash_data(data)
    assert training._hash_data(load_data(str(own[0]), 2_000, 100)) == before
    data.x_train.positions[0] = data.x_train.positions[1]
    assert training._hash_data(data) != before

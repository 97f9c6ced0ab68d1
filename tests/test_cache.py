"""A user's reviews are encoded once, and read from the cache afterwards."""

import errno
import io
import json
import os
import shutil

import filelock
import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress

from sentiment.data import cache, encoding
from sentiment.data.dataset import load_data
from sentiment.data.files import read_files
from sentiment.data.imdb import read_package
from sentiment.data.tokenizer import START_ID, normalize, tokenize
from sentiment.errors import SentimentError
from sentiment.paths import cache_folder
from tests.conftest import assert_one_line
from tests.test_files import describe, write_csv, write_folder


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def reviews():
    texts, labels = read_package()
    return texts[::100], labels[::100]


@pytest.fixture
def own(reviews, tmp_path):
    """A CSV file of real reviews, and the texts in it."""
    texts, labels = reviews
    return write_csv(tmp_path / "own.csv", texts, labels), texts


@pytest.fixture
def encoded(monkeypatch):
    """A list that grows with each text that is encoded."""
    texts = []
    monkeypatch.setattr(encoding, "tokenize", lambda text: texts.append(text) or tokenize(text))
    return texts


def list_cache():
    return [path for path in cache_folder().iterdir() if not path.name.startswith(".lock-")]


def test_the_cache_holds_the_words_of_each_review(own):
    path, texts = own
    reviews = read_files(str(path))
    assert len(reviews.sequences) == len(texts)
    for tokens, text in zip(reviews.sequences, texts, strict=True):
        assert tokens[0] == START_ID and tokens.dtype == np.int32
        assert [reviews.words[token] for token in tokens[1:]] == tokenize(normalize(text))
    assert isinstance(reviews.sequences.tokens.base, np.memmap)  # so they may exceed the memory


def test_reviews_are_encoded_once_and_again_when_they_change(own, encoded):
    path, texts = own
    first = describe(load_data(str(path), 2_000, 100))
    assert len(encoded) == len(texts)
    assert describe(load_data(str(path), 2_000, 100)) == first
    assert load_data(str(path), 50, 10).x_train[0].max() < 50
    assert len(encoded) == len(texts)
    with path.open("a") as file:
        file.write("one more,positive\n")
    load_data(str(path), 2_000, 100)
    assert len(encoded) == 2 * len(texts) + 1
    assert len(list_cache()) == 1


def test_what_is_unusual_is_reported_at_each_start(tmp_path, capsys, encoded):
    rows = "".join(f"film {i};{i % 3}\n" for i in range(90))
    (tmp_path / "own.csv").write_bytes(b"text;label\nna\xefve;0\n;0\n" + rows.encode())
    reports = []
    for _ in range(2):
        load_data(f"{tmp_path / 'own.csv'}?positive=2&negative=0", 2_000, 100)
        reports.append(capsys.readouterr().out)
    assert len(encoded) == 61 and reports[0] == reports[1]
    for words in ("semicolons", "30 reviews skipped", "1 review with", "1 empty review "):
        assert words in reports[1]


def test_a_cache_is_read_without_its_lock(own, monkeypatch):
    path, _ = own
    expected = describe(load_data(str(path), 2_000, 100))
    monkeypatch.setattr(filelock.FileLock, "acquire", lambda _: pytest.fail("it waits"))
    assert describe(load_data(str(path), 2_000, 100)) == expected


def test_a_changed_file_in_a_folder_is_noticed(tmp_path, encoded):
    write_folder(tmp_path / "own", [f"review {i}" for i in range(40)], np.arange(40) % 2)
    for _ in range(2):
        read_files(str(tmp_path / "own"))
    assert len(encoded) == 40
    (tmp_path / "own" / "train" / "pos" / "1_7.txt").write_text("another review")
    read_files(str(tmp_path / "own"))
    assert len(encoded) == 80


@pytest.mark.parametrize("kept", [0, 0.99])
@pytest.mark.parametrize(
    "name",
    [*encoding.FILES, cache.FINGERPRINT, cache.HASHES],
)
def test_a_damaged_cache_is_written_again(own, encoded, name, kept):
    path, texts = own
    expected = describe(load_data(str(path), 2_000, 100))
    (file,) = cache_folder().glob(f"*/{name}")
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    encoded.clear()
    assert describe(load_data(str(path), 2_000, 100)) == expected
    assert len(encoded) == len(texts)


def edit(name, change):
    """Return a function that changes an array or a file of text in a cache folder."""

    def edit_file(folder):
        path = folder / name
        if name.endswith(".npy"):
            np.save(path, change(np.load(path)), allow_pickle=True)
        else:
            path.write_bytes(change(path.read_bytes()))

    return edit_file


def replace(name, make):
    """Return a function that puts something else in the place of a file or, if '', the folder."""

    def replace_file(folder):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(path)

    return replace_file


def edit_about(change):
    return edit("about.json", lambda content: json.dumps(change(json.loads(content))).encode())


def make_pipe(path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    os.mkfifo(path)


def occupy_unfinished(folder):
    shutil.rmtree(folder)
    (folder.parent / f".unfinished-{folder.name}").write_text("a file")


@pytest.mark.parametrize(
    "damage",
    [
        edit("tokens", lambda content: content[:12] + bytes([content[12] ^ 1]) + content[13:]),
        edit("words", lambda content: b"\n".join(content.split(b"\n")[::-1])),
        edit("words", lambda content: content + "ï".encode("latin-1")),
        edit("offsets.npy", lambda offsets: np.append(offsets[:-1][::-1], offsets[-1])),
        edit("offsets.npy", lambda offsets: offsets.astype(float)),
        edit("labels.npy", lambda labels: 1 - labels),
        edit("labels.npy", lambda labels: labels * np.nan),
        edit("labels.npy", lambda labels: labels * 0 + 7),
        edit("labels.npy", lambda labels: labels.astype(object)),
        edit("tests.npy", lambda tests: np.arange(len(tests)) % 2 == 0),
        edit("about.json", lambda _: b"[" * 100_000),
        edit_about(lambda about: [about]),
        edit_about(lambda _: None),
        edit_about(lambda about: {**about, "empty": 5}),
        edit_about(lambda about: {**about, "notes": 7}),
        *(replace(name, make_pipe) for name in ("tokens", "labels.npy", "about.json")),
        *(replace(name, os.mkdir) for name in ("tokens", "words", "about.json")),
        replace("", lambda path: path.write_text("a file")),
        replace("", lambda path: path.symlink_to("nowhere")),
        replace("", make_pipe),
        occupy_unfinished,
    ],
)
def test_a_changed_cache_is_written_again(tmp_path, capsys, damage):
    path = write_csv(tmp_path / "own.csv", [*map(str, range(40)), ""], np.arange(41) % 2)
    expected = describe(load_data(str(path), 2_000, 100)), capsys.readouterr().out
    (folder,) = list_cache()
    damage(folder)
    assert (describe(load_data(str(path), 2_000, 100)), capsys.readouterr().out) == expected


@pytest.mark.parametrize("name", ["n" * 236, "n" * 251, "x" + "é" * 125, os.fsdecode(b"a\xff")])
def test_a_file_of_any_name_is_cached(tmp_path, encoded, name):
    path = write_csv(tmp_path / f"{name}.csv", map(str, range(40)), np.arange(40) % 2)
    for _ in range(2):
        read_files(str(path))
    assert len(encoded) == 40


def test_the_progress_bar_shows_no_control_characters(tmp_path, monkeypatch):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True)
    monkeypatch.setattr(encoding, "progress_bar", lambda: Progress(console=console))
    path = tmp_path / "[blink]\x1b]0;title\x07.csv"
    read_files(str(write_csv(path, map(str, range(40)), np.arange(40) % 2)))
    assert "Encoding" in shown.getvalue()
    assert "\x1b]" not in shown.getvalue() and "\x1b[5m" not in shown.getvalue()


def test_a_failure_leaves_nothing_in_the_cache(own, monkeypatch):
    path, _ = own
    with path.open("a") as file:
        file.write("one more,neither\n")
    with pytest.raises(SentimentError, match="'neither'"):
        read_files(str(path))
    assert list_cache() == []

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", refuse)
    path.write_text(path.read_text().replace("neither", "positive"))
    with pytest.raises(SentimentError, match=r"own\.csv.*No space left on device") as raised:
        read_files(str(path))
    assert_one_line(raised.value)
    assert list_cache() == []


def test_a_cache_that_cannot_be_created_is_one_line(own, monkeypatch):
    path, _ = own
    monkeypatch.setenv("SENTIMENT_CACHE", str(path / "cache"))
    with pytest.raises(SentimentError, match="Not a directory") as raised:
        read_files(str(path))
    assert_one_line(raised.value)


def test_a_cache_that_is_no_folder_is_named(own, tmp_path):
    for make in (lambda file: file.symlink_to("nowhere"), lambda file: file.write_text("a file")):
        (tmp_path / "cache").unlink(missing_ok=True)
        make(tmp_path / "cache")
        with pytest.raises(SentimentError, match=r"cache: .*SENTIMENT_CACHE") as raised:
            read_files(str(own[0]))
        assert_one_line(raised.value)

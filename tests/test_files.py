"""A user's own reviews are read from a folder or a CSV file, or rejected with a one-line error."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from sentiment.data.dataset import load_data
from sentiment.data.files import read_files
from sentiment.data.imdb import read_package
from sentiment.data.tables import MAXIMUM_CHARACTERS
from sentiment.data.tokenizer import OOV_ID, SPECIAL_TOKENS, START_ID, lookup, normalize, tokenize
from sentiment.errors import SentimentError
from tests.conftest import CONSTANTS, assert_one_line, run_script


@pytest.fixture(scope="module")
def reviews():
    """300 real reviews as texts with their labels, balanced."""
    texts, labels = read_package()
    chosen = [*np.flatnonzero(labels == 0)[:150], *np.flatnonzero(labels == 1)[:150]]
    return [texts[i] for i in chosen], labels[chosen]


def write_csv(
    path, texts, labels, columns=("review", "sentiment"), spelled=("negative", "positive")
):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(
            (text, spelled[int(label)]) for text, label in zip(texts, labels, strict=True)
        )
    return path


def write_folder(path, texts, labels, subset="train"):
    for i, (text, label) in enumerate(zip(texts, labels, strict=True)):
        folder = path / subset / ("neg", "pos")[int(label)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}_7.txt").write_text(text, encoding="utf-8")
    return path


def describe(data):
    """Return the reviews of each set as words, sorted, with their labels."""
    return [
        sorted(
            (" ".join(data.vocabulary[i] for i in sequence), float(label))
            for sequence, label in zip(
                getattr(data, f"x_{subset}"), getattr(data, f"y_{subset}"), strict=True
            )
        )
        for subset in ("train", "validation", "test")
    ]


def test_a_folder_and_a_csv_file_of_the_same_reviews_give_the_same_sets(reviews, tmp_path):
    texts, labels = reviews
    order = np.argsort([f"{int(label)}{i}_7.txt" for i, label in enumerate(labels)])  # as files
    folder = load_data(str(write_folder(tmp_path / "own", texts, labels)), 2_000, 100)
    ordered = [texts[i] for i in order], labels[order]
    table = load_data(str(write_csv(tmp_path / "own.csv", *ordered)), 2_000, 100)
    assert describe(folder) == describe(table)
    assert [len(subset) for subset in describe(table)] == [210, 30, 60]
    assert folder.source == "own" and table.source == "own.csv"
    assert np.mean(table.y_validation) == np.mean(table.y_test) == 0.5


def test_the_vocabulary_comes_from_the_training_set_alone(reviews, tmp_path):
    texts, labels = reviews
    texts = [f"{text} only{i}here" for i, text in enumerate(texts)]
    data = load_data(str(write_csv(tmp_path / "own.csv", texts, labels)), 100_000, 100_000)
    ids = {word: i for i, word in enumerate(data.vocabulary)}
    assert sum(f"only{i}here" in ids for i in range(300)) == len(data.x_train) == 210
    for x, has_oov in ((data.x_train, False), (data.x_validation, True), (data.x_test, True)):
        assert all((sequence == OOV_ID).any() == has_oov for sequence in x)
        assert all(sequence[0] == START_ID and sequence.dtype == np.int32 for sequence in x)
    words = [tokenize(normalize(text)) for text in texts]
    encoded = {(START_ID, *(lookup(word, ids) for word in review)) for review in words}
    assert {tuple(sequence) for sequence in [*data.x_train, *data.x_test]} <= encoded
    counts = np.bincount(np.concatenate(data.x_train))[len(SPECIAL_TOKENS) :]
    assert (np.diff(counts) <= 0).all() and counts.min() > 0


def test_a_folder_with_its_own_test_set(reviews, tmp_path):
    texts, labels = reviews
    write_folder(tmp_path / "own", texts[:100] + texts[200:], np.append(labels[:100], labels[200:]))
    write_folder(tmp_path / "own", texts[100:200], labels[100:200], subset="test")
    write_folder(tmp_path / "own", ["not labelled"], [1], subset="train/unsup")
    data = load_data(str(tmp_path / "own"), 2_000, 100)
    assert (len(data.x_train), len(data.x_validation), len(data.x_test)) == (180, 20, 100)
    assert "held-out" not in data.test_name


@pytest.mark.parametrize(
    ("columns", "spelled", "options"),
    [
        (("text", "label"), "01", ""),
        (("Review", "Sentiment"), ("NEG", "Pos"), ""),
        (("title", "mood"), ("sad", "glad"), "?text=title&label=mood&positive=glad&negative=sad"),
    ],
)
def test_columns_and_labels_have_usual_names_or_are_given(
    reviews, tmp_path, columns, spelled, options
):
    usual = load_data(str(write_csv(tmp_path / "a.csv", *reviews)), 2_000, 100)
    path = write_csv(tmp_path / "b.csv", *reviews, columns, spelled)
    assert describe(load_data(f"{path}{options}", 2_000, 100)) == describe(usual)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "train/pos"),
        (b"", "empty"),
        (b"a,b\nx,1\n", "a, b"),
        (b"text\nx\n", "one column"),
        (b"text,label\n", "0 positive and 0 negative"),
        (b"text,label\nx,maybe\n", "line 2"),
        (b"text,label\nx,maybe\n", "'maybe'"),
        (b"text,label\n" + b"x,1\n" * 50, "1 positive and 0 negative"),
        (b"text,label\n" + b"x,1\ny,0\n" * 50, "1 positive and 1 negative"),
        (b"text,label\n" + b",1\n,0\n" * 50, "0 positive and 0 negative"),
        (b"\x00\xff\xfe" * 9, "own.csv"),
    ],
)
def test_unusable_reviews_are_one_line(tmp_path, content, expected):
    path = tmp_path / "own.csv"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(SentimentError) as raised:
        load_data(str(path), 100, 100)
    assert_one_line(raised.value)
    assert expected in str(raised.value) and str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("?text=none", "none"),
        ("?label=none", "none"),
        ("?colour=x", "colour"),
        (f"?text={'n' * 90_000}", "n… the columns are review, sentiment"),
        (f"?{'n' * 90_000}=x", "n… use text, label"),
        (f"?positive={'n' * 90_000}&negative={'n' * 90_000}", "n… is both"),
    ],
)
def test_a_wrong_name_after_the_path_is_one_line(reviews, tmp_path, options, named):
    path = write_csv(tmp_path / "own.csv", *reviews)
    with pytest.raises(SentimentError) as raised:
        load_data(f"{path}{options}", 100, 100)
    assert_one_line(raised.value)
    assert "own.csv" in str(raised.value)
    assert all(part in str(raised.value) for part in named.split("… "))


def test_unusual_reviews_are_reported_with_counts(tmp_path, capsys):
    rows = "text,label\n" + "".join(f"review {i},{int(i % 10 == 0)}\n" for i in range(100))
    rows += "same,0\nsame,0\nboth,0\nboth,1\n,1\n   ,0\n"
    (tmp_path / "own.csv").write_text(rows)
    data = load_data(str(tmp_path / "own.csv"), 100, 100)
    lines = [line.lower() for line in capsys.readouterr().out.splitlines()]
    for words in (
        ("2 empty reviews",),
        ("2 duplicate reviews",),
        ("1 review ", "both labels"),
        ("104 reviews",),
        ("11 positive", "93 negative", "89.4%"),
    ):
        assert any(all(word in line for word in words) for line in lines), words
    assert len(data.x_validation) == 10 and data.y_validation.sum() == 1


def test_what_is_unusual_is_said_of_the_set_it_is_in(reviews, tmp_path, capsys):
    texts, labels = reviews
    write_folder(tmp_path / "own", texts, labels)
    write_folder(
        tmp_path / "own",
        ["", *(["the same"] * 25), *(f"good {i}" for i in range(15)), *texts[:5]],
        [0] + [1] * 40 + [0] * 5,
        "test",
    )
    read_files(str(tmp_path / "own"))
    lines = [line.lower() for line in capsys.readouterr().out.splitlines()]
    for words in (
        ("1 empty review ",),
        ("5 training reviews", "test set"),
        ("295 training reviews",),
        ("45 test reviews",),
        ("24 duplicate test reviews",),
        ("40 positive", "5 negative test reviews"),
    ):
        assert any(all(word in line for word in words) for line in lines), words


def make_pipe(path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_pipe, "regular file"),
        (Path.mkdir, "regular file"),
        (lambda path: path.symlink_to(os.devnull), "regular file"),
        (lambda path: path.symlink_to("nowhere"), "No such file"),
        (lambda path: (path.touch(), os.truncate(path, MAXIMUM_CHARACTERS + 1)), "10,000,000"),
    ],
)
def test_a_text_that_cannot_be_read_is_named(tmp_path, make, words):
    write_folder(tmp_path / "own", [f"review {i}" for i in range(40)], np.arange(40) % 2)
    make(tmp_path / "own" / "train" / "pos" / "other.txt")
    with pytest.raises(SentimentError, match=words) as raised:
        load_data(str(tmp_path / "own"), 100, 100)
    assert_one_line(raised.value)
    assert "other.txt" in str(raised.value)


def test_a_text_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_folder(tmp_path / "own", [f"review {i}" for i in range(40)], np.arange(40) % 2)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SentimentError, match=r"Permission denied.*\.txt") as raised:
        load_data(str(tmp_path / "own"), 100, 100)
    assert_one_line(raised.value)


@pytest.mark.parametrize(
    "name", ["n" * 300 + ".csv", "n" * 300, "a\0b.csv", "a\udfff.csv", "gone/own.csv"]
)
def test_a_name_that_is_no_file_is_one_line(tmp_path, name):
    with pytest.raises(SentimentError) as raised:
        load_data(str(tmp_path / name), 100, 100)
    assert_one_line(raised.value)


def test_the_source_has_a_printable_name(reviews, tmp_path):
    path = write_csv(tmp_path / "a\x1b[2Jb.csv", *reviews)
    assert load_data(str(path), 100, 100).source.isprintable()


@pytest.mark.slow
def test_training_on_own_reviews(reviews, tmp_path):
    path = write_csv(tmp_path / "own.csv", *reviews)
    options = ("--name=own", f"--data={path}", "--epochs=1", "--maximum-tokens=20")
    finished = run_script("train_lstm.py", *CONSTANTS, *options, folder=tmp_path)
    assert finished.returncode == 0, finished.stderr
    record = json.loads((tmp_path / "models" / "own" / "run.json").read_text())
    assert record["data"]["source"] == "own.csv" and record["data"]["training"] == 210

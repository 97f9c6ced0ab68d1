"""One's own reviews are read in three formats, and what is wrong with them is said in a line."""

import csv
import io
import json
import os
import pickle
import zipfile

import train_lstm
from sentiment.data import load_data, read_package
from sentiment.words import SPECIAL_WORDS, START, UNKNOWN, encode
from tests.conftest import run_script

import numpy as np
import pytest


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


def write_folder(path, texts, labels, part="train"):
    for i, (text, label) in enumerate(zip(texts, labels, strict=True)):
        folder = path / part / ("neg", "pos")[int(label)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}_7.txt").write_text(text, encoding="utf-8")
    return path


def write_npz(path, ranks, labels):
    x = np.empty(len(ranks), dtype=object)
    x[:] = ranks
    np.savez(path, x_train=x, y_train=labels, x_test=x[:40], y_test=labels[:40])
    return path


def describe(data):
    """Return each part as a set of reviews in words with their labels."""
    return [
        sorted(
            (" ".join(data.vocabulary[i] for i in sequence), float(label))
            for sequence, label in zip(
                getattr(data, f"x_{part}"), getattr(data, f"y_{part}"), strict=True
            )
        )
        for part in ("train", "validation", "test")
    ]


def test_a_folder_and_a_csv_of_the_same_reviews_give_the_same_parts(reviews, tmp_path):
    texts, labels = reviews
    order = np.argsort(
        [f"{int(label)}{i}_7.txt" for i, label in enumerate(labels)]
    )  # as files sort
    folder = load_data(str(write_folder(tmp_path / "own", texts, labels)), 2_000, 100)
    ordered = [texts[i] for i in order], labels[order]
    table = load_data(str(write_csv(tmp_path / "own.csv", *ordered)), 2_000, 100)
    assert describe(folder) == describe(table)
    assert [len(part) for part in describe(table)] == [210, 30, 60]
    assert folder.source == "own" and table.source == "own.csv"
    assert np.mean(table.y_validation) == np.mean(table.y_test) == 0.5


def test_the_vocabulary_comes_from_the_training_part_alone(reviews, tmp_path):
    texts, labels = reviews
    texts = [f"{text} only{i}here" for i, text in enumerate(texts)]
    data = load_data(str(write_csv(tmp_path / "own.csv", texts, labels)), 100_000, 100_000)
    ids = {word: i for i, word in enumerate(data.vocabulary)}
    assert sum(f"only{i}here" in ids for i in range(300)) == len(data.x_train) == 210
    for x, has_unknown in ((data.x_train, False), (data.x_validation, True), (data.x_test, True)):
        assert all((sequence == UNKNOWN).any() == has_unknown for sequence in x)
        assert all(sequence[0] == START and sequence.dtype == np.int32 for sequence in x)
    encoded = {encode(text, ids).tobytes() for text in texts}
    assert {sequence.tobytes() for sequence in [*data.x_train, *data.x_test]} <= encoded
    counts = np.bincount(np.concatenate(data.x_train))[len(SPECIAL_WORDS) :]
    assert (np.diff(counts) <= 0).all() and counts.min() > 0


def test_a_folder_with_a_test_part(reviews, tmp_path):
    texts, labels = reviews
    write_folder(tmp_path / "own", texts[:100] + texts[200:], np.append(labels[:100], labels[200:]))
    write_folder(tmp_path / "own", texts[100:200], labels[100:200], part="test")
    write_folder(tmp_path / "own", ["not labelled"], [1], part="train/unsup")
    data = load_data(str(tmp_path / "own"), 2_000, 100)
    assert (len(data.x_train), len(data.x_validation), len(data.x_test)) == (180, 20, 100)
    assert data.test_name == "reviews of its test part"


@pytest.mark.parametrize(
    ("columns", "spelled", "options"),
    [
        (("text", "label"), "01", ""),
        (("Review", "Sentiment"), ("NEG", "Pos"), ""),
        (("title", "mood"), ("sad", "glad"), "?text=title&label=mood&positive=glad&negative=sad"),
    ],
)
def test_columns_and_labels_are_found_or_named(reviews, tmp_path, columns, spelled, options):
    usual = load_data(str(write_csv(tmp_path / "a.csv", *reviews)), 2_000, 100)
    path = write_csv(tmp_path / "b.csv", *reviews, columns, spelled)
    assert describe(load_data(f"{path}{options}", 2_000, 100)) == describe(usual)


def test_a_keras_npz_gives_keras_ids(tmp_path):
    generator = np.random.default_rng(0)
    ranks = [[*generator.integers(1, 50, 6).tolist(), 50 + i] for i in range(100)]
    path = write_npz(tmp_path / "own.npz", ranks, np.arange(100) % 2)
    data = load_data(str(path), 60, 100)
    assert len(data.x_test) == 40 and data.vocabulary == list(SPECIAL_WORDS)
    expected = {(START, *(r + 3 if r + 3 < 60 else UNKNOWN for r in review)) for review in ranks}
    assert {tuple(sequence) for sequence in [*data.x_train, *data.x_test]} <= expected
    words = {f"word{rank}": rank for rank in range(1, 150)}
    (tmp_path / "imdb_word_index.json").write_text(json.dumps(words))
    data = load_data(str(path), 1_000, 100)
    texts = {" ".join(f"word{rank}" for rank in review) for review in ranks}
    (tmp_path / "imdb_word_index.json").write_text(json.dumps({"word1": 1}))
    with pytest.raises(SystemExit, match="ranks of words that imdb_word_index"):
        load_data(str(path), 1_000, 100)
    assert {text.removeprefix("<start> ") for text, _ in describe(data)[0]} <= texts


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("place", ["array", "element"])
def test_a_hostile_npz_is_refused_and_runs_nothing(tmp_path, place):
    made = tmp_path / "made"
    path = tmp_path / "own.npz"
    x = np.empty(40, dtype=object)
    x[:] = [[i] for i in range(40)]
    if place == "element":
        x[3] = Hostile(made)
    np.savez(path, x_train=x, y_train=np.arange(40) % 2, x_test=x, y_test=np.arange(40) % 2)
    if place == "array":
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|O", "fortran_order": False, "shape": (1,)}
        )
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x_train.npy", header.getvalue() + pickle.dumps(Hostile(made)))
    with pytest.raises(SystemExit, match=r"refused, for it would run (posix|nt)\.system"):
        load_data(str(path), 100, 100)
    assert not made.exists()


def bad_csv(content):
    def write(path):
        path.with_suffix(".csv").write_bytes(content)
        return path.with_suffix(".csv")

    return write


def no_npz(path):
    path.with_suffix(".npz").write_bytes(b"PK no")
    return path.with_suffix(".npz")


def bad_npz(**arrays):
    def write(path):
        np.savez(path.with_suffix(".npz"), **arrays)
        return path.with_suffix(".npz")

    return write


ROWS = "".join(f"review {i},{('neg', 'pos')[i % 2]}\n" for i in range(40))
FEW = [[1]] * 4


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: path.mkdir() or path, "no files train/pos/*.txt"),
        (bad_csv(b""), "empty"),
        (bad_csv(b"a,b\nx,1\n"), "none of its columns a, b is called review or text"),
        (bad_csv(b"text\nx\n"), "only one column"),
        (bad_csv(b"text,label\n"), "0 positive and 0 negative reviews are too few"),
        (bad_csv(b"text,label\nx,maybe\n"), "line 2 has the label 'maybe'"),
        (
            bad_csv(b"text,label\n" + b"x,1\n" * 50),
            "50 positive and 0 negative reviews are too few",
        ),
        (bad_csv(b"text,label\n" + b",1\n,0\n" * 50), "0 positive and 0 negative"),
        (bad_csv(b"\x00\xff\xfe" * 9), "can't be used"),
        (no_npz, "no whole .npz"),
        (bad_npz(x_train=FEW, y_train=[0, 1, 0, 1]), "x_test"),
        (bad_npz(x_train=FEW, y_train=[0], x_test=FEW, y_test=[0]), "don't belong together"),
        (
            bad_npz(x_train=FEW, y_train=[0, 1, 2, 3], x_test=FEW, y_test=[0, 0, 0, 0]),
            "other than 0 and 1",
        ),
        (bad_npz(x_train=[["a"]], y_train=[0], x_test=FEW, y_test=[0]), "other things than"),
        (bad_npz(x_train=[[-1]], y_train=[0], x_test=FEW, y_test=[0]), "other things than"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, write, said):
    with pytest.raises(SystemExit) as stopped:
        load_data(str(write(tmp_path / "own")), 100, 100)
    assert said in stopped.value.code and "\n" not in stopped.value.code


def test_what_is_odd_is_said_with_counts(tmp_path, capsys):
    rows = "text,label\n" + "".join(f"review {i},{int(i % 10 == 0)}\n" for i in range(100))
    rows += "same,0\nsame,0\nboth,0\nboth,1\n,1\n   ,0\n"
    (tmp_path / "own.csv").write_text(rows)
    data = load_data(str(tmp_path / "own.csv"), 100, 100)
    said = capsys.readouterr().out
    assert "2 empty reviews are left out" in said
    assert "2 reviews stand more than once" in said
    assert "1 reviews stand there as positive and as negative" in said
    assert "104 reviews are few" in said
    assert "11 positive and 93 negative reviews: always giving the same answer" in said
    assert len(data.x_validation) == 10 and data.y_validation.sum() == 1


def test_training_on_own_reviews(reviews, tmp_path):
    path = write_csv(tmp_path / "own.csv", *reviews)
    done = run_script(
        "train_lstm.py", "--data", path, "--epochs", "1", "--maximum-tokens", "20", folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "models" / "lstm" / "run.json").read_text())
    assert record["data"]["source"] == "own.csv" and record["data"]["training"] == 210


def test_a_missing_path_is_bad_usage(tmp_path):
    done = run_script("train_lstm.py", "--data", tmp_path / "none.csv", folder=tmp_path)
    assert done.returncode == 2
    (message,) = done.stderr.splitlines()
    assert "an existing folder, .csv or .npz file" in message
    assert train_lstm.DATA == "auto"

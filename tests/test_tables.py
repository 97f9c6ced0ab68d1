"""Tables in every format give the reviews of a plain CSV file, in training and in prediction."""

import csv
import gzip
import io
import json
import os
import threading
import tracemalloc

import numpy as np
import pytest

import predict
from sentiment.data.dataset import load_data
from sentiment.data.imdb import read_package
from sentiment.data.tables import MAXIMUM_CHARACTERS, open_table
from sentiment.errors import SentimentError
from tests.conftest import assert_one_line, run_script
from tests.test_files import describe, write_csv, write_folder

# Name, delimiter and encoding of CSV files. Excel's "Unicode text" is UTF-16 with tabs.
CSV_FILES = [
    ("own.csv", ",", "utf-8-sig"),
    ("own.csv", ";", "utf-8"),
    ("own.CSV", "\t", "utf-8"),
    ("own.csv", "|", "utf-8"),
    ("own.tsv", "\t", "utf-8"),
    ("unicode.csv", "\t", "utf-16"),
    ("big-endian.csv", ";", "utf-16-be"),
]
JSON_LINES = ["own.jsonl", "own.ndjson", "own.json"]


@pytest.fixture(scope="module")
def reviews():
    """Real reviews, some with what a table must quote, and their labels."""
    texts, labels = read_package()
    chosen = [*np.flatnonzero(labels == 0)[:30], *np.flatnonzero(labels == 1)[:30]]
    odd = ['naïve; "quoted", twice|\tthrice', "two\n\nlines", "电影 太好了"]
    return [*odd, *(texts[i] for i in chosen)], [0.0, 1.0, 0.0, *labels[chosen]]


@pytest.fixture(scope="module")
def expected(reviews, tmp_path_factory):
    """The sets of a plain CSV file."""
    folder = tmp_path_factory.mktemp("expected")
    return describe(load_data(str(write_csv(folder / "own.csv", *reviews)), 2_000, 100))


def write_rows(path, texts, labels, delimiter=",", encoding="utf-8"):
    content = io.StringIO(newline="")
    writer = csv.writer(content, delimiter=delimiter)
    writer.writerow(["id", "review", "sentiment"])
    writer.writerows(
        (i, text, int(label)) for i, (text, label) in enumerate(zip(texts, labels, strict=True))
    )
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    write_bytes(path, (mark + content.getvalue()).encode(encoding))


def write_json_lines(path, texts, labels):
    values = (bool, int, lambda label: ("neg", "pos")[int(label)])
    rows = (
        {"id": None, "review": text, "sentiment": values[i % 3](label)}
        for i, (text, label) in enumerate(zip(texts, labels, strict=True))
    )
    write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def write_bytes(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(("name", "delimiter", "encoding"), CSV_FILES)
def test_csv_files(reviews, expected, tmp_path, capsys, name, delimiter, encoding, suffix):
    path = tmp_path / (name + suffix)
    write_rows(path, *reviews, delimiter, encoding)
    assert describe(load_data(str(path), 2_000, 100)) == expected
    notes = [line for line in capsys.readouterr().out.splitlines() if "separated" in line]
    assert len(notes) == (delimiter != "," and "tsv" not in name)
    assert list(predict.read_reviews(str(path), None)) == reviews[0]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("name", JSON_LINES)
def test_json_lines(reviews, expected, tmp_path, name, suffix):
    path = tmp_path / (name + suffix)
    write_json_lines(path, *reviews)
    assert describe(load_data(str(path), 2_000, 100)) == expected
    assert list(predict.read_reviews(str(path), "review")) == reviews[0]


def test_text_files_have_one_review_per_line(tmp_path):
    lines = ["a good film", "", "电影, naïve"]
    for name, encoding in (("r.txt", "utf-8-sig"), ("r.txt", "utf-16"), ("r.txt.gz", "utf-8")):
        write_bytes(tmp_path / name, "\r\n".join(lines).encode(encoding))
        assert list(predict.read_reviews(str(tmp_path / name), None)) == lines


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reviews.tsv.gz", "reviews.jsonl"])
def test_predict_reads_the_column_of_a_table(reviews, tmp_path, name):
    write = write_json_lines if "json" in name else write_rows
    write(tmp_path / name, *reviews, *(["\t"] if "tsv" in name else []))
    arguments = ["--file", name, "--column", "review", "--run", "lstm", "--format", "csv"]
    done = run_script("predict.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["review"] for row in rows] == reviews[0]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "x", "label": 1}\n\n[1]\n', ["line 3", "JSON"]),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": \n', ["line 2", "JSON"]),
        ("a.json", b'[{"text": "x", "label": 1}]\n', ["line 1", "JSON"]),
        ("a.jsonl", b'{"mine": "x", "label": 1}\n', ["mine, label", "text="]),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": "x"}\n', ["line 2", "no label"]),
        ("a.jsonl", b'{"text": "x", "label": []}\n', ["line 1", "[]"]),
        ("a.csv", b"text,label\nx,1\ngood, but long,1\n", ["line 3", "quotes"]),
        ("a.csv", b"\n\ntext,label\nx,1\nx\n", ["line 5", "no label"]),
        ("a.csv", b"text,label\nx,1\n", ["too few"]),
        ("a.csv", b"PK\x03\x04\x14\x00\x06", ["not a text file"]),
        ("a.csv.gz", b"text,label\nx,1\n", [".gz"]),
        ("a.csv.gz", gzip.compress(b"text,label\nx,1\n", mtime=0)[:-9], [".gz"]),
        ("a.xlsx", b"PK", [".csv", ".jsonl"]),
        ("a.csv", b'text,label\nx,1\n"x,1\nx,0\n', ["line 3", "quote"]),
        ("a.csv", b'text,label\nx,1\n\ny,"1\nx,0', ["line 4", "quote"]),
        ("a.csv", b'"text,label\nx,1\n', ["line 1", "quote"]),
        ("a.csv", b"sep=;\n", ["empty"]),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"label": ' + b"[" * 90_000, ["line 2", "JSON"]),
        ("a.jsonl", b'{"text": "x", "label": ' + b"8" * 5_000 + b"}", ["line 1", "88…"]),
        (
            "a.csv",
            ",".join(f"column {i}" for i in range(100_000)).encode() + b"\nx,1",
            ["column 0, column 1, ", "text="],
        ),
        ("a.csv", b"c" * 200_000 + b",label\nx,1", ["cc…, label", "text="]),
        ("a.csv", b"c" * 200_000, ["cc…", "one column"]),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SentimentError) as raised:
        load_data(str(tmp_path / name), 100, 100)
    assert_one_line(raised.value)
    assert all(word in str(raised.value) for word in [name, *words]), raised.value


LONG = b"long" * (MAXIMUM_CHARACTERS // 4 + 1)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"text,label\n" + LONG + b",1\n", ["line 2"]),
        (
            "a.csv",
            b'text,label\nx,1\n"x,1\n' + (b"line, 1" * 1_000 + b"\n") * 1_500,
            ["line 3", "quotes"],
        ),
        ("a.csv", b"text,label\n" + (b'"' + b"a" * 1_000 + b'\n",') * 12_000, ["line 2", "quotes"]),
        ("a.csv", LONG, ["line 1"]),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": "' + LONG, ["line 2"]),
    ],
)
def test_a_row_that_may_fill_the_memory_is_one_line(tmp_path, name, content, words):
    """They would have been read, whatever the length, or rejected as too few reviews."""
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(content, 1))
    for read in (lambda: load_data(str(path), 100, 100), lambda: read_all(path, "text")):
        tracemalloc.start()
        with pytest.raises(SentimentError) as raised:
            read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert_one_line(raised.value)
        assert all(word in str(raised.value) for word in [name, "10,000,000", *words]), raised.value
        assert peak < 15 * MAXIMUM_CHARACTERS


def read_all(path, column=None):
    return list(predict.read_reviews(str(path), column))


def test_a_text_line_of_any_length_is_one_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"short\n" + LONG)
    with pytest.raises(SentimentError, match=r"a\.txt.*line 2 .*10,000,000") as raised:
        read_all(tmp_path / "a.txt")
    assert_one_line(raised.value)


def test_bytes_of_any_kind_are_not_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"text " * 500 + bytes(range(256)))
    with pytest.raises(SentimentError, match=r"a\.txt.*not a text file"):
        read_all(tmp_path / "a.txt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_prediction_reads_a_pipe_and_training_does_not(tmp_path):
    for name in ("a.csv", "a.jsonl", "a.npz"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(SentimentError, match="regular file") as raised:
            load_data(str(tmp_path / name), 100, 100)
        assert_one_line(raised.value)
    path = tmp_path / "a.csv"
    threading.Thread(target=lambda: path.write_text("review\ngood\nbad\n")).start()
    assert read_all(path) == ["good", "bad"]


def test_a_number_of_any_length_is_read(reviews, expected, tmp_path):
    path = tmp_path / "own.jsonl"
    write_json_lines(path, *reviews)
    path.write_text(path.read_text().replace('"id": null', f'"id": {"1" * 5_000}'))
    assert describe(load_data(str(path), 2_000, 100)) == expected


def test_commas_in_a_single_column_belong_to_the_text(tmp_path):
    (tmp_path / "own.csv").write_text('review\ngood, but long\n"quoted, too"\nodd\x1f\n')
    texts = list(predict.read_reviews(str(tmp_path / "own.csv"), None))
    assert texts == ["good, but long", "quoted, too", "odd\x1f"]


def test_bytes_that_are_not_utf_8_are_counted_in_training_as_in_prediction(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    texts = [f"film {i} na{'ï' if i < 7 else 'i'}ve" for i in range(40)]
    write_rows(tmp_path / "own.csv", texts, np.arange(40) % 2, encoding="latin-1")
    write_folder(tmp_path / "own", texts, np.arange(40) % 2)
    for path in tmp_path.glob("own/*/*/*.txt"):
        path.write_bytes(path.read_text(encoding="utf-8").encode("latin-1"))
    counts = []
    for source in ("own.csv", "own"):
        load_data(source, 100, 100)
        counts += [line for line in capsys.readouterr().out.splitlines() if "UTF-8" in line]
    done = run_script("predict.py", "--run", "lstm", "--file", "own.csv", folder=tmp_path)
    counts += [line for line in done.stderr.splitlines() if "UTF-8" in line]
    assert len(counts) == 3 and len(set(counts)) == 1 and "7 reviews" in counts[0]


@pytest.mark.parametrize("name", ["own.csv", "own.tsv.gz", "own.jsonl", "own.jsonl.gz"])
def test_one_row_at_a_time_is_in_memory(tmp_path, name):
    texts = [f"{i} " + "long " * 400 for i in range(5_000)]
    write = write_json_lines if "json" in name else write_rows
    write(tmp_path / name, texts, np.zeros(len(texts)))
    size = sum(map(len, texts))
    del texts
    tracemalloc.start()
    with open_table(tmp_path / name) as table:
        assert sum(len(text) for (text,) in table.read("review")) == size
        assert table.position() == (tmp_path / name).stat().st_size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 10


def test_excels_unicode_text_and_its_first_line_are_read(tmp_path):
    path = tmp_path / "excel.txt"
    path.write_bytes("review\tsentiment\nGut.\tpositive\n".encode("utf-16"))
    with open_table(path) as table:
        assert list(table.read("review", "sentiment")) == [("Gut.", "positive")]
    path = tmp_path / "excel.csv"
    path.write_bytes(b"sep=;\nreview;sentiment\nGood.;positive\n")
    with open_table(path) as table:
        assert list(table.read("review", "sentiment")) == [("Good.", "positive")]

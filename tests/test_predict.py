"""A trained run reads new text exactly as its training read its reviews."""

import csv
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras.src.datasets import imdb

import predict
import train_cnn_lstm
import train_lstm
from sentiment.data import load_data
from sentiment.data.imdb import read_package
from sentiment.data.tokenizer import encode, encode_corpus
from sentiment.errors import SentimentError
from sentiment.inference import load_predictor
from tests.conftest import (
    CONSTANTS,
    PROJECT,
    assert_one_line,
    average_words,
    run_untraced,
)
from tests.test_files import write_csv, write_folder

BUNDLED = PROJECT / "models"
DATA_OF_RUNS = {
    "lstm_package": "imdb-package",
    "lstm_csv": "own.csv",
    "cnn_lstm_pre": "own.csv",
    "lstm_folder": "own",
    "lstm_npz": "imdb.npz",
    "lstm_keras": "imdb",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the runs that come with the project."""
    folder = tmp_path_factory.mktemp("bundled")
    shutil.copytree(BUNDLED, folder / "models")
    return folder


@pytest.fixture(scope="module")
def package():
    """The texts and labels of the package."""
    return read_package()


@pytest.fixture(scope="module")
def trained(package, tmp_path_factory):
    """A folder with reviews in all formats, and a short run on each."""
    folder = tmp_path_factory.mktemp("trained")
    texts, labels = (column[::5] for column in package)
    write_csv(folder / "own.csv", texts, labels)
    write_folder(folder / "own", texts, labels)
    write_keras_files(folder, texts, labels)
    with pytest.MonkeyPatch.context() as changed:
        changed.chdir(folder)
        # Keras checks the hash of what it downloads, so the download itself is replaced.
        changed.setattr(imdb, "get_file", lambda fname, **_: fname)
        run_untraced(changed)
        average_words(changed)
        for name, source in DATA_OF_RUNS.items():
            script, _, kind = name.rpartition("_")
            arguments = [*CONSTANTS, "--data", source, "--name", name, "--vocabulary-size", "5000"]
            arguments += ["--maximum-tokens", "30", "--padding", "pre" if kind == "pre" else "post"]
            arguments += ["--lstm-units", "8", "--epochs", "1", "--batch-size", "500", "--no-test"]
            {"lstm": train_lstm, "cnn_lstm": train_cnn_lstm}[script].main(arguments)
    return folder


def write_keras_files(folder, texts, labels):
    """Write reviews as `keras.datasets.imdb` stores them, a fifth of them for the test."""
    sequences, vocabulary = encode_corpus(texts)
    ranks = np.empty(len(sequences), dtype=object)
    ranks[:] = [(sequence[1:] - 3).tolist() for sequence in sequences]
    is_test = np.arange(len(ranks)) % 5 == 0
    np.savez(
        folder / "imdb.npz",
        x_train=ranks[~is_test],
        y_train=labels[~is_test].astype(int),
        x_test=ranks[is_test],
        y_test=labels[is_test].astype(int),
    )
    words = {word: rank for rank, word in enumerate(vocabulary[4:], 1)}
    (folder / "imdb_word_index.json").write_text(json.dumps(words))


@pytest.fixture
def run_predict(folder, monkeypatch, capsys):
    """A function that runs predict.py and returns what it printed to stdout and to stderr."""

    def run(*arguments, folder=folder):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
        capsys.readouterr()
        predict.main()
        return capsys.readouterr()

    return run


def read_rows(output):
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA_OF_RUNS)
def test_text_gets_the_probabilities_of_the_training_data(
    package, trained, name, monkeypatch, run_predict
):
    monkeypatch.chdir(trained)
    monkeypatch.setattr(imdb, "get_file", lambda fname, **_: fname)
    constants = json.loads((trained / "models" / name / "run.json").read_text())["constants"]
    data = load_data(constants["DATA"], 5_000, 30)
    ids = {word: i for i, word in enumerate(data.vocabulary)}
    texts = package[0][::5]
    if constants["DATA"] == "imdb-package":
        texts = [package[0][i] for i in data.x_test.positions[:1_000]]
    text_of = {encode(text, ids)[-30:].tobytes(): text for text in texts}
    # Others are encoded differently: what is typed is normalized.
    sequences = [sequence for sequence in data.x_test[:1_000] if sequence.tobytes() in text_of]
    assert len(sequences) > 900
    lines = [text_of[sequence.tobytes()].replace("\n", " ") for sequence in sequences]
    (trained / "reviews.txt").write_text("\n".join(lines))
    arguments = ["--run", name, "--file", "reviews.txt", "--format", "json"]
    output = run_predict(*arguments, folder=trained).out
    model = keras.saving.load_model(trained / "models" / name / "model.keras")
    padded = keras.utils.pad_sequences(sequences, 30, padding=constants["PADDING"])
    expected = model.predict(padded, verbose=0)[:, 0]
    predicted = [row["probability"] for row in read_rows(output)]
    np.testing.assert_allclose(predicted, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["lstm", "cnn_lstm"])
def test_bundled_models_load_and_predict(name, monkeypatch, run_predict):
    monkeypatch.chdir(PROJECT)
    good, bad = "A wonderful film, moving and superbly acted.", "A dull, awful waste of two hours."
    output = run_predict("--run", name, "--format", "json", good, bad, folder=PROJECT).out
    assert [row["label"] for row in read_rows(output)] == ["positive", "negative"]


def test_formats_and_sources_of_reviews_agree(folder, tmp_path, run_predict):
    reviews = ["So good, so fine", 'A "bad" film', ""]
    (tmp_path / "r.txt").write_bytes("\ufeff".encode() + "\r\n".join(reviews).encode() + b"\r\n")
    with (tmp_path / "r.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "mine"], *enumerate(reviews)])
    common = ["--run", "lstm", "--format"]
    rows = read_rows(run_predict(*common, "json", *reviews).out)
    assert [row["review"] for row in rows] == reviews
    assert rows[2]["note"] == "no words"
    for arguments in (
        ["--file", tmp_path / "r.txt"],
        ["--file", tmp_path / "r.csv", "--column", "mine"],
        ["--run", folder / "models" / "lstm", *reviews],
    ):
        assert read_rows(run_predict(*common, "json", *arguments).out) == rows
    table = list(csv.DictReader(io.StringIO(run_predict(*common, "csv", *reviews).out)))
    assert [row["review"] for row in table] == reviews
    assert [float(row["probability"]) for row in table] == [row["probability"] for row in rows]


def test_any_text_gets_a_prediction(tmp_path, run_predict):
    texts = {
        b"": "no words",
        b"...!?": "no words",
        "\N{HORIZONTAL ELLIPSIS}\N{ZERO WIDTH SPACE}".encode(): "no words",
        "\N{SLIGHTLY SMILING FACE} \N{SLIGHTLY SMILING FACE}".encode(): "no known word",
        "Ein wunderbarer Streifen voller Überraschungen".encode(): "known",
        b"not bad at all": "",
        b"<br /><br />great<br />great": "",
        b"great " * 100_000: "",
        b"a great film \xff\xfe indeed": "",
        b"\x1b[31mgreat\x07": "",
    }
    (tmp_path / "r.txt").write_bytes(b"\n".join(texts) + b"\n")
    arguments = ["--run", "lstm", "--file", tmp_path / "r.txt"]
    output, errors = run_predict(*arguments, "--format", "json")
    assert "1 review with bytes that are not UTF-8" in errors
    for row, note in zip(read_rows(output), texts.values(), strict=True):
        assert note in row["note"] or row["note"] == "unsure"
        assert 0 <= row["probability"] <= 1
    shown = run_predict(*arguments).out
    assert shown.count("\n") == len(texts) and "\x1b" not in shown and "\x07" not in shown


def test_a_file_larger_than_one_chunk_is_predicted_in_order(tmp_path, run_predict, monkeypatch):
    monkeypatch.setattr(predict, "REVIEWS_IN_MEMORY", 70)
    lines = [f"film {i} was {'good' if i % 2 else 'bad'}" for i in range(150)]
    (tmp_path / "r.txt").write_text("\n".join(lines))
    arguments = ["--run", "lstm", "--format", "json", "--file", tmp_path / "r.txt"]
    output, errors = run_predict(*arguments)
    assert [row["review"] for row in read_rows(output)] == lines
    assert errors.count("\n") == 1  # a progress bar is for terminals only


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["--file", "none.txt"], 1, "none.txt"),
        (["--file", "own.csv", "--column", "x"], 1, "'x'; the columns are review, sentiment"),
        (["--run", "none", "x"], 1, "'none' in models/"),
        (["--run", "x" * 300, "x"], 1, "there is no run"),
        (["x", "--file", "own.csv"], 2, "--file"),
        (["--explain", "x", "y"], 2, "--explain"),
        (["--explain", "x", "--output", "x.doc"], 2, ".png, .svg, .pdf"),
        (["x", "--output", "x.png"], 2, "--explain"),
        (["x", "--format", "xml"], 2, "xml"),
        (["--explain", "..."], 1, "no word"),
        (["good", "own.csv"], 2, '--file "own.csv"'),
        (["--file", "own.md", "--column", "x"], 2, ".jsonl"),
        (["--file", "empty.txt"], 1, "empty.txt contains no"),
        (["--file", "header.csv"], 1, "header.csv contains no"),
        (["--file", "header.csv", "--format", "csv"], 1, "header.csv contains no"),
        (["--file", "nothing.csv"], 1, "empty"),
        (["--file", "table.xlsx"], 1, "not a text file"),
        (["--file", "list.jsonl"], 1, "line 2"),
        (["--file", "cut.csv.gz"], 1, ".gz"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder, run_predict, capsys, arguments, status, expected):
    write_csv(folder / "own.csv", ["good"], [1])
    for name, content in {
        "empty.txt": b"",
        "header.csv": b"review,sentiment\n",
        "nothing.csv": b"",
        "table.xlsx": b"PK\x03\x04\x14\x00\x06",
        "list.jsonl": b'{"review": "good"}\n[1]\n',
        "cut.csv.gz": gzip.compress(b"review\n" + os.urandom(9_999))[:5_000],
    }.items():
        (folder / name).write_bytes(content)
    with pytest.raises(SentimentError, match=re.escape(expected)) as failure:
        run_predict(*arguments)
    assert failure.value.status == status and not capsys.readouterr().out
    assert_one_line(failure.value)


def test_damaged_and_malicious_runs_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SentimentError, match="no finished run in models/"):
        load_predictor("best")
    for name in ("truncated", "lambda", "words", "nothing"):
        run = shutil.copytree(folder / "models" / "lstm", tmp_path / "models" / name)
        # An attacker makes the hashes fit.
        record = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**record, "sha256": {}}))
    model = tmp_path / "models" / "truncated" / "model.keras"
    model.write_bytes(model.read_bytes()[:-1_000])
    inputs = keras.Input((None,), dtype="int32")
    marker = tmp_path / "executed"
    code = keras.layers.Lambda(lambda x: [x, open("executed", "w")][0])  # noqa: PTH123, SIM115
    keras.Model(inputs, code(inputs)).save(tmp_path / "models" / "lambda" / "model.keras")
    marker.unlink(missing_ok=True)
    words = "".join(f"a{number}\n" for number in range(11_000))
    (tmp_path / "models" / "words" / "vocabulary.txt").write_text(words)
    (tmp_path / "models" / "nothing" / "vocabulary.txt").write_text("a\nb\nc\nd\n")
    for name, expected in {
        "truncated": "can't be loaded",
        "lambda": "[Ll]ambda",
        "words": "vocabulary.txt has more words",
        "nothing": "without their words",
    }.items():
        with pytest.raises(SentimentError, match=expected) as failure:
            load_predictor(name)
        assert_one_line(failure.value)
    assert not marker.exists()


def open_stdin(path):
    """Return what predict.py uses of a stdin that is a file; it closes the descriptor itself."""
    return SimpleNamespace(fileno=lambda: os.open(path, os.O_RDONLY), isatty=lambda: False)


@pytest.mark.parametrize(
    ("arguments", "content"),
    [
        ([], "{}\n{}\n"),
        (["--file", "-"], "{}\r\n{}"),
        (["--file", "-", "--column", "mine"], 'id;mine\n1;{}\n2;"{}"\n'),
    ],
)
def test_reviews_on_stdin_are_predicted(
    folder, run_predict, arguments, content, tmp_path, monkeypatch
):
    reviews = ["a wonderful film", "an awful waste"]
    common = ["--run", "lstm", "--format", "json"]
    expected = run_predict(*common, *reviews).out
    path = tmp_path / "stdin"
    path.write_text(content.format(*reviews), newline="")
    monkeypatch.setattr(sys, "stdin", open_stdin(path))
    assert read_rows(run_predict(*common, *arguments).out) == read_rows(expected)


@pytest.mark.slow
def test_stdin_may_be_a_pipe(folder, run_predict):
    common = ["--run", "lstm", "--format", "json"]
    done = subprocess.run(
        [sys.executable, PROJECT / "predict.py", *common],
        cwd=folder,
        input="a wonderful film\n",
        stdout=subprocess.PIPE,
        text=True,
    )
    assert read_rows(done.stdout) == read_rows(run_predict(*common, "a wonderful film").out)


def test_empty_stdin_is_one_line(run_predict, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", open_stdin(os.devnull))
    with pytest.raises(SentimentError, match="no review") as failure:
        run_predict("--run", "lstm")
    assert failure.value.status == 1 and not capsys.readouterr().out
    assert_one_line(failure.value)

"""A trained run reads new text exactly as its training read its reviews."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras.src.datasets import imdb

import predict
from sentiment.data import load_data
from sentiment.data.imdb import read_package
from sentiment.data.tokenizer import encode, encode_corpus, split_as_spelled, tokenize
from sentiment.errors import SentimentError
from sentiment.inference import load_predictor
from sentiment.runs.folder import MODELS
from tests.conftest import CONSTANTS, PROGRAMS, PROJECT, assert_one_line, run_script
from tests.test_files import write_csv, write_folder

BUNDLED = PROJECT / MODELS
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
    """A folder with the runs that come with the project, and one that reads eight tokens."""
    folder = tmp_path_factory.mktemp("bundled")
    for name, constants in {
        "lstm": {},
        "cnn_lstm": {},
        "eight_tokens": {"MAXIMUM_TOKENS": 8},
    }.items():
        source = BUNDLED / ("lstm" if constants else name)
        run = shutil.copytree(source, folder / "models" / name)
        record = json.loads((run / "run.json").read_text())
        record["constants"].update(constants)
        (run / "run.json").write_text(json.dumps(record))
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
    for name, source in DATA_OF_RUNS.items():
        script, _, kind = name.rpartition("_")
        arguments = [*CONSTANTS, "--data", source, "--name", name, "--vocabulary-size", "5000"]
        arguments += ["--maximum-tokens", "30", "--padding", "pre" if kind == "pre" else "post"]
        arguments += ["--lstm-units", "8", "--epochs", "1", "--batch-size", "100"]
        arguments = [PROJECT / f"train_{script}.py", *arguments]
        done = run_script(PROGRAMS / "train_on_local_imdb.py", *arguments, folder=folder)
        assert done.returncode == 0, done.stderr
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


def run_on_terminal(*arguments, folder, stdout=None, reviews=None, variables=None):
    """Run predict.py on a terminal in a process of its own; return what the terminal shows.

    Args:
        stdout: where to redirect stdout; None for the terminal.
        reviews: the text on stdin.
        variables: environment variables.
    """
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, PROJECT / "predict.py", *arguments],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=stdout or follower,
            stderr=follower,
            env={**os.environ, "TERM": "xterm", **(variables or {})},
        )
        os.close(follower)
        with process.stdin as pipe:
            pipe.write((reviews or "").encode())
        shown = b""
        with contextlib.suppress(OSError):  # how Linux ends a terminal
            while chunk := terminal.read(1_000):
                shown += chunk
        assert process.wait() == 0, shown
    return shown.decode(errors="replace")


@given(st.text())
def test_words_as_spelled_are_the_words_that_are_encoded(text):
    spelled = split_as_spelled(text)
    assert ["".join(c.lower() if c.isascii() else c for c in word) for word in spelled] == tokenize(
        text
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA_OF_RUNS)
def test_text_gets_the_probabilities_of_the_training_data(
    package, trained, name, monkeypatch, run_predict
):
    monkeypatch.chdir(trained)
    monkeypatch.setattr(imdb, "get_file", lambda fname, **_: fname)
    constants = json.loads((trained / MODELS / name / "run.json").read_text())["constants"]
    data = load_data(constants["DATA"], 5_000, 30)
    sequences = data.x_test[:1_000]
    assert len(sequences) == 1_000
    ids = {word: i for i, word in enumerate(data.vocabulary)}
    texts = package[0][:: 1 if constants["DATA"] == "imdb-package" else 5]
    text_of = {encode(text, ids)[-30:].tobytes(): text for text in texts}
    lines = [text_of[sequence.tobytes()].replace("\n", " ") for sequence in sequences]
    (trained / "reviews.txt").write_text("\n".join(lines))
    arguments = ["--run", name, "--file", "reviews.txt", "--format", "json"]
    output = run_predict(*arguments, folder=trained).out
    model = keras.saving.load_model(trained / MODELS / name / "model.keras")
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "cnn_lstm"])
def test_bundled_models_have_their_recorded_accuracy(name, data):
    predictor = load_predictor(str(BUNDLED / name))
    record = json.loads((BUNDLED / name / "run.json").read_text())
    is_positive = predictor.predict(data.x_test) > 0.5
    accuracy = np.mean(is_positive == (data.y_test == 1))
    assert accuracy == pytest.approx(record["test"]["accuracy"], abs=5e-4)


def test_default_is_the_run_with_the_highest_validation_accuracy(folder, run_predict):
    output, errors = run_predict("A wonderful film.")
    accuracies = {
        path.parent.name: json.loads(path.read_text())["validation"]["accuracy"]
        for path in (folder / MODELS).glob("*/run.json")
    }
    best = max(accuracies, key=accuracies.get)
    (line,) = errors.splitlines()
    assert str(MODELS / best) in line and f"{accuracies[best]:.1%}" in line
    assert re.fullmatch(r"positive +\d+\.\d%  A wonderful film\.( \(.+\))?\n", output)


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
        ["--run", folder / MODELS / "lstm", *reviews],
    ):
        assert read_rows(run_predict(*common, "json", *arguments).out) == rows
    table = list(csv.DictReader(io.StringIO(run_predict(*common, "csv", *reviews).out)))
    assert [row["review"] for row in table] == reviews
    assert [float(row["probability"]) for row in table] == [row["probability"] for row in rows]


def test_any_text_gets_a_prediction(tmp_path, run_predict):
    texts = {
        b"": "no words",
        b"...!?": "no words",
        "\N{SLIGHTLY SMILING FACE} \N{SLIGHTLY SMILING FACE}".encode(): "no known word",
        "Ein wunderbarer Streifen voller Überraschungen".encode(): "known",
        b"not bad at all": "few words",
        b"<br /><br />great<br />great": "",
        b"great " * 100_000: "",
        b"a great film \xff\xfe indeed": "",
        b"\x1b[31mgreat\x07": "",
    }
    (tmp_path / "r.txt").write_bytes(b"\n".join(texts) + b"\n")
    arguments = ["--run", "lstm", "--file", tmp_path / "r.txt"]
    output, errors = run_predict(*arguments, "--format", "json")
    assert "UTF-8" in errors and errors.rstrip().endswith(" 1")
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
        (["--file", "own.csv", "--column", "x"], 1, "'x', only review, sentiment"),
        (["--run", "none", "x"], 1, "'none' in models/"),
        (["x", "--file", "own.csv"], 2, "--file"),
        (["--explain", "x", "y"], 2, "--explain"),
        (["--explain", "x", "--output", "x.doc"], 2, ".png, .svg, .pdf"),
        (["x", "--output", "x.png"], 2, "--explain"),
        (["x", "--format", "xml"], 2, "xml"),
        (["--explain", "..."], 1, "no word"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder, run_predict, capsys, arguments, status, expected):
    write_csv(folder / "own.csv", ["good"], [1])
    with pytest.raises(SentimentError, match=re.escape(expected)) as failure:
        run_predict(*arguments)
    assert failure.value.status == status and not capsys.readouterr().out
    assert_one_line(failure.value)


def test_damaged_and_malicious_runs_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SentimentError, match="no finished run in models/"):
        load_predictor()
    for name in ("truncated", "lambda", "words", "nothing"):
        run = shutil.copytree(folder / MODELS / "lstm", tmp_path / MODELS / name)
        # An attacker makes the hashes fit.
        record = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**record, "sha256": {}}))
    model = tmp_path / MODELS / "truncated" / "model.keras"
    model.write_bytes(model.read_bytes()[:-1_000])
    inputs = keras.Input((None,), dtype="int32")
    marker = tmp_path / "executed"
    code = keras.layers.Lambda(lambda x: [x, open("executed", "w")][0])  # noqa: PTH123, SIM115
    keras.Model(inputs, code(inputs)).save(tmp_path / MODELS / "lambda" / "model.keras")
    marker.unlink(missing_ok=True)
    (tmp_path / MODELS / "words" / "vocabulary.txt").write_text("a\n" * 11_000)
    (tmp_path / MODELS / "nothing" / "vocabulary.txt").write_text("a\nb\nc\nd\n")
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


@pytest.mark.parametrize(
    "name", ["lstm", "cnn_lstm", pytest.param("cnn_lstm_pre", marks=pytest.mark.slow)]
)
def test_explanation_has_the_probability_after_each_word(
    tmp_path, name, run_predict, monkeypatch, request
):
    folder = request.getfixturevalue("trained" if name == "cnn_lstm_pre" else "folder")
    monkeypatch.setenv("COLUMNS", "40")
    review = "Not a great film, but I <b>loved</b> it!"
    plot = tmp_path / "explanation.png"
    arguments = ["--run", name, "--explain", review, "--output", plot]
    output = run_predict(*arguments, folder=folder).out
    assert "\x1b" not in output and plot.stat().st_size > 5_000
    lines = output.partition("\n\n")[0].splitlines()
    assert " ".join(lines[::2]).split() == split_as_spelled(review)
    shown = " ".join(lines[1::2]).split()
    for probability, start in ((shown[2], "Not a great"), (shown[-1], review)):
        (row,) = read_rows(run_predict("--run", name, "--format", "json", start, folder=folder).out)
        assert probability == f"{row['probability']:.0%}"


def test_explanation_of_a_truncated_review_begins_at_its_first_word_that_is_read(
    folder, run_predict
):
    review = "Not a great film, but I <b>loved</b> it from the first minute!"
    output = run_predict("--run", "eight_tokens", "--explain", review).out
    words = split_as_spelled(review)[-8:]
    heading, *lines = output.partition("\n\n")[0].splitlines()
    assert "8" in heading and " ".join(lines[::2]).split() == words
    (row,) = read_rows(run_predict("--run", "eight_tokens", "--format", "json", review).out)
    assert " ".join(lines[1::2]).split()[-1] == f"{row['probability']:.0%}"

    predictor = load_predictor(str(folder / MODELS / "eight_tokens"))
    for count in (1, 7, 8, 9, 12):  # with the start token, eight words are one too many
        text = " ".join(split_as_spelled(review)[:count])
        explained, probabilities, changes = predictor.explain(text)
        assert explained == text.split()[-8:]
        assert len(probabilities) == len(changes) == len(explained)
        assert probabilities[-1] == pytest.approx(predictor.predict([predictor.encode(text)])[0])
        before = predictor.predict([np.array([1], dtype=np.int32)])[0] if count < 8 else 0.5
        np.testing.assert_allclose(before + np.cumsum(changes), probabilities, atol=1e-6)


@pytest.mark.slow
def test_reviews_on_stdin_are_predicted(folder, run_predict):
    reviews = ["a wonderful film", "an awful waste"]
    arguments = ["--run", "lstm", "--format", "json"]
    done = subprocess.run(
        [sys.executable, PROJECT / "predict.py", *arguments],
        cwd=folder,
        input="\n".join(reviews),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert read_rows(done.stdout) == read_rows(run_predict(*arguments, *reviews).out)


@pytest.mark.slow
def test_output_that_nobody_reads_is_no_error():
    for reader in (">&- 2>&-", "| true"):
        command = f"'{sys.executable}' predict.py --run lstm 'A fine film' {reader}"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], cwd=PROJECT, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("is_on_stdin", [False, True])
def test_redirected_rows_are_in_the_file_and_not_on_the_terminal(folder, tmp_path, is_on_stdin):
    reviews = [f"film number{i} was {'good' if i % 2 else 'bad'}" for i in range(12_000)]
    path = tmp_path / "reviews.txt"
    path.write_text("\n".join(reviews))
    arguments = ["--run", "cnn_lstm", "--format", "csv", "--file", "-" if is_on_stdin else path]
    with (tmp_path / "rows.csv").open("wb") as file:
        text = "\n".join(reviews) if is_on_stdin else None
        shown = run_on_terminal(*arguments, folder=folder, stdout=file, reviews=text)
    with (tmp_path / "rows.csv").open(newline="") as file:
        assert [row["review"] for row in csv.DictReader(file)] == reviews
    assert "cnn_lstm" in shown and "film number" not in shown


@pytest.mark.slow
def test_terminal_shows_colors(folder):
    arguments = ["--run", "lstm", "--explain", "a wonderful awful waste"]
    shown = run_on_terminal(*arguments, folder=folder, variables={"NO_COLOR": ""})
    assert "\x1b[30;48;5;" in shown and "wonderful" in shown


@pytest.mark.parametrize(("no_color", "is_colored"), [("", True), ("1", False)])
def test_no_color_is_respected(no_color, is_colored, run_predict, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", no_color)
    shown = run_predict("--run", "lstm", "--explain", "a wonderful awful waste").out
    assert ("\x1b" in shown) == is_colored and "wonderful" in shown

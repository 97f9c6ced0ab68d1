"""A trained run reads one's own text exactly as its training read its reviews."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import predict
from sentiment.data import load_data, read_package
from sentiment.runs import load_run
from sentiment.words import encode, encode_anew, find_words, split_words
from tests.conftest import PROJECT, run_script
from tests.test_own_data import write_csv, write_folder

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras.src.datasets import imdb

DATA_OF_RUNS = {
    "lstm_masked": "imdb-package",
    "cnn_lstm_unmasked": "imdb-package",
    "lstm_csv": "own.csv",
    "lstm_folder": "own",
    "lstm_npz": "imdb.npz",
    "lstm_keras": "imdb",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with reviews in all formats, and a short run on each."""
    folder = tmp_path_factory.mktemp("runs")
    texts, labels = read_package()
    texts, labels = texts[::5], labels[::5]
    write_csv(folder / "own.csv", texts, labels)
    write_folder(folder / "own", texts, labels)
    write_keras_files(folder, texts, labels)
    # Keras checks the hash of what it downloads, so its download is replaced.
    (folder / "train.py").write_text(
        "import sys; from keras.src.datasets import imdb; "
        "imdb.get_file = lambda fname, **_: fname; "
        "sys.argv[0] = sys.argv.pop(1) + '.py'; __import__(sys.argv[0][:-3]).main()"
    )
    for name, source in DATA_OF_RUNS.items():
        arguments = ["--name", name, "--vocabulary-size", "5000", "--maximum-tokens", "30"]
        arguments += ["--no-mask-padding"] if name == "cnn_lstm_unmasked" else []
        arguments += ["--lstm-units", "8", "--epochs", "1", "--batch-size", "100"]
        arguments += ["--no-word-vectors"]  # these take seconds
        script = f"train_{name.rpartition('_')[0]}"
        done = run_script(folder / "train.py", script, "--data", source, *arguments, folder=folder)
        assert done.returncode == 0, done.stderr
    return folder


def write_keras_files(folder, texts, labels):
    """Write reviews as `keras.datasets.imdb` stores them, a fifth of them for the test."""
    sequences, vocabulary = encode_anew(texts)
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
    """A function that runs predict.py and returns its status, output and last error."""

    def run(*arguments):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
        status, message = 0, None
        capsys.readouterr()
        try:
            predict.main()
        except SystemExit as stopped:
            status, message = stopped.code, stopped.code
        said = capsys.readouterr()
        if isinstance(message, str):
            return 1, said.out, message
        return status, said.out, (said.err.splitlines() or [""])[-1]

    return run


def read_rows(output):
    return [json.loads(line) for line in output.splitlines()]


@given(st.text())
def test_words_as_spelled_are_the_words_that_are_encoded(text):
    lowered = ["".join(c.lower() if c.isascii() else c for c in word) for word in find_words(text)]
    assert lowered == split_words(text)


@pytest.mark.parametrize("name", DATA_OF_RUNS)
def test_raw_text_gives_the_probabilities_of_the_training_data_path(
    folder, name, monkeypatch, run_predict
):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(imdb, "get_file", lambda fname, **_: fname)
    constants = json.loads((folder / "models" / name / "run.json").read_text())["constants"]
    data = load_data(constants["DATA"], 5_000, 30)
    sequences = data.x_test[:1_000]
    assert len(sequences) == 1_000
    ids = {word: i for i, word in enumerate(data.vocabulary)}
    text_of = {encode(text, ids)[-30:].tobytes(): text for text in read_package()[0]}
    lines = [text_of[sequence.tobytes()].replace("\n", " ") for sequence in sequences]
    (folder / "reviews.txt").write_text("\n".join(lines))
    arguments = ["--run", name, "--file", "reviews.txt", "--format", "json"]
    status, output, message = run_predict(*arguments)
    assert status == 0, message
    model = keras.saving.load_model(folder / "models" / name / "model.keras")
    padding = "post" if constants["MASK_PADDING"] else "pre"
    padded = keras.utils.pad_sequences(sequences, 30, padding=padding)
    expected = model.predict(padded, verbose=0)[:, 0]
    predicted = [row["probability"] for row in read_rows(output)]
    np.testing.assert_allclose(predicted, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["lstm", "cnn_lstm"])
def test_networks_that_come_along_load_in_the_oldest_keras_supported(name):
    pins = re.findall(r"^keras==([\d.]+)", (PROJECT / "requirements-keras.txt").read_text(), re.M)
    oldest = min(pins, key=lambda version: [int(part) for part in version.split(".")])
    with zipfile.ZipFile(PROJECT / "models" / name / "model.keras") as archive:
        assert json.loads(archive.read("metadata.json"))["keras_version"] == oldest


def test_the_best_run_is_the_default_and_is_named(folder, run_predict):
    _, output, said = run_predict("A wonderful film.")
    accuracies = {
        path.parent.name: json.loads(path.read_text())["validation"]["accuracy"]
        for path in (folder / "models").glob("*/run.json")
    }
    best = max(accuracies, key=accuracies.get)
    assert said == f"Run: models/{best}, validation accuracy {accuracies[best]:.1%}"
    assert re.fullmatch(r"(posi|nega)tive +\d+\.\d%  A wonderful film\.( \(.+\))?\n", output)


def test_formats_and_ways_to_give_reviews(folder, tmp_path, run_predict):
    reviews = ["So good, so fine", 'A "bad" film', ""]
    (tmp_path / "r.txt").write_bytes("\ufeff".encode() + "\r\n".join(reviews).encode() + b"\r\n")
    with (tmp_path / "r.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "mine"], *enumerate(reviews)])
    common = ["--run", "lstm_masked", "--format"]
    rows = read_rows(run_predict(*common, "json", *reviews)[1])
    assert [row["review"] for row in rows] == reviews
    assert rows[2]["note"] == "no words"
    for arguments in (
        ["--file", tmp_path / "r.txt"],
        ["--file", tmp_path / "r.csv", "--column", "mine"],
        ["--run", folder / "models" / "lstm_masked", *reviews],
    ):
        assert read_rows(run_predict(*common, "json", *arguments)[1]) == rows
    table = list(csv.DictReader(io.StringIO(run_predict(*common, "csv", *reviews)[1])))
    assert [row["review"] for row in table] == reviews
    assert [float(row["probability"]) for row in table] == [row["probability"] for row in rows]


def test_any_text_gives_an_answer(tmp_path, run_predict):
    texts = {
        b"": "no words",
        b"...!?": "no words",
        "\N{SLIGHTLY SMILING FACE} \N{SLIGHTLY SMILING FACE}".encode(): "unsure: no word is known",
        "Ein wunderbarer Streifen voller Überraschungen".encode(): "known",
        b"not bad at all": "unsure: few words",
        b"<br /><br />great<br />great": "",
        b"great " * 100_000: "",
        b"a great film \xff\xfe indeed": "",
        b"\x1b[31mgreat\x07": "",
    }
    (tmp_path / "r.txt").write_bytes(b"\n".join(texts) + b"\n")
    arguments = ["--run", "lstm_masked", "--file", tmp_path / "r.txt"]
    _, output, said = run_predict(*arguments, "--format", "json")
    assert said == "Reviews with bytes that are not UTF-8: 1"
    for row, note in zip(read_rows(output), texts.values(), strict=True):
        assert row["note"].endswith(note) or row["note"] == "unsure"
        assert 0 < row["probability"] < 1
    shown = run_predict(*arguments)[1]
    assert shown.count("\n") == len(texts) and "\x1b" not in shown and "\x07" not in shown


def test_a_long_file_is_read_in_parts_with_progress(tmp_path, run_predict, monkeypatch):
    monkeypatch.setattr(predict, "REVIEWS_AT_A_TIME", 700)
    monkeypatch.setattr(predict, "REVIEWS_WITHOUT_PROGRESS", 500)
    lines = [f"film {i} was {'good' if i % 2 else 'bad'}" for i in range(1_500)]
    (tmp_path / "r.txt").write_text("\n".join(lines))
    _, output, said = run_predict("--file", tmp_path / "r.txt", "--format", "json")
    assert [row["review"] for row in read_rows(output)] == lines
    assert "1500" in said or not said


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--file", "none.txt"], 1, "Can't read none.txt: No such file"),
        (["--file", "own.csv", "--column", "x"], 1, "it has no column 'x', but review, sentiment"),
        (["--run", "none", "x"], 1, "There is no run 'none' in models/"),
        (["x", "--file", "own.csv"], 2, "give reviews or --file, not both"),
        (["--explain", "x", "y"], 2, "--explain takes one review"),
        (["--explain", "x", "--output", "x.doc"], 2, "--output ends in .png, .svg or .pdf"),
        (["x", "--output", "x.png"], 2, "--output goes with --explain"),
        (["--explain", "...", "--run", "lstm_csv"], 1, "There is no word in this review."),
    ],
)
def test_what_cannot_be_done_is_one_line(run_predict, arguments, status, said):
    ended, output, message = run_predict(*arguments)
    assert ended == status and said in message and "\n" not in message and not output


def test_damaged_and_hostile_runs_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="No finished run in models/"):
        load_run()
    for name in ("cut", "lambda", "words", "nothing"):
        run = shutil.copytree(folder / "models" / "lstm_masked", tmp_path / "models" / name)
        # Whoever means harm makes the checksums fit.
        record = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**record, "sha256": {}}))
    model = tmp_path / "models" / "cut" / "model.keras"
    model.write_bytes(model.read_bytes()[:-1_000])
    inputs = keras.Input((None,), dtype="int32")
    marked = tmp_path / "made"
    code = keras.layers.Lambda(lambda x: [x, open("made", "w")][0])  # noqa: PTH123, SIM115
    keras.Model(inputs, code(inputs)).save(tmp_path / "models" / "lambda" / "model.keras")
    marked.unlink(missing_ok=True)
    (tmp_path / "models" / "words" / "vocabulary.txt").write_text("a\n" * 6_000)
    (tmp_path / "models" / "nothing" / "vocabulary.txt").write_text("a\nb\nc\nd\n")
    for name, said in {
        "cut": "can't be loaded",
        "lambda": "[Ll]ambda",
        "words": "too many words",
        "nothing": "without their words",
    }.items():
        with pytest.raises(SystemExit, match=said) as stopped:
            load_run(name)
        assert "\n" not in stopped.value.code
    assert not marked.exists()


@pytest.mark.parametrize("name", ["lstm_masked", "cnn_lstm_unmasked"])
def test_explanation_follows_the_reading(tmp_path, name, run_predict, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    review = "Not a great film, but I <b>loved</b> it!"
    picture = tmp_path / "reading.png"
    status, output, _ = run_predict("--run", name, "--explain", review, "--output", picture)
    assert status == 0 and "\x1b" not in output and picture.stat().st_size > 5_000
    shown = output.splitlines()[:-3]
    assert " ".join(shown[::2]).split() == find_words(review)
    after = " ".join(shown[1::2]).split()
    for probability, start in ((after[2], "Not a great"), (after[-1], review)):
        (row,) = read_rows(run_predict("--run", name, "--format", "json", start)[1])
        assert probability == f"{row['probability']:.0%}"


def test_reviews_come_through_a_pipe(folder, run_predict):
    reviews = ["a wonderful film", "an awful waste"]
    done = subprocess.run(
        [sys.executable, PROJECT / "predict.py", "--run", "lstm_csv", "--format", "json"],
        cwd=folder,
        input="\n".join(reviews),
        stdout=subprocess.PIPE,
        text=True,
    )
    expected = run_predict("--run", "lstm_csv", "--format", "json", *reviews)[1]
    assert read_rows(done.stdout) == read_rows(expected)


def test_nobody_has_to_read_what_is_printed():
    for reader in (">&- 2>&-", "| true"):
        script = f"'{sys.executable}' predict.py --run lstm 'A fine film' {reader}"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script], cwd=PROJECT, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr


def test_a_terminal_shows_colours_unless_it_is_asked_not_to(folder):
    pty = pytest.importorskip("pty")
    for environment, is_coloured in (({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)):
        leader, follower = pty.openpty()
        with os.fdopen(leader, "rb", buffering=0) as terminal:
            process = subprocess.Popen(
                [sys.executable, PROJECT / "predict.py", "--explain", "a wonderful awful waste"],
                cwd=folder,
                stdout=follower,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **environment},
            )
            os.close(follower)
            output = b""
            try:
                while chunk := terminal.read(1_000):
                    output += chunk
            except OSError:  # how Linux ends a terminal
                pass
            assert process.wait() == 0
        assert (b"\x1b[30;48;5;" in output) == is_coloured
        assert b"wonderful" in output

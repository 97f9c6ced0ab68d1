"""What is exported runs without this project and gives the probabilities of `predict.py`."""

import importlib.util
import json
import subprocess
import sys

import export
from sentiment.data import read_package
from sentiment.runs import MODELS, load_run
from tests.conftest import PROJECT, run_script

import numpy as np
import pytest

ODD_REVIEWS = [
    "",
    "!!!",
    "So GOOD, so fine 😀",
    "É<br />tude\tof\nwönder",
    "zxqv qqq",
    "a  b " * 900,
]


@pytest.fixture(scope="module")
def reviews():
    return [*ODD_REVIEWS, *read_package()[0][7:20_000:1_000]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two short runs: of padding in front, and with naive Bayes."""
    folder = tmp_path_factory.mktemp("runs")
    arguments = ["--data", "imdb-package", "--vocabulary-size", "3000", "--maximum-tokens", "20"]
    arguments += ["--lstm-units", "8", "--epochs", "1"]
    for script, *own in (
        ("train_cnn_lstm.py", "--name", "unmasked", "--no-mask-padding"),
        ("train_naive_bayes_lstm.py", "--name", "naive_bayes", "--counted-terms", "5000"),
    ):
        done = run_script(script, *own, *arguments, folder=folder)
        assert done.returncode == 0, done.stderr
    return folder


def predict_in_new_process(code, given, folder):
    """Run code that turns the list of what is given into probabilities, without this project."""
    code = f"import json, sys; given = json.load(sys.stdin); {code}; print(json.dumps(list(p)))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=folder,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", [PROJECT / MODELS / "lstm", "unmasked", "naive_bayes"])
def test_a_savedmodel_takes_text(name, reviews, folder, monkeypatch):
    output = folder / "serving" / getattr(name, "name", name) / "1"
    done = run_script(
        "export.py", name, "--format", "savedmodel", "--output", output, folder=folder
    )
    assert done.returncode == 0, done.stderr
    assert "Checked on 1,000 reviews: probabilities differ by" in done.stdout
    code = (
        "import tensorflow as tf; m = tf.saved_model.load('1'); "
        "p = m.serve(tf.constant(given)).numpy()[:, 0].astype(float)"
    )
    monkeypatch.chdir(folder)
    run = load_run(str(name))
    expected = run.predict([run.encode(review) for review in reviews])
    np.testing.assert_allclose(
        predict_in_new_process(code, reviews, output.parent), expected, atol=1e-6
    )


@pytest.mark.parametrize("name", ["lstm", "cnn_lstm", "naive_bayes"])
@pytest.mark.parametrize(
    ("form", "package", "code"),
    [
        (
            "onnx",
            "onnxruntime",
            "import numpy as np, onnxruntime; s = onnxruntime.InferenceSession('m.onnx'); "
            "p = [float(s.run(None, {'word_ids': np.array([i], 'int32')})[0]) for i in given]",
        ),
        (
            "litert",
            "ai_edge_litert",
            "import numpy as np; from ai_edge_litert.interpreter import Interpreter; "
            "r = Interpreter('m.tflite').get_signature_runner(); "
            "p = [float(*r(word_ids=np.array([i], 'int32')).values()) for i in given]",
        ),
    ],
)
def test_an_onnx_or_litert_file_takes_word_ids(
    name, form, package, code, reviews, folder, tmp_path
):
    pytest.importorskip(package)
    folder = (folder if name == "naive_bayes" else PROJECT) / MODELS / name
    output = tmp_path / f"m{export.FILES[form][5:]}"
    done = run_script("export.py", folder, "--format", form, "--output", output, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    run = load_run(str(folder))
    sequences = [run.encode(review) for review in reviews]
    given = [sequence.tolist() for sequence in sequences]
    np.testing.assert_allclose(
        predict_in_new_process(code, given, tmp_path), run.predict(sequences), atol=1e-4
    )


@pytest.fixture
def run_export(monkeypatch, tmp_path):
    """A function that runs export.py and returns its status or message."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["export.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            export.main()
        return stopped.value.code

    return run


def test_what_is_there_already_is_left_alone(run_export, tmp_path):
    output = tmp_path / "precious.onnx"
    output.write_text("mine")
    message = run_export(PROJECT / MODELS / "lstm", "--format", "savedmodel", "--output", tmp_path)
    assert "is there already" in message and "\n" not in message
    assert output.read_text() == "mine"


def test_a_missing_package_is_named(run_export, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = run_export(PROJECT / MODELS / "lstm", "--format", "onnx")
    assert message == "tf2onnx is missing: pip install -r requirements-export.txt"


def test_an_export_that_differs_is_not_left_behind(run_export, monkeypatch, tmp_path):
    def export_wrongly(run, path):
        path.mkdir()
        return lambda texts: np.full(len(texts), np.nan)

    monkeypatch.setattr(export, "export_savedmodel", export_wrongly)
    arguments = ["--format", "savedmodel", "--output", tmp_path / "wrong"]
    message = run_export(PROJECT / MODELS / "lstm", *arguments)
    assert "its probabilities would differ by nan" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [[], ["--format", "h5"], ["--format", "onnx", "--output", "x.h5"]], ids=str
)
def test_wrong_usage_is_status_2(arguments, run_export):
    assert run_export(*arguments) == 2

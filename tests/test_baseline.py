"""The linear baselines: what they learn, and that the test set has no part in it."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from benchmarks import baseline
from sentiment.data.imdb import read_package
from sentiment.errors import SentimentError
from tests.test_files import write_csv


@pytest.fixture
def own_reviews(tmp_path, monkeypatch):
    """The path of a table with every 50th review of the package."""
    monkeypatch.chdir(tmp_path)
    texts, labels = read_package()
    write_csv(tmp_path / "own.csv", texts[::50], labels[::50])
    return "own.csv"


def run_main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["baseline.py", *map(str, arguments)])
    baseline.main()


@pytest.mark.parametrize("name", baseline.MODELS)
def test_a_model_learns_words_and_their_order(name):
    train, values = baseline.MODELS[name]
    positive = ["a good film", "not a bad film", "good fun"] * 5
    negative = ["a bad film", "not a good film", "bad fun"] * 5
    labels = np.repeat([1.0, 0.0], 15)
    predict = train(positive + negative, labels, max(values))
    assert list(predict(["GOOD film!", "bad film", "fun, good fun"])) == [True, False, True]


def test_nb_svm_weighs_features_by_their_log_count_ratio():
    texts = ["good film", "good fun", "bad film", "bad fun"] * 3
    labels = np.array([1.0, 1.0, 0.0, 0.0] * 3)
    predict = baseline.train_nb_svm(texts, labels, 0.1)
    # "film" and "fun" are in as many positive as negative reviews, so they decide nothing.
    assert list(predict(["good film", "good", "bad fun", "bad"])) == [True, True, False, False]


@pytest.mark.slow
def test_records_state_what_was_measured(own_reviews, monkeypatch, tmp_path, capsys):
    run_main(monkeypatch, "--data", own_reviews, "--output", tmp_path / "records")
    printed = capsys.readouterr().out
    for name in baseline.MODELS:
        record = json.loads((tmp_path / "records" / f"{name}.json").read_text())
        assert record["data"]["training"] == 350 and record["data"]["test"] == 100
        for result in (record["validation"], record["test"], record["refit"]["test"]):
            accuracy = result["accuracy"]
            assert 0.6 < accuracy < 1
            assert f"{accuracy:.2%}" in printed


def test_the_test_set_is_evaluated_with_the_chosen_model_and_its_refit(own_reviews, monkeypatch):
    trained, asked = [], []

    def train(texts, labels, c):
        trained.append((c, len(texts), len(labels)))

        def predict(others):
            asked.append((c, len(others)))
            return np.arange(len(others)) < (len(others) if c == 2 else 0)

        return predict

    monkeypatch.setattr(baseline, "MODELS", {"fake": (train, (1, 2, 3))})
    data = baseline.load_data(own_reviews, 100, 10)
    y = np.ones(len(data.y_validation), dtype=np.float32)
    data = dataclasses.replace(data, y_validation=y)
    texts = [[""] * len(labels) for labels in (data.y_train, y, data.y_test)]
    record = baseline.evaluate_model("fake", data, texts)
    assert record["C"] == 2 and record["validation"]["accuracy"] == 1
    assert asked[:3] == [(c, len(y)) for c in (1, 2, 3)]
    assert asked[3:] == [(2, len(data.y_test))] * 2
    reviews = len(data.y_train) + len(y)
    assert trained[3:] == [(2, reviews, reviews)] and record["refit"]["training"] == reviews


def test_data_that_could_be_either_source_is_refused(monkeypatch):
    with pytest.raises(SentimentError, match="imdb-package") as error:
        run_main(monkeypatch, "--data", "auto")
    assert error.value.status == 2

"""evaluate.py prints metrics, compares runs, and writes the plot and the mistakes."""

import csv
import functools
import importlib.util
import io
import json
import re
import sys

import numpy as np
import pandas
import pytest

import evaluate
from sentiment.errors import SentimentError
from sentiment.inference import DEFAULT_RUN, load_predictor
from tests.conftest import assert_one_line, run_script
from tests.run_folders import assert_is_image
from tests.test_files import write_csv

TEXTS = [
    f"{'A wonderful, moving film' if i % 2 else 'An awful waste of time'}, seen {i} times. "
    f"{'Great acting. ' if i % 3 else 'Boring plot! '} {'And more words. ' * i}"
    for i in range(60)
]
TEXTS[1] = '=SUM(1+1) étrange 奇怪, "awful";\nboring and a waste'  # a mistake, and a formula
LABELS = np.arange(60) % 2


@functools.cache
def load_once(name, *layers):
    return load_predictor(name, layers)


@pytest.fixture(autouse=True)
def _in_folder_with_reviews(tmp_path, monkeypatch, loaded_package):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "own.csv", TEXTS, LABELS)


@pytest.fixture
def run_evaluate(monkeypatch, capsys):
    """A function that runs evaluate.py, without the plot, and returns what it printed."""
    monkeypatch.setattr(evaluate, "draw_evaluation", lambda *given: given[-1].write_bytes(b""))
    monkeypatch.setattr(evaluate, "load_predictor", lambda name, layers: load_once(name, *layers))

    def run_main(*arguments):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
        evaluate.main()
        return capsys.readouterr()

    return run_main


@pytest.fixture
def expected():
    """The probabilities of both bundled runs for the reviews."""
    return {name: load_once(name).predict(TEXTS) for name in ("lstm", "cnn_lstm")}


def read_mistakes(path="mistakes.csv"):
    with open(path, encoding="utf-8-sig", newline="") as file:  # noqa: PTH123
        return list(csv.DictReader(file))


def test_all_formats_have_the_same_numbers(run_evaluate, expected):
    common = ["lstm", "--data", "own.csv"]
    content = json.loads(run_evaluate(*common, "--format", "json").out)
    (one,) = content["runs"]
    is_right = (expected["lstm"] > 0.5) == LABELS
    assert one["accuracy"] == pytest.approx(is_right.mean())
    assert one["true_positives"] == np.sum(is_right & (LABELS == 1))
    assert sum(group["reviews"] for group in one["calibration"]) == one["reviews"] == 60
    assert sum(group["reviews"] for group in one["accuracy_by_length"]) == 60
    assert {"keras", "scikit-learn", "scipy"} <= set(content["versions"])
    (row,) = csv.DictReader(io.StringIO(run_evaluate(*common, "--format", "csv").out))
    for name, value in row.items():
        assert str(one[name]) == value or one[name] == pytest.approx(float(value)), name
    printed = run_evaluate(*common)
    for name in ("accuracy", "recall", "roc_auc", "log_loss"):
        pattern = rf"{one[name]:.2%}" if name in ("accuracy", "recall") else rf"{one[name]:.4f}"
        assert pattern in printed.out, name
    assert "own.csv" in printed.out and str(one["true_positives"]) in printed.out


def test_mistakes_are_a_table_for_spreadsheets(run_evaluate, expected):
    run_evaluate("lstm", "--data", "own.csv", "--format", "csv", "--mistakes", "wrong.csv")
    rows = read_mistakes("wrong.csv")
    wrong = np.flatnonzero((expected["lstm"] > 0.5) != LABELS)
    order = wrong[np.argsort(-np.abs(expected["lstm"][wrong] - 0.5))]
    assert [row["text"].removeprefix("'") for row in rows] == [TEXTS[i] for i in order]
    (formula,) = (row for row in rows if "SUM" in row["text"])
    assert formula["text"].startswith("'=") and formula["label"] == "positive"
    probabilities = [float(row["probability"]) for row in rows]
    assert probabilities == pytest.approx(expected["lstm"][order].tolist(), abs=1e-5)
    assert len(pandas.read_csv("wrong.csv")) == len(rows)


def test_a_text_that_is_no_utf_8_does_not_stop_the_table(run_evaluate, monkeypatch):
    found = pandas.DataFrame({"text": ["\ud83d bad"], "label": "positive", "probability": 0.1})
    monkeypatch.setattr(evaluate, "find_mistakes", lambda *_: found)
    run_evaluate("lstm", "--data", "own.csv")
    assert [row["text"] for row in read_mistakes()] == ["? bad"]


def test_two_runs_are_compared(run_evaluate, expected):
    arguments = ["lstm", "cnn_lstm", "lstm", "--data", "own.csv"]
    output, errors = run_evaluate(*arguments, "--format", "json")
    content = json.loads(output)
    assert [one["run"] for one in content["runs"]] == ["lstm", "cnn_lstm"]
    (comparison,) = content["comparisons"]
    right = {name: (given > 0.5) == LABELS for name, given in expected.items()}
    first, second = comparison["runs"]
    assert comparison["only_first_correct"] == np.sum(right[first] & ~right[second])
    assert comparison["only_second_correct"] == np.sum(right[second] & ~right[first])
    assert 0 < comparison["p_value"] <= 1
    assert "McNemar" in errors and "significant" in errors
    assert "McNemar" in run_evaluate(*arguments).out
    wrong = {name: int(np.sum(~one)) for name, one in right.items()}
    found = [row["run"] for row in read_mistakes()]
    assert {name: found.count(name) for name in wrong} == wrong


def test_runs_with_other_validation_sets_are_not_compared(run_evaluate, monkeypatch):
    load, splits = evaluate.load_reviews, iter(["validation", "test"])
    monkeypatch.setattr(
        evaluate, "load_reviews", lambda run, *_: load(run, next(splits), "own.csv")
    )
    output, errors = run_evaluate("lstm", "cnn_lstm", "--format", "json")
    content = json.loads(output)
    assert len(content["runs"]) == 2 and not content["comparisons"]
    assert "McNemar" not in errors
    (line,) = (line for line in errors.splitlines() if "Not compared" in line)
    assert "--data" in line


def test_all_runs_are_evaluated_on_the_reviews_that_none_was_trained_on(run_evaluate, monkeypatch):
    load = evaluate.load_reviews

    def load_some(predictor, *given):
        skipped = 5 if predictor.folder.name == "lstm" else 9
        return load(predictor, *given).take(np.flatnonzero(np.arange(60) % skipped))

    monkeypatch.setattr(evaluate, "load_reviews", load_some)
    output, _ = run_evaluate("lstm", "cnn_lstm", "--data", "own.csv", "--format", "json")
    content = json.loads(output)
    shared = sum(1 for i in range(60) if i % 5 and i % 9)
    assert [one["reviews"] for one in content["runs"]] == [shared, shared]
    assert len(content["comparisons"]) == 1


def test_a_metric_that_is_not_defined_is_null_or_a_dash(run_evaluate, monkeypatch):
    load = evaluate.load_reviews
    monkeypatch.setattr(
        evaluate,
        "load_reviews",
        lambda *given: (reviews := load(*given)).take(np.flatnonzero(reviews.labels == 1)),
    )
    common = ["lstm", "--data", "own.csv"]
    (one,) = json.loads(run_evaluate(*common, "--format", "json").out)["runs"]
    assert one["roc_auc"] is None and one["recall"] == one["accuracy"]
    (line,) = (line for line in run_evaluate(*common).out.splitlines() if "ROC AUC" in line)
    assert line.split()[-1] == "-"


def test_the_test_set_comes_with_a_warning(run_evaluate):
    common = ["lstm", "--data", "own.csv", "--format", "csv", "--split"]
    assert "model selection" in run_evaluate(*common, "test").err
    output, errors = run_evaluate(*common, "validation")
    assert "model selection" not in errors
    assert len(output.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["lsmt"], 1, "'lsmt'.*lstm"),
        (["lstm", "--data", "none.csv"], 1, "none.csv.*No such file"),
        (["lstm", "--data", "empty.csv"], 1, "empty.csv.*empty"),
        (["lstm", "--data", "stars.csv"], 1, "positive="),
        (["lstm", "--split", "training"], 2, "validation"),
        (["lstm", "--output", "plot.doc"], 2, ".png, .svg"),
        (["lstm", "--mistakes", "mistakes.png"], 2, ".csv"),
        (["lstm", "--layers", "none.py"], 2, "none.py"),
        (["lstm", "--data", "own.csv", "--mistakes", "no/folder.csv"], 1, "can't write no/folder"),
        (["lstm", "--data", "own.csv", "--output", "no/folder.png"], 1, "can't write no/folder"),
    ],
)
def test_what_cannot_be_done_is_one_line(run_evaluate, tmp_path, arguments, status, expected):
    (tmp_path / "empty.csv").write_text("")
    write_csv(tmp_path / "stars.csv", TEXTS, 4 * LABELS, spelled="12345")
    with pytest.raises(SentimentError, match=expected) as raised:
        run_evaluate(*arguments)
    assert raised.value.status == status
    assert_one_line(raised.value)


def test_a_missing_package_is_one_line_that_names_the_requirements(run_evaluate, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name == "sklearn" else find(name)
    )
    with pytest.raises(SentimentError, match=r"scikit-learn.*requirements/evaluate\.txt") as raised:
        run_evaluate("lstm")
    assert_one_line(raised.value)


@pytest.mark.slow
def test_the_default_is_a_bundled_run_on_its_validation_set(tmp_path):
    done = run_script("evaluate.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((DEFAULT_RUN / "run.json").read_text())
    (line,) = re.findall(r"^Accuracy +([\d.]+)%", done.stdout, re.M)
    assert float(line) == pytest.approx(100 * record["validation"]["accuracy"], abs=0.1)
    assert DEFAULT_RUN.name in done.stderr and "Warning" not in done.stderr
    assert_is_image(tmp_path / "evaluation.png")
    mistakes = len(read_mistakes(tmp_path / "mistakes.csv"))
    assert mistakes == pytest.approx(record["data"]["validation"] * (1 - float(line) / 100))

"""The metrics are those of scikit-learn, are defined for any reviews, and can be drawn."""

import math

import numpy as np
import pytest
from scipy.stats import binom
from sklearn import metrics
from sklearn.calibration import calibration_curve

from sentiment.data.sequences import concatenate
from sentiment.evaluation import Reviews
from sentiment.metrics import compare_with_best, evaluate
from sentiment.plots import draw_evaluation
from tests.run_folders import assert_is_image


def make_reviews(labels, lengths=None):
    lengths = np.arange(len(labels)) % 97 + 2 if lengths is None else lengths
    sequences = concatenate([np.full(length, 4, dtype=np.int32) for length in lengths])
    return Reviews("reviews", "own.csv", sequences, np.asarray(labels, dtype=np.float32))


def draw_probabilities(seed, reviews=400, skill=0.3):
    generator = np.random.default_rng(seed)
    labels = generator.integers(2, size=reviews)
    noise = generator.uniform(-0.5, 0.5, reviews)
    return labels, np.clip(0.5 + skill * (2 * labels - 1) + noise, 0, 1).astype(np.float32)


def make_evaluation(name, is_right, labels=None):
    """Evaluate a run that is right on some reviews."""
    is_right = np.asarray(is_right, dtype=bool)
    labels = np.arange(len(is_right)) % 2 if labels is None else labels
    return evaluate(name, make_reviews(labels), np.where(is_right, labels, 1 - labels))


@pytest.mark.parametrize("seed", range(5))
def test_all_numbers_agree_with_scikit_learn(seed):
    labels, probabilities = draw_probabilities(seed)
    predicted = probabilities > 0.5
    one = evaluate("run", make_reviews(labels), probabilities)
    clipped = np.clip(probabilities.astype(float), 1e-7, 1 - 1e-7)
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "precision": metrics.precision_score(labels, predicted),
        "recall": metrics.recall_score(labels, predicted),
        "f1": metrics.f1_score(labels, predicted),
        "roc_auc": metrics.roc_auc_score(labels, probabilities),
        "log_loss": metrics.log_loss(labels, clipped),
        "brier_score": metrics.brier_score_loss(labels, probabilities),
    }
    for name, value in expected.items():
        assert one.metrics[name] == pytest.approx(value, rel=1e-6), name
    assert (one.confusion_matrix == metrics.confusion_matrix(labels, predicted)).all()
    curve = one.roc_curve
    area = metrics.auc(curve["false_positive_rate"], curve["true_positive_rate"])
    assert area == pytest.approx(expected["roc_auc"])

    filled = one.calibration[one.calibration["reviews"] > 0]
    shares, means = calibration_curve(labels, probabilities.astype(float), n_bins=10)
    np.testing.assert_allclose(filled["positive_share"], shares)
    np.testing.assert_allclose(filled["mean_probability"], means)
    assert filled["reviews"].sum() == len(labels)
    gaps = np.abs(shares - means) * filled["reviews"] / len(labels)
    assert one.metrics["expected_calibration_error"] == pytest.approx(gaps.sum())


def test_a_calibrated_network_has_a_small_calibration_error():
    generator = np.random.default_rng(0)
    probabilities = generator.uniform(size=20_000)
    labels = generator.uniform(size=20_000) < probabilities
    errors = [
        evaluate("run", make_reviews(labels), given).metrics["expected_calibration_error"]
        for given in (probabilities, np.where(probabilities > 0.5, 1.0, 0.0))
    ]
    assert errors[0] < 0.02 and errors[1] == pytest.approx(0.25, abs=0.02)


def test_the_interval_is_that_of_wilson():
    # The example of Newcombe (1998), Statistics in Medicine 17, table I.
    one = make_evaluation("run", np.arange(263) < 81)
    assert one.metrics["accuracy_low"] == pytest.approx(0.2553, abs=5e-5)
    assert one.metrics["accuracy_high"] == pytest.approx(0.3662, abs=5e-5)
    perfect = make_evaluation("run", np.ones(10))
    assert perfect.metrics["accuracy_low"] < 0.8 and perfect.metrics["accuracy_high"] == 1


@pytest.mark.parametrize(
    ("labels", "probabilities", "undefined"),
    [
        ([1, 1, 1], [0.9, 0.8, 0.2], {"roc_auc"}),
        ([0, 0, 0], [0.9, 0.8, 0.2], {"roc_auc", "recall"}),
        ([0, 0], [0.1, 0.2], {"roc_auc", "recall", "precision", "f1"}),
        ([1, 0], [0.1, 0.2], {"precision"}),
        ([1], [0.5], {"roc_auc", "precision"}),
        ([1, 0, 1, 0], [0, 1, 1, 0], set()),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_not_defined_is_nan_without_a_warning(labels, probabilities, undefined):
    probabilities = np.array(probabilities, dtype=np.float32)
    one = evaluate("run", make_reviews(labels), probabilities)
    assert {name for name, value in one.metrics.items() if math.isnan(value)} == undefined
    assert all(math.isfinite(one.metrics[name]) for name in set(one.metrics) - undefined)
    assert one.confusion_matrix.sum() == len(labels)


def test_the_groups_of_lengths_hold_all_reviews():
    lengths = np.random.default_rng(0).integers(2, 900, 1_000)
    labels = lengths % 2
    probabilities = np.where(lengths <= 100, labels, 1 - labels)  # right on short reviews only
    groups = evaluate("run", make_reviews(labels, lengths), probabilities).by_length
    assert groups["reviews"].between(150, 250).all() and groups["reviews"].sum() == 1_000
    assert (groups["shortest"][1:].values > groups["longest"][:-1].values).all()
    assert groups["shortest"].min() == lengths.min() and groups["longest"].max() == lengths.max()
    assert groups["accuracy"].iloc[0] > 0 and not groups["accuracy"][1:].any()
    assert (groups["low"] <= groups["accuracy"]).all() and (groups["low"] < groups["high"]).all()
    assert len(evaluate("run", make_reviews([0, 1], [7, 7]), np.zeros(2)).by_length) == 1


def test_the_p_value_is_that_of_the_exact_test_of_mcnemar():
    # Both are right on 100 reviews, one alone on 6, the other alone on 1, none on 20.
    first = make_evaluation("first", [1] * 100 + [1] * 1 + [0] * 6 + [0] * 20)
    second = make_evaluation("second", [1] * 100 + [0] * 1 + [1] * 6 + [0] * 20)
    (one,) = compare_with_best([first, second])
    assert one.runs == ("second", "first")
    assert (one.only_first_correct, one.only_second_correct) == (6, 1)
    assert one.p_value == pytest.approx(2 * binom.cdf(1, 7, 0.5)) and not one.is_significant
    (same,) = compare_with_best([first, first])
    assert same.p_value == 1 and not same.is_significant
    assert compare_with_best([first]) == []


def test_more_runs_need_more_evidence():
    best = make_evaluation("best", [1] * 9 + [0] * 1)
    worse = make_evaluation("worse", [0] * 9 + [1] * 1)
    (alone,) = compare_with_best([worse, best])
    among = compare_with_best([worse, best, best])
    (pair,) = (one for one in among if one.runs[1] == "worse")
    assert alone.is_significant and not pair.is_significant
    assert pair.p_value == pytest.approx(3 * alone.p_value)


@pytest.mark.parametrize("runs", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_any_number_of_runs_is_drawn(tmp_path, runs):
    names = ["lstm", "$x_1$", "一个很长的名字" * 9, *"abcde"]
    evaluations = [
        evaluate(name, make_reviews(labels), probabilities)
        for i, name in enumerate(names[:runs])
        for labels, probabilities in [draw_probabilities(i, 300 - i % 2)]
    ]
    draw_evaluation(evaluations, "own.csv, 300 reviews", tmp_path / "plot.png")
    assert_is_image(tmp_path / "plot.png")


@pytest.mark.filterwarnings("error")
def test_a_single_review_is_drawn(tmp_path):
    one = evaluate("run", make_reviews([1]), np.ones(1))
    draw_evaluation([one], "1 review", tmp_path / "plot.png")
    assert_is_image(tmp_path / "plot.png")

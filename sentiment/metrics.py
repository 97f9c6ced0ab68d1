"""How well a run classifies reviews: metrics and a test of their difference.

    from sentiment.metrics import evaluate

    evaluate(reviews, probabilities).metrics

It needs scikit-learn and SciPy, of requirements/evaluate.txt.
"""

import itertools
import math
from dataclasses import dataclass

import keras
import numpy as np
import pandas
from scipy.stats import binomtest
from sklearn import metrics

from sentiment.evaluation import Reviews

CALIBRATION_BINS = 10  # of the probability, equally wide
LENGTH_GROUPS = 5  # of the number of tokens, with about as many reviews each
CONFIDENCE, SIGNIFICANCE = 0.95, 0.05


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well a run classifies reviews.

    Attributes:
        run: the name of the run.
        reviews: the reviews.
        probabilities: the probability that each one is positive, ``(reviews,)``.
        metrics: the metrics by name; NaN if one is not defined, such as the recall without
            positive reviews. ``accuracy_low`` and ``accuracy_high`` are its 95 % interval.
        confusion_matrix: number of reviews by label and predicted label, ``(2, 2)``, negative
            first.
        roc_curve: ``false_positive_rate`` and ``true_positive_rate`` for falling thresholds; no
            rows if all reviews have the same label.
        calibration: for each bin of the probability ``lowest``, ``highest``, ``reviews`` and, NaN
            without reviews, ``mean_probability``, ``positive_share`` and its 95 % interval,
            ``low`` and ``high``.
        by_length: for each group of reviews ``shortest`` and ``longest``, in tokens before
            truncation, ``reviews``, ``accuracy`` and its 95 % interval, ``low`` and ``high``.
    """

    run: str
    reviews: Reviews
    probabilities: np.ndarray
    metrics: dict[str, float]
    confusion_matrix: np.ndarray
    roc_curve: pandas.DataFrame
    calibration: pandas.DataFrame
    by_length: pandas.DataFrame

    @property
    def is_right(self) -> np.ndarray:
        """Whether each review is classified correctly."""
        return (self.probabilities > 0.5) == (self.reviews.labels == 1)


def evaluate(run: str, reviews: Reviews, probabilities: np.ndarray) -> Evaluation:
    """Compute the metrics of a run.

    The intervals are those of Wilson (1927). The expected calibration error (Naeini et al., 2015)
    is the difference between the mean probability and the share of positive reviews, averaged over
    the bins, each weighted by its number of reviews.

    Args:
        run: the name of the run.
        reviews: the reviews, at least one.
        probabilities: the probability that each one is positive, ``(reviews,)``.
    """
    labels, probabilities = reviews.labels.astype(int), probabilities.astype(float)
    predicted = (probabilities > 0.5).astype(int)
    right = int(np.sum(predicted == labels))
    low, high = _find_interval(right, len(labels))
    has_both = np.ptp(labels) > 0
    roc = metrics.roc_curve(labels, probabilities)[:2] if has_both else ([], [])
    calibration = _measure_calibration(labels, probabilities)
    gaps = (calibration["mean_probability"] - calibration["positive_share"]).abs()
    # As in Keras' loss: one wrong probability of exactly 0 or 1 would make it infinite.
    clipped = np.clip(probabilities, keras.config.epsilon(), 1 - keras.config.epsilon())
    undefined = {"zero_division": np.nan}
    values = {
        "accuracy": right / len(labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "precision": metrics.precision_score(labels, predicted, **undefined),
        "recall": metrics.recall_score(labels, predicted, **undefined),
        "f1": metrics.f1_score(labels, predicted, **undefined),
        "roc_auc": metrics.roc_auc_score(labels, probabilities) if has_both else np.nan,
        "log_loss": metrics.log_loss(labels, clipped, labels=[0, 1]),
        "brier_score": metrics.brier_score_loss(labels, probabilities, pos_label=1),
        "expected_calibration_error": (gaps * calibration["reviews"]).sum() / len(labels),
    }
    return Evaluation(
        run=run,
        reviews=reviews,
        probabilities=probabilities,
        metrics={name: float(value) for name, value in values.items()},
        confusion_matrix=metrics.confusion_matrix(labels, predicted, labels=[0, 1]),
        roc_curve=pandas.DataFrame(
            dict(zip(("false_positive_rate", "true_positive_rate"), roc, strict=True))
        ),
        calibration=calibration,
        by_length=_measure_by_length(reviews.tokens, predicted == labels),
    )


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same reviews.

    Attributes:
        runs: their names, the more accurate run first.
        only_first_correct, only_second_correct: how many reviews only one of them classifies
            correctly.
        p_value: that of McNemar's test, the probability of a difference at least as large if both
            are equally accurate; multiplied by the number of pairs of runs.
        is_significant: whether it is below 0.05.
    """

    runs: tuple[str, str]
    only_first_correct: int
    only_second_correct: int
    p_value: float
    is_significant: bool


def compare_with_best(evaluations: list[Evaluation]) -> list[Comparison]:
    """Compare the most accurate run with each other one by the exact test of McNemar (1947).

    Which run is the best is not known beforehand, so the p-values are corrected for all pairs
    (Bonferroni).

    Args:
        evaluations: the runs, all on the same reviews.
    """
    best, *others = sorted(evaluations, key=lambda one: -one.metrics["accuracy"])
    pairs = math.comb(len(evaluations), 2)
    comparisons = []
    for other in others:
        only_best = int(np.sum(best.is_right & ~other.is_right))
        only_other = int(np.sum(other.is_right & ~best.is_right))
        different = only_best + only_other
        p_value = float(binomtest(only_best, different).pvalue) if different else 1.0
        p_value = min(pairs * p_value, 1.0)
        comparisons.append(
            Comparison(
                (best.run, other.run), only_best, only_other, p_value, p_value < SIGNIFICANCE
            )
        )
    return comparisons


def _find_interval(successes: int, number: int) -> tuple[float, float]:
    """Return the 95 % interval of a share; NaN if it is a share of nothing."""
    if not number:
        return np.nan, np.nan
    interval = binomtest(successes, number).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def _measure_calibration(labels: np.ndarray, probabilities: np.ndarray) -> pandas.DataFrame:
    edges = np.arange(CALIBRATION_BINS + 1) / CALIBRATION_BINS
    # As in scikit-learn, a probability on an edge belongs to the lower bin.
    bins = np.searchsorted(edges[1:-1], probabilities)
    rows = []
    for i, (lowest, highest) in enumerate(itertools.pairwise(edges)):
        inside, positive = probabilities[bins == i], labels[bins == i]
        means = [values.mean() if len(values) else np.nan for values in (inside, positive)]
        interval = _find_interval(int(positive.sum()), len(positive))
        rows.append((lowest, highest, len(inside), *means, *interval))
    columns = ["lowest", "highest", "reviews", "mean_probability", "positive_share", "low", "high"]
    return pandas.DataFrame(rows, columns=columns)


def _measure_by_length(tokens: np.ndarray, is_right: np.ndarray) -> pandas.DataFrame:
    shares = np.arange(1, LENGTH_GROUPS + 1) / LENGTH_GROUPS
    longest = np.unique(np.quantile(tokens, shares, method="inverted_cdf"))
    groups = np.searchsorted(longest, tokens)
    rows = []
    for i in range(len(longest)):
        inside, right = tokens[groups == i], is_right[groups == i]
        interval = _find_interval(int(right.sum()), len(right))
        rows.append((inside.min(), inside.max(), len(inside), right.mean(), *interval))
    columns = ["shortest", "longest", "reviews", "accuracy", "low", "high"]
    return pandas.DataFrame(rows, columns=columns)

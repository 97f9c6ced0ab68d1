"""Whether two groups of runs differ by more than the noise between their seeds."""

import math
import statistics

import numpy as np

from sentiment.runs.comparison import Group

# The 97.5 % quantiles of Student's t-distribution with 1, 2, 3 … degrees of freedom.
# fmt: off
T_QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
)
# fmt: on
NORMAL_QUANTILE = 1.960  # of infinitely many degrees of freedom


def compare_seeds(groups: list[Group]) -> str:
    """Say whether two groups of seeds differ by more than the noise between seeds.

    Args:
        groups: all groups, the more accurate one first; of other than two nothing is said.
    """
    if len(groups) != 2 or not all(len(one.runs) > 1 and one.is_comparable for one in groups):
        return ""
    first, second = (group.validation_accuracies for group in groups)
    difference, margin = (100 * value for value in compare_means(first, second))
    if math.isnan(margin):
        return ""
    verdict = "more than" if difference > margin else "within"
    return (
        f"Mean validation accuracy: {groups[0].title} is {difference:.2f} points above "
        f"{groups[1].title}, {verdict} the noise between seeds (95% interval "
        f"{difference - margin:.2f} to {difference + margin:.2f}, Welch's t-test; the validation "
        "set also chose the epochs)"
    )


def compare_means(first: list[float], second: list[float]) -> tuple[float, float]:
    """Return the difference of two means, and by how much its 95 % interval extends to each side.

    The interval is that of Welch (1947), for samples of unequal variances. The quantile of a
    fractional number of degrees of freedom is interpolated.

    Args:
        first, second: two numbers or more each. If neither varies, the interval is NaN.
    """
    variances = [statistics.variance(values) / len(values) for values in (first, second)]
    difference, total = statistics.fmean(first) - statistics.fmean(second), math.fsum(variances)
    if not total:
        return difference, math.nan
    freedom = total**2 / sum(
        variance**2 / (len(values) - 1)
        for variance, values in zip(variances, (first, second), strict=True)
    )
    places = [*(-1 / n for n in range(1, len(T_QUANTILES) + 1)), 0]
    quantile = np.interp(-1 / freedom, places, [*T_QUANTILES, NORMAL_QUANTILE])
    return difference, float(quantile) * math.sqrt(total)

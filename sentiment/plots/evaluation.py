"""Plot of an evaluation, or of several."""

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sentiment.plots.fonts import PLACEHOLDER, PLACEHOLDER_NOTE, make_legible
from sentiment.plots.style import COLORS, shorten, wrap

if TYPE_CHECKING:  # it needs scikit-learn, which the other plots don't
    from sentiment.metrics import Evaluation

LABELS = ("negative", "positive")
TITLE_CHARACTERS, NAME_CELLS, TITLE_CELLS = 95, 50, 24
SHOWN = {"accuracy": ".2%", "roc_auc": ".4f", "expected_calibration_error": ".2%"}
SHADES = LinearSegmentedColormap.from_list("shades", ["white", COLORS[0]])
MARKERS = "os^DvPX*"
DIAGONAL = {"color": "gray", "linestyle": "--", "linewidth": 1}
DODGE = 0.08  # between the error bars of two runs


def draw_evaluation(evaluations: list["Evaluation"], title: str, path):
    """Draw confusion matrix, ROC curve, reliability diagram, and accuracy by length.

    Of more than two runs, the mistakes of each kind are drawn in place of the matrices.

    Args:
        evaluations: at most eight runs.
        title: the title of the figure.
        path: the image file; its suffix chooses the format.
    """
    names = [shorten(one.run, NAME_CELLS) for one in evaluations]
    (title, *names), families = make_legible([title, *names])
    if PLACEHOLDER in "".join([title, *names]):
        title += f" ({PLACEHOLDER_NOTE})"
    with matplotlib.rc_context({"font.family": families}):
        size = (10, 8.2 + 0.19 * len(names))
        figure = Figure(figsize=size, dpi=100, layout="constrained")
        figure.suptitle(wrap(title, TITLE_CHARACTERS), fontsize=12, parse_math=False)
        parts: Any = figure.subfigures(2, 2, wspace=0.04, hspace=0.04)
        (first, roc), (reliability, length) = parts
        (_draw_matrices if len(names) <= 2 else _draw_mistakes)(first, evaluations, names)
        _draw_roc_curves(roc, evaluations)
        _draw_reliability(reliability, evaluations)
        _draw_accuracy_by_length(length, evaluations)
        legend = figure.legend(
            [Line2D([], [], **_style(i)) for i in range(len(names))],
            [_label(one, name) for one, name in zip(evaluations, names, strict=True)],
            loc="outside lower center",
            frameon=False,
            fontsize=9,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)  # a $ in a name does not begin a formula
        figure.savefig(path)


def _style(i: int) -> dict:
    return {"color": COLORS[i], "marker": MARKERS[i], "markersize": 5}


def _label(one, name):
    values = (f"{one.metrics[key]:{form}}" for key, form in SHOWN.items())
    accuracy, area, error = (value.replace("nan", "-") for value in values)
    return f" {name}: accuracy {accuracy}, ROC AUC {area}, expected calibration error {error}"


def _draw_matrices(figure, evaluations, names):
    figure.suptitle("Confusion matrix", fontsize=11)
    size = 11 if len(names) == 1 else 8
    all_axes = figure.subplots(1, len(names), squeeze=False)[0]
    for i, (axes, one, name) in enumerate(zip(all_axes, evaluations, names, strict=True)):
        counts = one.confusion_matrix
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1)
        for (row, column), number in np.ndenumerate(counts):
            share = shares[row, column]
            color = "white" if share > 0.5 else "black"
            text = f"{number:,}\n{share:.1%}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=size)
        ticks = LABELS if i == 0 else ("", "")
        axes.set_xticks((0, 1), LABELS, fontsize=size)
        axes.set_yticks((0, 1), ticks, fontsize=size, rotation=90, va="center")
        axes.set_xlabel("Predicted", fontsize=size)
        axes.set_ylabel("Label" if i == 0 else "", fontsize=size)
        axes.tick_params(length=0)
        if len(names) > 1:
            shown = shorten(name, TITLE_CELLS)
            axes.set_title(shown, fontsize=size + 1, color=COLORS[i], parse_math=False)


def _draw_mistakes(figure, evaluations, names):
    """Draw for each run how many reviews of each label it misclassifies."""
    axes = figure.subplots()
    axes.set_title("Mistakes", fontsize=11)
    places, colors = np.arange(len(names)), COLORS[: len(names)]
    for label, shift, alpha in ((0, -0.2, 1), (1, 0.2, 0.45)):
        counts = [one.confusion_matrix[label, 1 - label] for one in evaluations]
        bars = axes.barh(places + shift, counts, 0.36, color=colors, alpha=alpha)
        axes.bar_label(bars, [f"{count:,}" for count in counts], padding=2, fontsize=7)
    kinds = [
        Patch(color="gray", alpha=1, label="negative, predicted positive"),
        Patch(color="gray", alpha=0.45, label="positive, predicted negative"),
    ]
    figure.legend(handles=kinds, loc="outside lower center", fontsize=8, frameon=False, ncols=2)
    axes.set_yticks(places, [shorten(name, TITLE_CELLS) for name in names], fontsize=8)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("Reviews")


def _draw_roc_curves(figure, evaluations):
    axes = figure.subplots()
    axes.set_title("ROC curve", fontsize=11)
    axes.plot([0, 1], [0, 1], **DIAGONAL, label="random order")
    for i, one in enumerate(evaluations):
        x, y = one.roc_curve["false_positive_rate"], one.roc_curve["true_positive_rate"]
        axes.plot(x, y, color=COLORS[i])
    if not any(len(one.roc_curve) for one in evaluations):
        text = "not defined:\nall reviews have the same label"
        axes.text(0.5, 0.5, text, ha="center", va="center", backgroundcolor="white")
    axes.legend(loc="lower right", fontsize=8)
    axes.set_xlabel("False positive rate")
    axes.set_ylabel("True positive rate")
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)


def _draw_reliability(figure, evaluations):
    """Draw the share of positive reviews in each bin, above the share of reviews in it."""
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.set_title("Reliability diagram", fontsize=11)
    axes.plot([0, 1], [0, 1], **DIAGONAL, label="perfect calibration")
    for i, one in enumerate(evaluations):
        bins = one.calibration
        edges = [*bins["lowest"], bins["highest"].iloc[-1]]
        below.stairs(bins["reviews"] / bins["reviews"].sum(), edges, color=COLORS[i])
        filled = bins[bins["reviews"] > 0]
        _draw_points(axes, filled["mean_probability"], filled, "positive_share", i)
    axes.legend(loc="lower right", fontsize=8)
    axes.set_ylabel("Fraction of positive reviews")
    below.set_ylabel("Fraction of\nreviews")
    below.set_xlabel("Predicted probability of positive")
    for one in (axes, below):
        one.grid(alpha=0.3)
        one.yaxis.set_major_formatter(_percent)
    below.xaxis.set_major_formatter(_percent)


def _draw_accuracy_by_length(figure, evaluations):
    axes = figure.subplots()
    axes.set_title("Accuracy by length of the review", fontsize=11)
    for i, one in enumerate(evaluations):
        shift = DODGE * (i - (len(evaluations) - 1) / 2)
        _draw_points(axes, np.arange(len(one.by_length)) + shift, one.by_length, "accuracy", i)
    groups = max((one.by_length for one in evaluations), key=len)
    bounds = [one.by_length[["shortest", "longest"]].values.tolist() for one in evaluations]
    label = "Tokens before truncation"
    ticks = [f"{row.shortest:,}\nto {row.longest:,}" for row in groups.itertuples()]
    if any(other != bounds[0] for other in bounds):  # the runs have different reviews
        label = "Reviews from the shortest to the longest fifth"
        ticks = [str(i + 1) for i in range(len(groups))]
    axes.set_xticks(range(len(ticks)), ticks, fontsize=9)
    axes.set_xlim(-0.5, len(ticks) - 0.5)
    axes.yaxis.set_major_formatter(_percent)
    axes.set_xlabel(label)
    axes.set_ylabel("Accuracy")
    axes.grid(alpha=0.3)


def _draw_points(axes, x, table, name, i):
    """Draw shares with their 95 % intervals, the points of a run joined by a line."""
    distances = np.abs(np.stack([table[name] - table["low"], table["high"] - table[name]]))
    options = {"linewidth": 1.2, "elinewidth": 0.8, "capsize": 2}
    axes.errorbar(x, table[name], yerr=distances, **options, **_style(i))


def _percent(value, _):
    return f"{100 * value:.4g}%"

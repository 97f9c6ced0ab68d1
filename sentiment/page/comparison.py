"""The curves of runs, and the table to sort."""

import statistics
from html import escape
from typing import Any

import numpy as np
import pandas

from sentiment.page.networks import list_compared
from sentiment.paths import models_folder
from sentiment.plots.style import COLORS
from sentiment.runs.comparison import (
    Group,
    describe_differences,
    group_runs,
    mark_incomparable,
    note_refits,
)
from sentiment.runs.record import read_record
from sentiment.runs.seeds import compare_seeds

# Black can't be seen in dark mode.
CURVE_COLORS = [color for color in COLORS if color != "#000000"]
LABELED_EPOCHS = 20  # more epochs don't get a place of their own on the x-axis
WITH_A_DECIMAL = (
    "Validation accuracy (%)",
    "± validation",
    "Test accuracy (%)",
    "± test",
    "Sentence accuracy (%)",
    "± sentence",
    "Seconds per epoch",
)
SETS = {"validation": "val_", "training": ""}


def read_groups(names: list[str]) -> tuple[list[Group], list[str]]:
    """Read runs in ``models/``, those that differ only in their seed as one group.

    Returns:
        The groups, highest validation accuracy first, and a line for each run that is left out
        and for whatever else limits the comparison.
    """
    records, notes = [], []
    finished = set(list_compared())
    for name in names:
        try:
            if name not in finished:
                raise ValueError("it is not there any more")
            records.append(read_record(models_folder() / name))
        except ValueError as error:
            notes.append(f"{name} is left out: {error}")
    groups, repetitions = group_runs(records)
    notes += [*repetitions, mark_incomparable(groups), note_refits(groups)]
    describe_differences(groups)
    groups.sort(key=lambda group: _mean(group.validation_accuracies) or 0, reverse=True)
    notes.append(compare_seeds(groups))
    if len(groups) > len(CURVE_COLORS):
        notes.append(f"The curves are those of the first {len(CURVE_COLORS)} rows of the table.")
    if any(len(values) == 1 for group in groups for values in group.runs[0].history.values()):
        notes.append("Runs of one epoch have no curve; their results are in the table.")
    return groups, [note for note in notes if note]


def make_curve(groups: list[Group], metric: str, sets: list[str]) -> pandas.DataFrame:
    """Return the points of the curves of a metric, ``accuracy`` or ``loss``.

    The curve of a group is the mean of its runs, as far as all have that epoch.
    """
    rows = []
    for group in groups[: len(CURVE_COLORS)]:
        for name in sets:
            histories = [record.history.get(SETS[name] + metric, []) for record in group.runs]
            shared = min(map(len, histories))
            mean = np.mean([values[:shared] for values in histories], axis=0)
            rows += [
                {"Epoch": epoch, "Value": round(float(value), 4), "Curve": _name(group, name)}
                for epoch, value in enumerate(mean, 1)
                if np.isfinite(value)
            ]
    table = pandas.DataFrame(rows, columns=["Epoch", "Value", "Curve"])
    return table.assign(Label=table["Epoch"].astype(str))


def label_epochs(curves: list[pandas.DataFrame]) -> list[str] | None:
    """Return the labels of the x-axis, in order; None if there are too many."""
    last = int(max((curve["Epoch"].max() for curve in curves if len(curve)), default=0))
    return [str(epoch) for epoch in range(1, last + 1)] if last <= LABELED_EPOCHS else None


def choose_colors(groups: list[Group]) -> dict[str, str]:
    """Return the color of each curve: that of the training set is a lighter one."""
    colors = {}
    for group, color in zip(groups, CURVE_COLORS, strict=False):
        colors[_name(group, "validation")] = color
        colors[_name(group, "training")] = _lighten(color)
    return colors


def render_legend(labels: list[str]) -> str:
    """Return the legend of the curves as HTML; the first label is that of the first curve."""
    rows = "".join(
        f'<li><i style="background:{color}"></i><i style="background:{_lighten(color)}"></i> '
        f"{escape(label)}</li>"
        for color, label in zip(CURVE_COLORS, labels, strict=False)
    )
    about = '<p class="about">Strong color: validation; pale color: training</p>'
    return f'<ul class="legend">{rows}</ul>{about}'


def make_table(groups: list[Group]) -> pandas.DataFrame:
    """Return a row for each group: results, and the constants that differ.

    Numbers stay numbers, so that the table can be sorted by them.
    """
    rows = []
    constants = _find_differing_constants(groups)
    kinds = {
        (group.network, *(layer.partition("(")[0] for layer in group.layers))
        for group in groups
        if group.layers
    }
    is_edited = len(kinds) > len({network for network, *_ in kinds})
    has_other_data = not all(group.is_comparable for group in groups)
    for group in groups:
        row = {
            "Run": group.title,
            "Network": group.network,
            "Validation accuracy (%)": _percent(group.validation_accuracies),
            "± validation": _deviation(group.validation_accuracies),
            "Test accuracy (%)": _percent(group.test_accuracies),
            "± test": _deviation(group.test_accuracies),
            "Sentence accuracy (%)": _percent(group.sentence_accuracies("test")),
            "± sentence": _deviation(group.sentence_accuracies("test")),
            "Best epoch": statistics.median(group.best_epochs),
            "Seconds per epoch": None if group.seconds is None else round(group.seconds, 1),
            "Parameters": group.metadata.get("parameters"),
        }
        if has_other_data:
            row["Data"] = ("" if group.is_comparable else "* ") + group.data
        if is_edited:
            row["Layers"] = ", ".join(group.layers)
        rows.append(row | {name: group.constants.get(name) for name in constants})
    table = pandas.DataFrame(rows, dtype=object)
    return table.dropna(axis="columns", how="all")


def format_table(table: pandas.DataFrame) -> Any:
    """Return a table of `make_table` with the text of each number, as a pandas Styler."""
    formats = dict.fromkeys(WITH_A_DECIMAL, "{:.1f}")
    formats["Best epoch"] = "{:g}"  # a median may be between two epochs
    return table.style.format({name: formats.get(name, str) for name in table}, na_rep="")


def _find_differing_constants(groups: list[Group]) -> list[str]:
    """Return the constants that don't have the same value in all groups that have them."""
    names = dict.fromkeys(name for group in groups for name in group.constants)
    return [
        name
        for name in names
        if len({str(group.constants[name]) for group in groups if name in group.constants}) > 1
    ]


def _name(group: Group, name: str) -> str:
    return f"{group.title}, {name}"


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _percent(values: list[float]) -> float | None:
    mean = _mean(values)
    return None if mean is None else round(100 * mean, 1)


def _deviation(values: list[float]) -> float | None:
    return round(100 * float(np.std(values, ddof=1)), 1) if len(values) > 1 else None


def _lighten(color: str) -> str:
    """Return a color halfway to white."""
    red, green, blue = ((int(color[i : i + 2], 16) + 255) // 2 for i in (1, 3, 5))
    return f"#{red:02x}{green:02x}{blue:02x}"

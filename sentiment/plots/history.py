"""Plots of the history of a training, and of several histories."""

import math
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from rich.cells import cell_len

from sentiment.console import strip_control_characters
from sentiment.plots.fonts import PLACEHOLDER, PLACEHOLDER_NOTE, make_legible
from sentiment.plots.style import COLORS, wrap

# Once all colors are used, they are used again with the next marker and line style.
MARKERS, LINE_STYLES = "os^DvPX", ("-", "-.", ":")
TRAINING_COLOR, VALIDATION_COLOR = COLORS[:2]
TRAINING_STYLE: dict[str, Any] = {"linestyle": "--", "linewidth": 1, "alpha": 0.5, "markersize": 5}
SINGLE_EPOCH_MARKER = "x"
TRAINING_CURVES = 10  # with more groups they would hide the validation curves
# As many as fit in a line.
LEGEND_CHARACTERS, NOTE_CHARACTERS, TITLE_CHARACTERS = 108, 145, 88
LARGEST_VALUE = 1e9  # a loss beyond it is left out, as NaN is: the others would be a flat line
EPOCHS = 1_000  # of more epochs, only every second, third or so on is drawn
AXES = (("accuracy", "Accuracy"), ("loss", "Loss (binary cross-entropy)"))


def draw_history(history: list[dict], best_epoch: int, title: str, path, is_refit: bool = False):
    """Draw accuracy and loss against epochs, for training and validation.

    Args:
        history: one dictionary per epoch, with the keys ``epoch``, ``accuracy``, ``loss``,
            ``val_accuracy`` and ``val_loss``. A value that is not finite is left out.
        best_epoch: the epoch whose weights are saved, which is marked.
        title: the title of the figure.
        path: the image file; its suffix chooses the format.
        is_refit: whether the weights of another training, of as many epochs, are saved instead.
    """
    (title,), families = make_legible([strip_control_characters(title)])
    epochs = [row["epoch"] for row in history]
    with matplotlib.rc_context({"font.family": families}):
        figure = Figure(figsize=(9, 3.8), dpi=120, layout="constrained")
        figure.suptitle(wrap(title, TITLE_CHARACTERS), fontsize=12, parse_math=False)
        for axes, (key, label) in zip(figure.subplots(1, 2), AXES, strict=True):
            for prefix, color, style, name in (
                ("", TRAINING_COLOR, "--", "training"),
                ("val_", VALIDATION_COLOR, "-", "validation"),
            ):
                values = np.array([row[prefix + key] for row in history], dtype=float)
                values[np.abs(values) > LARGEST_VALUE] = np.nan
                options = {"linestyle": style, "marker": "o", "markersize": 4}
                _draw_curve(axes, epochs, values, color=color, label=name, **options)
            axes.plot(
                best_epoch,
                values[epochs.index(best_epoch)],  # of the validation set
                "o",
                color=VALIDATION_COLOR,
                markersize=11,
                fillstyle="none",
                markeredgewidth=2,
                label=f"{'chosen' if is_refit else 'saved'}: epoch {best_epoch}",
            )
            _finish_axes(axes, key, label)
            axes.legend()
        figure.savefig(path)


def draw_comparison(groups: list[tuple[str, list[dict]]], note: str, path):
    """Overlay the curves of several trainings, each in another style.

    Args:
        groups: a label and the histories of its runs, best group first. A history has one
            list per column, in which NaN is left out. Several histories become their mean, for the
            validation set in a band of one standard deviation, as far as all have that epoch; then
            each goes on alone.
        note: what stands below the legend.
        path: the image file; its suffix chooses the format.
    """
    texts, families = make_legible([*(label for label, _ in groups), *note.splitlines()])
    notes = texts[len(groups) :]
    labels = [wrap(text, LEGEND_CHARACTERS, " " * 8) for text in texts[: len(groups)]]
    if PLACEHOLDER in "".join(texts):
        notes.append(PLACEHOLDER_NOTE)
    note = "\n".join(wrap(line, NOTE_CHARACTERS) for line in notes)
    is_short = max(map(cell_len, labels), default=0) < LEGEND_CHARACTERS / 2.2
    columns = 2 if is_short and len(labels) > len(COLORS) else 1
    lines = sum(label.count("\n") + 1 for label in labels) / columns
    note_height = 0.17 * len(note.splitlines())
    height = 5 + 0.19 * math.ceil(lines) + note_height
    has_training_curves = len(groups) <= TRAINING_CURVES
    with matplotlib.rc_context({"font.family": families}):
        figure = Figure(figsize=(10, height), dpi=110)
        all_axes = figure.subplots(1, 2)
        figure.subplots_adjust(0.075, 1 - 4 / height, 0.985, 1 - 0.3 / height, wspace=0.2)
        for axes, (key, label) in zip(all_axes, AXES, strict=True):
            for i, (_, histories) in enumerate(groups):
                style = _style(i)
                if has_training_curves:
                    _draw_mean(axes, histories, key, {**TRAINING_STYLE, "color": style["color"]})
                _draw_mean(axes, histories, "val_" + key, style)
                if len(histories) > 1:
                    _draw_band(axes, histories, "val_" + key, style["color"])
            _finish_axes(axes, key, label)
        kinds = [Line2D([], [], color="gray", marker="o", markersize=4, label="validation")]
        if has_training_curves:
            is_point = any(line.get_marker() == SINGLE_EPOCH_MARKER for line in axes.lines)
            marker = SINGLE_EPOCH_MARKER if is_point else ""
            kinds.append(
                Line2D([], [], **TRAINING_STYLE, color="black", marker=marker, label="training")
            )
        options = {"frameon": False, "fontsize": 9}
        figure.legend(handles=kinds, loc="upper right", borderaxespad=0.2, ncols=2, **options)
        legend = figure.legend(
            # Matplotlib leaves out labels that begin with an underscore.
            [Line2D([], [], **_style(i)) for i in range(len(labels))],
            [f" {label}" for label in labels],
            title="Validation accuracy of the saved weights",
            alignment="left",
            loc="lower left",
            bbox_to_anchor=(0.03, (0.1 + note_height) / height),
            handlelength=3.5,
            ncols=columns,
            **options,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)  # a $ in a file name does not begin a formula
        figure.text(0.04, 0.1 / height, note, fontsize=9, parse_math=False)
        figure.savefig(path)


def _style(i: int) -> dict[str, Any]:
    """Return the style of the group number i, for each of 56 another one."""
    turn = i // len(COLORS)
    return {
        "color": COLORS[i % len(COLORS)],
        "marker": MARKERS[turn % len(MARKERS)],
        "linestyle": LINE_STYLES[turn % len(LINE_STYLES)],
        "markersize": 4,
    }


def _draw_mean(axes, histories, key, style):
    """Draw the mean over the epochs that all runs have, and from there on each longer run."""
    columns = [history[key] for history in histories if key in history]
    if not columns:
        return
    shared = min(map(len, columns))
    if shared == 1 and not style.get("marker"):
        style = {**style, "marker": SINGLE_EPOCH_MARKER}  # a single point has no line
    mean = np.mean([column[:shared] for column in columns], axis=0)
    _draw_curve(axes, range(1, shared + 1), mean, **style)
    for column in columns:
        if len(column) > shared:
            rest = {**style, "marker": "", "linewidth": 0.7}
            values = [mean[-1], *column[shared:]]
            _draw_curve(axes, range(shared, len(column) + 1), values, **rest)


def _draw_curve(axes, epochs, values, **style):
    step = math.ceil(len(values) / EPOCHS)
    axes.plot(epochs[::step], values[::step], **style)


def _draw_band(axes, histories, key, color):
    columns = [history[key] for history in histories if key in history]
    shared = min(map(len, columns), default=0)
    if len(columns) < 2:
        return
    values = np.array([column[:shared] for column in columns])
    with np.errstate(invalid="ignore"):  # a loss may have diverged
        mean, deviation = values.mean(axis=0), values.std(axis=0, ddof=1)
    low = np.maximum(mean - deviation, np.minimum(values.min(axis=0), 0))
    high = mean + deviation
    if key == "val_accuracy":
        high = np.minimum(high, np.maximum(values.max(axis=0), 1))
    step = math.ceil(shared / EPOCHS)
    epochs, low, high = range(1, shared + 1)[::step], low[::step], high[::step]
    axes.fill_between(epochs, low, high, color=color, alpha=0.12, linewidth=0)
    if shared == 1:  # a band has no width
        axes.vlines(epochs, low, high, color=color, linewidth=1)


def _finish_axes(axes, key, label):
    """Label the axes, and choose limits that show all that was drawn."""
    axes.set_xlabel("Epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    x, y = axes.dataLim.intervalx, axes.dataLim.intervaly
    if np.isfinite([*x, *y]).all():
        margin = max(0.05 * (x[1] - x[0]), 0.1)
        axes.set_xlim(max(x[0] - margin, 0.5), x[1] + margin)
        margin = max(0.05 * (y[1] - y[0]), 0.01)
        top = 1 if key == "accuracy" and y[1] <= 1 < y[1] + margin else y[1] + margin
        axes.set_ylim(max(y[0] - margin, min(y[0], 0)), top)
    if not axes.lines:
        axes.text(0.5, 0.5, "not recorded", ha="center", transform=axes.transAxes)
    if key == "accuracy":
        axes.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")
    for line in axes.lines:
        line.set_clip_on(False)  # a marker at 100 % is drawn whole

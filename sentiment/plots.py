"""All plots: the history of a training, several histories, and an explained prediction."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

# The color-blind safe palette of Okabe and Ito, with gray instead of its yellow, which is hard to
# see on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
MARKERS = "osD^vPX"
TRAINING_COLOR, VALIDATION_COLOR = COLORS[:2]
EXPLAINED_WORDS = 64  # as many as fit side by side
LABEL_CHARACTERS = 125  # as many as fit in a line of the legend
AXES = (("accuracy", "Accuracy"), ("loss", "Loss (binary cross-entropy)"))


def draw_history(history: list[dict], best_epoch: int, title: str, path):
    """Draw accuracy and loss against epochs, for training and validation.

    Args:
        history: one dictionary per epoch, with the keys ``epoch``, ``accuracy``, ``loss``,
            ``val_accuracy`` and ``val_loss``.
        best_epoch: the epoch whose weights are restored, which is marked.
        title: the title of the figure.
        path: the image file; its suffix chooses the format.
    """
    figure = Figure(figsize=(9, 3.8), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=12)
    epochs = [row["epoch"] for row in history]
    for axes, (key, label) in zip(figure.subplots(1, 2), AXES, strict=True):
        for prefix, color, style, name in (
            ("", TRAINING_COLOR, "o--", "training"),
            ("val_", VALIDATION_COLOR, "o-", "validation"),
        ):
            values = [row[prefix + key] for row in history]
            axes.plot(epochs, values, style, color=color, label=name, markersize=4)
        best = history[epochs.index(best_epoch)]["val_" + key]
        axes.plot(
            best_epoch,
            best,
            "o",
            color=VALIDATION_COLOR,
            markersize=11,
            fillstyle="none",
            markeredgewidth=2,
            label=f"restored: epoch {best_epoch}",
        )
        _label_axes(axes, key, label)
        axes.legend()
    figure.savefig(path)


def draw_comparison(groups: list[tuple[str, list[dict]]], note: str, path):
    """Overlay the curves of several trainings, one color each.

    Args:
        groups: a label and the histories of its runs, best group first. A history has one
            list per column. Several histories become their mean, for the validation set in a band
            of one standard deviation.
        note: a line below the legend.
        path: the image file; its suffix chooses the format.
    """
    labels = [
        textwrap.fill(label, LABEL_CHARACTERS, subsequent_indent=" " * 8) for label, _ in groups
    ]
    lines = sum(label.count("\n") + 1 for label in labels) + 2  # with the heading and the note
    height = 4.5 + 0.19 * lines
    figure = Figure(figsize=(10, height), dpi=110)
    all_axes = figure.subplots(1, 2)
    figure.subplots_adjust(0.07, 1 - 3.8 / height, 0.985, 1 - 0.1 / height, wspace=0.17)
    handles = [
        Line2D([], [], color="gray", label="validation"),
        Line2D([], [], color="gray", linestyle="--", linewidth=1, label="training"),
    ]
    all_axes[0].legend(handles=handles, loc="lower right")
    handles = []
    for i, (_, histories) in enumerate(groups):
        color = COLORS[i % len(COLORS)]
        marker = MARKERS[i // len(COLORS) % len(MARKERS)]
        style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 4}
        handles.append(Line2D([], [], **style))
        for axes, (key, _) in zip(all_axes, AXES, strict=True):
            _draw_mean(axes, histories, key, color=color, linestyle="--", linewidth=1, alpha=0.5)
            _draw_mean(axes, histories, "val_" + key, **style)
            if len(histories) > 1:
                _draw_band(axes, histories, "val_" + key, color)
    for axes, (key, label) in zip(all_axes, AXES, strict=True):
        _label_axes(axes, key, label)
        axes.relim()  # to the lines alone: a wide band would flatten all curves
        axes.autoscale_view()
    legend = figure.legend(
        # Matplotlib leaves out labels that begin with an underscore.
        handles,
        [f" {label}" for label in labels],
        title="Validation accuracy of the restored weights",
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(0.03, 0.25 / height),
        frameon=False,
        fontsize=9,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a $ in a file name does not begin a formula
    figure.text(0.04, 0.1 / height, note, fontsize=9, parse_math=False)
    figure.savefig(path)


def draw_explanation(words: list[str], probabilities, changes, path):
    """Draw how the probability of a positive review changes with each word.

    Args:
        words: the words in order.
        probabilities: the probability after each word, shape ``(words,)``.
        changes: by how much each word changed it, shape ``(words,)``.
        path: the image file; its suffix chooses the format.
    """
    places = np.arange(len(words))
    width = float(np.clip(0.24 * len(words), 6, 16))
    figure = Figure(figsize=(width, 4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.axhline(0.5, color="gray", linewidth=0.8)
    axes.bar(
        places,
        changes,
        bottom=probabilities - changes,
        width=0.9,
        color=[COLORS[0] if change > 0 else COLORS[1] for change in changes],
        alpha=0.6,
    )
    axes.step(places, probabilities, where="mid", color="black", linewidth=1.2)
    # If not all words fit, those that changed it most are shown.
    labeled = np.sort(np.argsort(-np.abs(changes), kind="stable")[:EXPLAINED_WORDS])
    axes.set_xticks(labeled, [words[i] for i in labeled], rotation=90, fontsize=9, parse_math=False)
    axes.set_xlim(-0.6, len(words) - 0.4)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylabel("Probability of positive after each word")
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path)


def _draw_mean(axes, histories, key, **style):
    values = _stack(histories, key)
    if values.size:
        axes.plot(range(1, values.shape[1] + 1), np.nanmean(values, axis=0), **style)


def _draw_band(axes, histories, key, color):
    values = _stack(histories, key)
    if values.size:
        mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0, ddof=1)
        epochs = range(1, values.shape[1] + 1)
        axes.fill_between(
            epochs, mean - deviation, mean + deviation, color=color, alpha=0.12, linewidth=0
        )


def _stack(histories, key):
    """Return one row per history, with NaN for the epochs that a run doesn't have."""
    columns = [history[key] for history in histories if key in history]
    values = np.full((len(columns), max(map(len, columns), default=0)), np.nan)
    for row, column in zip(values, columns, strict=True):
        row[: len(column)] = column
    return values


def _label_axes(axes, key, label):
    axes.set_xlabel("Epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if key == "accuracy":
        axes.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")

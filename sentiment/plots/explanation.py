"""Plot of an explained prediction."""

import math

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from rich.cells import cell_len

from sentiment.plots.fonts import PLACEHOLDER, PLACEHOLDER_NOTE, make_legible
from sentiment.plots.style import COLORS, shorten

RAISING_COLOR, LOWERING_COLOR = COLORS[:2]
WORDS_PER_ROW, ROWS = 50, 6
LARGE_CHANGE = 0.03  # of the probability: the word is colored, too
WORD_CELLS = 16  # width of a word in a terminal; longer words are shortened


def draw_explanation(words: list[str], probabilities, changes, path):
    """Draw how the probability of a positive review changes with each word.

    Of a long review the last words are drawn, in several rows.

    Args:
        words: the words in order.
        probabilities: the probability after each word, shape ``(words,)``.
        changes: by how much each word changed it, shape ``(words,)``.
        path: the image file; its suffix chooses the format.
    """
    texts, families = make_legible(
        shorten(word, WORD_CELLS) for word in words[-WORDS_PER_ROW * ROWS :]
    )
    notes = []
    if len(texts) < len(words):
        notes.append(f"The last {len(texts)} of {len(words):,} words")
    if any(PLACEHOLDER in text for text in texts):
        notes.append(PLACEHOLDER_NOTE)
    final = probabilities[-1]
    label = "positive" if final > 0.5 else "negative"

    count = math.ceil(len(texts) / WORDS_PER_ROW)
    columns = math.ceil(len(texts) / count)
    starts = range(0, len(texts), columns)
    # Each row is as high as its longest word needs.
    longest = [max(map(cell_len, texts[start : start + columns])) for start in starts]
    height = 1 + sum((2.6 if count == 1 else 1.3) + 0.09 * cells for cells in longest)
    with matplotlib.rc_context({"font.family": families}):
        size = (np.clip(0.24 * columns, 7, 12), height)
        figure = Figure(figsize=size, dpi=110, layout="constrained")
        figure.suptitle(f"Prediction: {label}, probability of positive {final:.1%}", fontsize=12)
        rows = figure.subplots(count, squeeze=False)[:, 0]
        shown = slice(len(words) - len(texts), None)
        for axes, start in zip(rows, starts, strict=True):
            row = slice(start, start + columns)
            _draw_words(axes, texts[row], probabilities[shown][row], changes[shown][row], columns)
        rows[-1].set_xlabel("; ".join(notes), fontsize=9, loc="left")
        figure.supylabel("Probability of positive after each word", fontsize=10)
        handles = [
            Patch(color=RAISING_COLOR, alpha=0.6, label="raises the probability"),
            Patch(color=LOWERING_COLOR, alpha=0.6, label="lowers the probability"),
            Line2D([], [], color="black", linewidth=1.2, label="probability"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path)


def _draw_words(axes, words, probabilities, changes, columns):
    """Draw a row of an explanation that has room for some number of words."""
    places = np.arange(len(words))
    colors = [RAISING_COLOR if change > 0 else LOWERING_COLOR for change in changes]
    axes.axhline(0.5, color="gray", linewidth=0.8)
    axes.bar(places, changes, 0.9, bottom=probabilities - changes, color=colors, alpha=0.6)
    edges = np.arange(len(words) + 1) - 0.5
    axes.stairs(probabilities, edges, baseline=None, color="black", linewidth=1.2)
    axes.set_xticks(places, words, rotation=90, fontsize=9, parse_math=False)
    for tick, change, color in zip(axes.get_xticklabels(), changes, colors, strict=True):
        if abs(change) >= LARGE_CHANGE:
            tick.set_color(color)
    # A short review does not get wide bars.
    margin = 0.6 + max(0, 12 - columns) / 2
    axes.set_xlim(-margin, columns - 1 + margin)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="y", alpha=0.3)

"""What the plots have in common."""

import textwrap

from rich.cells import cell_len, chop_cells

from sentiment.plots.fonts import PLACEHOLDER

# The color-blind safe palette of Okabe and Ito, with gray instead of its yellow, which is hard to
# see on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
LINES = 4  # of a legend's label, a note or a title; the rest is left out


def wrap(text: str, width: int, indent: str = "") -> str:
    """Wrap a text at a width in characters; a wide one, such as a Chinese one, counts as two."""
    cells = cell_len(text) + text.count(PLACEHOLDER)
    width = width * len(text) // max(cells, 1) or width
    return textwrap.fill(text, width, subsequent_indent=indent, max_lines=LINES, placeholder=" …")


def shorten(text: str, cells: int) -> str:
    """Return a text, or its beginning if it is wider than this in a terminal."""
    return text if cell_len(text) <= cells else chop_cells(text, cells - 1)[0] + "…"

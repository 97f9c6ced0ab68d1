"""Text in any script for Matplotlib, whose default font lacks many characters."""

import unicodedata
from collections.abc import Iterable

import matplotlib
from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font

PLACEHOLDER = "\N{WHITE SQUARE}"
PLACEHOLDER_NOTE = f"{PLACEHOLDER}: a character that no installed font has"
LAST_RESORT = "Last Resort"  # it has a box with a hexadecimal number for each character


def make_legible(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Find installed fonts for all characters, and replace those that no font has.

    Returns:
        The texts, and the font families that they need, for Matplotlib's ``font.family``.
    """
    texts = list(texts)
    default = FT2Font(str(findfont(FontProperties())))
    missing = _find_missing(default, {*"".join(texts)} - {" ", "\n"})
    families = list(matplotlib.rcParams["font.family"])
    if missing:
        more, missing = _find_families(missing)
        families += more
    # What only modifies the character before it, such as a variation selector, is left out.
    replacements = {
        ord(letter): "" if unicodedata.category(letter) in ("Mn", "Me", "Cf") else PLACEHOLDER
        for letter in missing
    }
    return [text.translate(replacements) for text in texts], families


def _find_families(letters: set[str]) -> tuple[list[str], set[str]]:
    """Return the fonts that have most of some characters, and the characters that no font has."""
    coverage = {}
    for entry in fontManager.ttflist:
        if entry.style == "normal" and not entry.name.startswith(LAST_RESORT):
            coverage[entry.name] = letters - _find_missing(_open(entry), letters)
    families = []
    while letters and coverage:
        family = max(coverage, key=lambda name: len(coverage[name] & letters))
        if not coverage[family] & letters:
            break
        families.append(family)
        letters = letters - coverage[family]
    return families, letters


def _open(entry: FontEntry) -> FT2Font | None:
    """Open a font, unless it consists of pictures, such as those of color emoji."""
    try:
        font = FT2Font(entry.fname, face_index=entry.index)
    except (OSError, RuntimeError):
        return None
    return font if font.scalable else None


def _find_missing(font: FT2Font | None, letters: set[str]) -> set[str]:
    return {letter for letter in letters if not (font and font.get_char_index(ord(letter)))}

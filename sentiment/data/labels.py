"""Which labels of a user's reviews are positive, and which are negative."""

import math
import re
from collections import Counter

from sentiment.data.tables import count

POSITIVE_LABELS = ("positive", "pos", "1", "true")
NEGATIVE_LABELS = ("negative", "neg", "0", "false", "-1")
MAXIMUM_CLASSES = 20  # more are not classes
CLASSES_SHOWN, CHARACTERS_SHOWN = 5, 40
# They would end an option, a list, or a text in double quotes.
_SPECIAL = re.compile(r'[%&,"#$`\\!]')
_WHOLE_NUMBER = re.compile(r"\+?(-?\d+)(\.0*)?")


class UnknownLabelError(ValueError):
    """A label that is neither positive nor negative."""


class Labels:
    """Says which labels are positive and which are negative, and counts them.

    Labels are compared in lower case, and 4.0 is the same as 4. If both lists are given, all other
    labels are to be skipped. If one is given, a single other label is accepted as the opposite.

    Args:
        positive, negative: the user's lists; None for the usual names.

    Attributes:
        counts: how often each label has been found.

    Raises:
        ValueError: if the lists can't be used.
    """

    def __init__(self, positive: list[str] | None = None, negative: list[str] | None = None):
        self.given = {1: positive, 0: negative}
        self.counts: Counter[str] = Counter()
        self.inferred: str | None = None
        names: dict[int, list[str] | tuple[str, ...]] = {}
        for label, chosen in self.given.items():
            names[label] = list(filter(None, map(normalize, chosen or [])))
            if chosen is not None and not names[label]:
                raise ValueError(f"there is no label after {('negative', 'positive')[label]}=")
        if positive is negative is None:
            names = {1: POSITIVE_LABELS, 0: NEGATIVE_LABELS}
        if both := set(names[1]) & set(names[0]):
            raise ValueError(f"the label {min(both)!r} is both positive and negative")
        self.values = {name: label for label, chosen in names.items() for name in chosen}

    def read(self, text: str) -> int | None:
        """Return 1 for a positive label, 0 for a negative one, None for one to skip.

        Raises:
            UnknownLabelError: if it is neither.
        """
        label = normalize(text)
        self.counts[label] += 1
        if self.counts[label] == 1:
            self._meet(label)
        return self.values.get(label)

    def count(self, text: str):
        """Count a label of any kind."""
        self.counts[normalize(text)] += 1

    def describe(self) -> list[str]:
        """Return what the user should know about the labels."""
        notes = []
        if self.inferred is not None:
            opposite = ("negative", "positive")[self.values[self.inferred]]
            notes.append(f"the label {self.inferred!r} is {opposite}: it is the only other label")
        skipped = {label: n for label, n in self.counts.items() if label not in self.values}
        if skipped:
            shown = [
                f"{label or 'empty'} ({n:,})"
                for label, n in sorted(skipped.items(), key=lambda item: -item[1])[:CLASSES_SHOWN]
            ]
            shown += ["…"] * (len(skipped) > len(shown))
            notes.append(
                f"{count(sum(skipped.values()), 'review')} skipped, labeled neither positive nor "
                f"negative: {', '.join(shown)}"
            )
        return notes

    def suggest(self) -> str:
        """Return options that map the labels found so far, as they follow a path."""
        classes = sorted(filter(None, self.counts))
        chosen = {label: names or [] for label, names in self.given.items()}
        guessed = dict(zip((1, 0), _guess(classes), strict=True))
        for label in (1, 0):
            if not chosen[label]:
                opposite = set(map(normalize, chosen[1 - label]))
                chosen[label] = [name for name in guessed[label] if name not in opposite]
                chosen[label] = chosen[label] or [c for c in classes if c not in opposite]
        return "&".join(
            f"{name}={','.join(map(escape, chosen[label]))}"
            for name, label in (("positive", 1), ("negative", 0))
        )

    def list_found(self, column: str) -> str:
        """Return the labels found so far in a column, for a message."""
        classes = sorted(filter(None, self.counts), key=lambda name: (_to_number(name), name))
        if len(classes) < 2:
            return f"the only label in column {column} is {''.join(classes) or 'none'}"
        return f"the labels in column {column} are {', '.join(classes[:-1])} and {classes[-1]}"

    def _meet(self, label):
        """Handle a label that is found for the first time."""
        if label in self.values or all(names is not None for names in self.given.values()):
            # Beside -1, the label 0 is not negative but neutral.
            if self.given == {1: None, 0: None} and label in ("0", "-1"):
                self.values.pop("-1" if label == "0" else "0", None)
            return
        sides = [side for side, names in self.given.items() if names is not None]
        if not (sides and label and self.inferred is None):
            shown = label if len(label) <= CHARACTERS_SHOWN else f"{label[:CHARACTERS_SHOWN]}…"
            raise UnknownLabelError(f"has the label {shown!r}" if label else "has no label")
        self.inferred = label
        self.values[label] = 1 - sides[0]


def normalize(text: str) -> str:
    """Return a label as it is compared."""
    label = text.strip().lower()
    match = _WHOLE_NUMBER.fullmatch(label)
    return match[1] if match else label


def escape(text: str) -> str:
    """Return a text as it is written after the path of a table, in double quotes."""
    return _SPECIAL.sub(lambda match: f"%{ord(match[0]):02X}", text)


def _to_number(label):
    try:
        number = float(label)
    except ValueError:
        return math.inf
    return number if math.isfinite(number) else math.inf


def _guess(classes):
    """Return the classes that may be positive, and those that may be negative."""
    if len(classes) < 2:
        return classes or ["good"], ["bad"]
    numbers = {label: _to_number(label) for label in classes}
    ordered = sorted(classes, key=lambda label: (numbers[label], label))
    low, high = numbers[ordered[0]], numbers[ordered[-1]]
    if low < high < math.inf:  # ratings
        middle, margin = (low + high) / 2, (high - low) / 10
        return (
            [label for label in ordered if numbers[label] > middle + margin],
            [label for label in ordered if numbers[label] < middle - margin],
        )
    positive = [label for label in ordered if label in POSITIVE_LABELS or "positive" in label]
    negative = [label for label in ordered if label in NEGATIVE_LABELS or "negative" in label]
    if positive and negative:
        return positive, negative
    return ordered[-1:], ordered[:1]

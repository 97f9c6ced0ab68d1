"""Which labels of a user's reviews are positive, and which are negative."""

import math
import re
from collections import Counter

from sentiment.data.tables import abbreviate, count

POSITIVE_LABELS = ("positive", "pos", "1", "true")
NEGATIVE_LABELS = ("negative", "neg", "0", "false", "-1")
MAXIMUM_CLASSES = 20  # more are not classes
CLASSES_SHOWN, CLASSES_COUNTED = 5, 1_000
CLASS_CHARACTERS = 100  # longer ones are not classes
OTHERS = "others"
# They would end an option, a list, or a text in double quotes.
_SPECIAL = re.compile(r'[%&,"#$`\\!]')
_WHOLE_NUMBER = re.compile(r"\+?(-?\d+)(\.0*)?")


class UnknownLabelError(ValueError):
    """A label that is neither positive nor negative."""


class Labels:
    """Says which labels are positive and which are negative, and counts the others.

    Labels are compared in lower case, and 4.0 is the same as 4. If both lists are given, all other
    labels are to be skipped. If one is given, a single other label is accepted as the opposite.

    Args:
        positive, negative: the user's lists; None for the usual names.

    Attributes:
        found: the different labels that have been found, shortened; only as many as are needed to
            tell that there are too many.
        skipped: how often each label that is to be skipped has been found, shortened likewise;
            those beyond the first thousand have a common name.

    Raises:
        ValueError: if the lists can't be used.
    """

    def __init__(self, positive: list[str] | None = None, negative: list[str] | None = None):
        self.given = {1: positive, 0: negative}
        self.found: set[str] = set()
        self.skipped: Counter[str] = Counter()
        self.inferred: str | None = None
        names: dict[int, list[str] | tuple[str, ...]] = {}
        for label, chosen in self.given.items():
            names[label] = list(filter(None, map(normalize, chosen or [])))
            if chosen is not None and not names[label]:
                raise ValueError(f"there is no label after {('negative', 'positive')[label]}=")
        if positive is negative is None:
            names = {1: POSITIVE_LABELS, 0: NEGATIVE_LABELS}
        if both := set(names[1]) & set(names[0]):
            raise ValueError(f"the label {abbreviate(min(both))!r} is both positive and negative")
        self.values = {name: label for label, chosen in names.items() for name in chosen}

    def read(self, text: str) -> int | None:
        """Return 1 for a positive label, 0 for a negative one, None for one to skip.

        Raises:
            UnknownLabelError: if it is neither.
        """
        label = self.add(text)
        if label not in self.values:
            self._meet_unknown(label)
        elif label in ("0", "-1") and self.given == {1: None, 0: None}:
            # Beside -1, the label 0 is not negative but neutral.
            self.values.pop("-1" if label == "0" else "0", None)
        return self.values.get(label)

    def add(self, text: str) -> str:
        """Add a label of any kind to those found, and return it normalized."""
        label = normalize(text)
        if label not in self.found and self.are_classes():
            self.found.add(abbreviate(label, CLASS_CHARACTERS))
        return label

    def are_classes(self) -> bool:
        """Return whether the labels found so far are few and short enough for classes."""
        longest = max(map(len, self.found), default=0)
        return len(self.found) <= MAXIMUM_CLASSES and longest <= CLASS_CHARACTERS

    def describe(self) -> list[str]:
        """Return what the user should know about the labels."""
        notes = []
        if self.inferred is not None:
            opposite = ("negative", "positive")[self.values[self.inferred]]
            notes.append(
                f"the label {abbreviate(self.inferred)!r} is {opposite}, because it is the only "
                "other label"
            )
        if self.skipped:
            shown = [
                f"{label or 'empty'} ({n:,})"
                for label, n in self.skipped.most_common(CLASSES_SHOWN)
            ]
            shown += ["…"] * (len(self.skipped) > len(shown))
            notes.append(
                f"{count(self.skipped.total(), 'review')} skipped, labeled neither positive nor "
                f"negative: {', '.join(shown)}"
            )
        return notes

    def suggest(self) -> str:
        """Return options that map the labels found so far, as they follow a path."""
        classes = sorted(filter(None, self.found))
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
        """Return the labels found so far in a column, for a message; there are few."""
        classes = sorted(filter(None, self.found), key=lambda name: (_to_number(name), name))
        if len(classes) < 2:
            return f"the only label in column {column} is {''.join(classes) or 'none'}"
        return f"the labels in column {column} are {', '.join(classes[:-1])} and {classes[-1]}"

    def _meet_unknown(self, label):
        sides = [side for side, names in self.given.items() if names is not None]
        if len(sides) == 2:
            name = abbreviate(label)
            is_counted = name in self.skipped or len(self.skipped) < CLASSES_COUNTED
            self.skipped[name if is_counted else OTHERS] += 1
            return
        if not (sides and label and self.inferred is None):
            raise UnknownLabelError(
                f"has the label {abbreviate(label)!r}" if label else "has no label"
            )
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

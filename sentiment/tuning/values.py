"""The values of a constant that a study tries: choices as in 32,64,128, or a range as in 0..0.5."""

import ast
import math
from dataclasses import dataclass
from typing import Any

import optuna

from sentiment.cli import ArgumentParser
from sentiment.constants import FLOATS, find_problem, option

LOG_SCALE = ("LEARNING_RATE", "EPSILON")


@dataclass(frozen=True)
class Choices:
    """Values of which each trial takes one; a single one is the same for all trials."""

    values: tuple

    @property
    def is_varied(self) -> bool:
        return len(self.values) > 1

    def has(self, value: Any) -> bool:
        return value in self.values

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        return trial.suggest_categorical(name, self.values) if self.is_varied else self.values[0]


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included."""

    low: float
    high: float
    is_log: bool
    is_varied = True

    def has(self, value: float) -> bool:
        return self.low <= value <= self.high and self._round(value) == value

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        if isinstance(self.low, int):
            return trial.suggest_int(name, self.low, int(self.high), log=self.is_log)
        return self._round(trial.suggest_float(name, self.low, self.high, log=self.is_log))

    def _round(self, value: float) -> float:
        """Return a number with three digits, which are enough and can be read."""
        if isinstance(self.low, int):
            return value
        scale = value if self.is_log else self.high - self.low
        return min(max(round(value, 2 - math.floor(math.log10(scale))), self.low), self.high)


def parse_values(parser: ArgumentParser, name: str, default: Any, text: str) -> Choices | Range:
    """Read the values of a constant from the command line.

    Args:
        parser: reports what is wrong.
        name: the constant.
        default: its value in the script, which gives the type.
        text: values separated by commas; for a number also two with ``..`` between them. A list or
            a dictionary is a single value.

    Raises:
        SentimentError: with status 2, if the constant can't have such values.
    """
    kind = float if name in FLOATS else type(default)
    is_range = kind in (int, float) and ".." in text
    # The data can't be varied: its validation reviews would differ. Its path may have commas.
    is_literal = name == "DATA" or kind not in (bool, int, float, str)
    values = []
    for part in [text] if is_literal else text.split(".." if is_range else ","):
        try:
            value = _convert(kind, part.strip())
        except Exception:  # literals raise many kinds
            example = "a..b" if is_range else repr(default)
            parser.error(f"{option(name)}: {part!r} is not a value such as {example}")
        if problem := find_problem(name, value):
            parser.error(f"{option(name)} must be {problem}, not {part}")
        values.append(value)
    if not is_range:
        return Choices(
            tuple(dict.fromkeys(values)) if kind in (bool, int, float, str) else (value,)
        )
    if len(values) != 2 or not values[0] < values[1] or math.isinf(values[1] - values[0]):
        parser.error(f"{option(name)}: a range is two numbers, the smaller one first, not {text}")
    if (is_log := name in LOG_SCALE) and values[0] <= 0:
        parser.error(f"{option(name)}: its range is on a log scale, so it must begin above 0")
    return Range(values[0], values[1], is_log)


def _convert(kind: type, text: str) -> Any:
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind is bool:
        raise ValueError
    return kind(text) if kind in (int, float, str) else ast.literal_eval(text)

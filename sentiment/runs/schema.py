"""What run.json, a checkpoint's state and a recipe hold, and how such files are read.

They may come from anywhere, so what is read from them is checked here, once.
"""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
from msgspec import Meta

from sentiment.paths import check_regular

MAXIMUM_BYTES = 10_000_000  # of a file; the largest real ones have a thousandth of that
MAXIMUM_DEPTH = 20  # of nested lists and objects
MAXIMUM_CHARACTERS = 300  # of an error
TYPES = {
    "float": "a number",
    "int": "a whole number",
    "str": "a string",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "datetime": "a date and time",
}
# How the messages of msgspec are worded here.
WORDING = {
    "Object missing required field (.*)": r"\1 is missing",
    "Invalid RFC3339 encoded datetime": "expected a date and time",
    "Invalid enum value": "unexpected value",
    "Number out of range": "the number is too large",
    r"of length <= (\d+)": r"of at most \1 items",
    "<=": "of at most",
    ">=": "of at least",
    "^Expected": "expected",
}

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Count = Annotated[int, Meta(ge=0, le=10**15)]
Positive = Annotated[int, Meta(ge=1, le=10**9)]
AnyConstants = Annotated[dict[str, Any], Meta(max_length=1_000)]


class Constants(TypedDict, total=False):
    """The constants that are used after training; a script may have others, of any JSON type."""

    NAME: str
    SEED: Count
    EPOCHS: Positive
    REFIT: bool
    VOCABULARY_SIZE: Positive
    MAXIMUM_TOKENS: Positive
    PADDING: Literal["post", "pre"]
    SENTENCE_WEIGHT: Annotated[float, Meta(ge=0, le=10)]


class Counts(TypedDict):
    training: Count
    validation: Count
    test: Count


class Data(Counts):
    source: str
    test_name: NotRequired[str]
    sentences: NotRequired[Counts]  # one-sentence reviews, which are not counted above


class Result(TypedDict):
    accuracy: Share
    loss: NotRequired[float]


class Results(TypedDict):
    validation: Result
    test: Result | None  # None: the test set was not evaluated


class Unsure(TypedDict):
    """When a prediction is unsure, as `sentiment.runs.measurement.choose_unsure` returns it."""

    margin: Share
    words: Count


class Refit(TypedDict):
    """The second training of a run with ``REFIT``, on training and validation reviews."""

    training: Count  # number of reviews, without one-sentence reviews
    epochs: Positive
    accuracy: Share  # on these reviews in the last epoch
    loss: float


class Record(TypedDict):
    """``run.json``. Older records lack some of it."""

    script: str
    started: NotRequired[datetime]
    constants: Constants
    data: Data
    versions: NotRequired[dict[str, str]]
    sha256: NotRequired[dict[str, str]]
    device: NotRequired[str]
    network: NotRequired[Annotated[list[str], Meta(max_length=300)]]
    parameters: Count
    seconds_per_epoch: Seconds
    epochs: NotRequired[Positive]
    best_epoch: Positive
    restored_epoch: NotRequired[Positive]
    validation: Result
    test: Result | None  # None: the test set was not evaluated
    sentences: NotRequired[Results]  # on one-sentence reviews
    unsure: NotRequired[Unsure]
    refit: NotRequired[Refit]


class UnvalidatedRow(TypedDict):
    epoch: Positive
    accuracy: Share
    loss: float
    seconds: Seconds


class Row(UnvalidatedRow):
    """An epoch of the history."""

    val_accuracy: Share
    val_loss: float


class RefitState(TypedDict):
    """The state of the second training, and what was measured after the first one."""

    history: list[UnvalidatedRow]
    unsure: Unsure
    sentences: NotRequired[Results]


class Metrics(TypedDict):
    """The metrics of each epoch, including custom ones."""

    history: list[dict[str, float]]


class State(TypedDict):
    """The state of a training run, as JSON in its checkpoint."""

    script: str
    started: datetime
    constants: Constants
    options: AnyConstants
    evaluate_test: bool
    like: str | None
    data: Data
    versions: dict[str, str]
    sha256: dict[str, str]
    history: list[Row]
    best: Row | None
    refit: RefitState | None  # None: the first training has not ended


class Recipe(TypedDict):
    script: str
    constants: AnyConstants


def check(value: object, *schemas: Any):
    """Raise a ValueError with the reason unless a value has the types and limits of all schemas."""
    try:
        for schema in schemas:
            msgspec.convert(value, schema)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        reason = re.sub(r"`([^`]*)`", _name_types, reason)
        for pattern, words in WORDING.items():
            reason = re.sub(pattern, words, reason)
        place = place.strip(".`")
        raise ValueError(f"{place}: {reason}"[:MAXIMUM_CHARACTERS].removeprefix(": ")) from None


def check_depth(value: object):
    """Raise a ValueError if lists and dictionaries are nested too deeply to be printed."""
    level = [value]
    for _ in range(MAXIMUM_DEPTH):
        level = [item for container in level for item in _list_items(container)]
    if level:
        raise ValueError(f"it is nested more than {MAXIMUM_DEPTH} levels deep")


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        OSError: if it can't be read.
        ValueError: if it is not a regular file, which might block, if it is too large, or if it is
            not UTF-8.
    """
    check_regular(path)
    with path.open("rb") as file:
        content = file.read(MAXIMUM_BYTES + 1)
    if len(content) > MAXIMUM_BYTES:
        raise ValueError(f"{path.name} has more than {MAXIMUM_BYTES // 10**6} MB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is damaged, not UTF-8 text") from None


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: if it is not JSON, or nested too deeply.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except ValueError:  # Python limits the digits of a number
        raise ValueError("a number in it has too many digits") from None
    check_depth(value)
    return value


def _list_items(value):
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _name_types(match: re.Match) -> str:
    return " or ".join(TYPES.get(name, name) for name in match[1].split(" | "))

"""A run as it is read: its record and its history, checked."""

import contextlib
import csv
import importlib
import io
import math
import platform
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from sentiment.data.tokenizer import SPECIAL_TOKENS
from sentiment.errors import SentimentError
from sentiment.paths import check_regular, models_folder
from sentiment.runs.atomic import hash_file, write_atomically, write_text
from sentiment.runs.folder import (
    HASHED_FILES,
    HISTORY,
    MODEL,
    RECORD,
    RESERVED_NAMES,
    STUDY,
    VOCABULARY,
    exists,
    find_run_folder,
)
from sentiment.runs.schema import Recipe, Record, check, parse_json, read_text

HISTORY_COLUMNS = ("epoch", "accuracy", "loss", "val_accuracy", "val_loss", "seconds")
MAXIMUM_EPOCHS = 100_000
LARGEST_LOSS = 1e9
PERCENT = 100.0  # as some programs write accuracies
MISSING = ("", "NA", None)  # how other programs write a missing number
OLD_NAMES = {"acc": "accuracy", "binary_accuracy": "accuracy"}  # as older Keras versions say


@dataclass(frozen=True)
class RunRecord:
    """A run folder, or a history file of any Keras program, as it is read.

    Attributes:
        name: the name of the folder or file.
        history: the lists of ``accuracy``, ``loss``, ``val_accuracy`` and ``val_loss``, as far as
            there are any, one number per epoch: accuracies from 0 to 1, and NaN for what is missing
            or absurd. At least one number is not NaN.
        metadata: the content of ``run.json``, a `sentiment.runs.schema.Record`; empty for a history
            alone.
    """

    name: str
    history: dict[str, list[float]]
    metadata: dict


def find_runs(path: Path) -> list[Path]:
    """Return the runs at a path: a run folder or history file itself, or all in a folder."""
    # A record or history that got into models/ itself does not hide the runs in it.
    is_run = path != models_folder() and any(exists(path / name) for name in (RECORD, HISTORY))
    try:
        inside = [] if is_run else sorted(path.iterdir())
    except OSError:  # a file, or read_record says what is wrong with it
        inside = []
    runs = [
        item
        for item in inside
        if not item.name.startswith(".")
        and (item.suffix in (".csv", ".json") or (exists(item) and item.is_dir()))
        and not exists(item / STUDY)
    ]
    return runs or [path]


def find_finished(name: str | Path) -> tuple[Path, dict]:
    """Return the folder and the metadata of a finished run.

    Args:
        name: its name in ``models/``, or the path of its folder; ``"newest"`` for the run in
            ``models/`` that was started last; ``"best"`` for the one with the highest validation
            accuracy among those whose words are known, so that they can read text.

    Raises:
        SentimentError: if there is no such run.
    """
    if name not in RESERVED_NAMES:
        folder = find_run_folder(str(name))
        if folder.is_relative_to(Path.cwd()):
            folder = folder.relative_to(Path.cwd())
        try:
            metadata = read_record(folder).metadata
            if not metadata:
                raise ValueError("it has only a history")
        except ValueError as error:
            raise SentimentError(f"the run {folder} can't be read: {error}") from None
        return folder, metadata
    finished = {}
    for folder in find_runs(models_folder()):
        with contextlib.suppress(ValueError):
            metadata = read_record(folder).metadata
            is_complete = exists(folder / MODEL) and (name == "newest" or _knows_words(folder))
            if metadata and is_complete:
                finished[folder] = metadata
    if not finished:
        raise SentimentError(
            f"there is no finished run in {models_folder()}/; train one first, with train_lstm.py"
        )
    if name == "newest":
        chosen = max(finished, key=lambda folder: finished[folder].get("started", ""))
    else:
        chosen = max(finished, key=lambda folder: finished[folder]["validation"]["accuracy"])
    return chosen, finished[chosen]


def read_record(path: Path) -> RunRecord:
    """Read a run folder, a ``history.csv``, or a JSON file of Keras' ``history.history``.

    Raises:
        ValueError: with the reason, if it is not a finished run.
    """
    try:
        if not path.is_dir():
            history = _read_history(path)
            name = path.resolve().parent.name if path.name == HISTORY else path.stem
            return RunRecord(name, history, {})
        if not (path / RECORD).exists():
            if (path / VOCABULARY).exists():
                raise ValueError("it is unfinished; to continue it, use --resume")
            if not (path / HISTORY).exists():
                raise ValueError("it is not a run folder, there is no run.json")
            return RunRecord(path.resolve().name, _read_history(path / HISTORY), {})
        metadata = _read_metadata(path / RECORD)
        for name in HASHED_FILES:
            if not (path / name).exists():
                continue
            check_regular(path / name)
            expected = metadata.get("sha256", {}).get(name)
            if expected and hash_file(path / name) != expected:
                raise ValueError(
                    f"{name} does not match its checksum in run.json; it was changed, or is of "
                    "another run"
                )
        return RunRecord(path.resolve().name, _read_history(path / HISTORY), metadata)
    except OSError as error:
        raise ValueError(f"it can't be read: {error.strerror or error}") from None


def write_history(path: Path, history: list[dict]):
    """Write a ``history.csv``, atomically."""

    # Custom metrics have columns of their own.
    columns = dict.fromkeys([*HISTORY_COLUMNS, *history[0]])

    def write(temporary):
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(history)

    write_atomically(path, write)


def write_vocabulary(path: Path, words: list[str]):
    """Write the word of each id, a line each, atomically."""
    write_text(path, "".join(f"{word}\n" for word in words))


def read_versions() -> dict[str, str]:
    """Return the versions on which the results of a training depend."""
    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        "keras": keras.__version__,
        backend: importlib.import_module(backend).__version__,
        "numpy": np.__version__,
    }


def _knows_words(folder: Path) -> bool:
    """Return whether a run's vocabulary has words; that of an ``.npz`` file may have none."""
    try:
        with (folder / VOCABULARY).open("rb") as file:
            return file.read(10_000).count(b"\n") > len(SPECIAL_TOKENS)
    except OSError:
        return False


def _read_metadata(path: Path) -> dict:
    """Return the content of ``run.json``; raise OSError or ValueError if it can't be used."""
    try:
        metadata = parse_json(read_text(path))
        check(metadata, Record, Recipe)  # which limits the number of constants
        return metadata
    except ValueError as error:
        raise ValueError(f"{RECORD} is damaged or incomplete: {error}") from None


def _read_history(path: Path) -> dict[str, list[float]]:
    """Return the columns of a history under their current names."""
    text = read_text(path)
    if path.suffix == ".json":
        content = parse_json(text)
        content = content.get("history", content) if isinstance(content, dict) else {}
        columns = content if isinstance(content, dict) else {}
    else:
        columns = _read_columns(text, path.name)
    history = {}
    for key, values in columns.items():
        if name := _rename(key):
            try:
                history[name] = _convert(values, name.endswith("accuracy"))
            except (TypeError, ValueError):
                raise ValueError(f"{path.name} has no list of numbers for {key}") from None
    if not {"accuracy", "loss"} & set(history):
        raise ValueError(f"{path.name} is not a history: it has no accuracy or loss")
    lengths = {len(values) for values in history.values()}
    if len(lengths) != 1:
        raise ValueError(f"{path.name} is not a history: its columns have different lengths")
    if max(lengths) > MAXIMUM_EPOCHS:
        raise ValueError(f"{path.name} has more than {MAXIMUM_EPOCHS:,} epochs")
    if all(math.isnan(value) for values in history.values() for value in values):
        raise ValueError(f"{path.name} has no finite accuracy or loss")
    return history


def _read_columns(text: str, name: str) -> dict[str, list[str]]:
    """Return the columns of accuracies and losses in a CSV file."""
    columns = {}
    try:
        header, *rows = filter(None, csv.reader(io.StringIO(text, newline="")))
        for i, key in enumerate(header):
            if _rename(key):
                columns[key] = [row[i] for row in rows]
    except IndexError:
        raise ValueError(f"{name} has a row without {key}") from None
    except (csv.Error, ValueError):
        raise ValueError(
            f"{name} is damaged, it has no header or a cell that is too long"
        ) from None
    return columns


def _rename(column: str) -> str | None:
    """Return the current name of an accuracy or a loss, and None for another column."""
    prefix, name = ("val_", column[4:]) if column.startswith("val_") else ("", column)
    name = OLD_NAMES.get(name, name)
    return prefix + name if name in ("accuracy", "loss") else None


def _convert(values: object, is_accuracy: bool) -> list[float]:
    """Return a column as `RunRecord` has it; raise TypeError or ValueError if it is not numbers."""
    if not isinstance(values, list):
        raise TypeError
    lowest, highest = (0.0, PERCENT) if is_accuracy else (-LARGEST_LOSS, LARGEST_LOSS)
    numbers = []
    for value in values:
        if isinstance(value, bool):
            raise TypeError
        try:
            number = math.nan if value in MISSING else float(value)
        except OverflowError:
            number = math.nan
        # Always the same NaN: lists that hold it are then equal.
        numbers.append(number if lowest <= number <= highest else math.nan)
    is_percent = is_accuracy and any(number > 1.5 for number in numbers)
    return [number / PERCENT for number in numbers] if is_percent else numbers

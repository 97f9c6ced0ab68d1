"""A run as it is read: its record and its history, checked."""

import contextlib
import csv
import importlib
import json
import platform
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from sentiment.data.tokenizer import SPECIAL_TOKENS
from sentiment.errors import SentimentError
from sentiment.paths import models_folder
from sentiment.runs.atomic import hash_file, write_atomically
from sentiment.runs.folder import (
    HASHED_FILES,
    HISTORY,
    RECORD,
    RESERVED_NAMES,
    VOCABULARY,
    find_run_folder,
)

HISTORY_COLUMNS = ("epoch", "accuracy", "loss", "val_accuracy", "val_loss", "seconds")
OLD_NAMES = {"acc": "accuracy", "binary_accuracy": "accuracy"}  # as older Keras versions say


@dataclass(frozen=True)
class RunRecord:
    """A run folder, or a history file of any Keras program, as it is read.

    Attributes:
        name: the name of the folder or file.
        history: the lists of ``accuracy``, ``loss``, ``val_accuracy`` and ``val_loss``, as far as
            there are any, one number per epoch.
        metadata: the content of ``run.json``; empty for a history alone.
    """

    name: str
    history: dict[str, list[float]]
    metadata: dict


def find_runs(path: Path) -> list[Path]:
    """Return the runs at a path: a run folder or history file itself, or all in a folder."""
    try:
        if not path.is_dir() or any((path / name).exists() for name in (RECORD, HISTORY)):
            return [path]
        inside = [
            item
            for item in sorted(path.iterdir())
            if not item.name.startswith(".") and (item.is_dir() or item.suffix in (".csv", ".json"))
        ]
        return inside or [path]
    except OSError:  # read_record says what is wrong with it
        return [path]


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
            if metadata and (name == "newest" or _knows_words(folder)):
                finished[folder] = metadata
    if not finished:
        raise SentimentError(
            f"there is no finished run in {models_folder()}/; train one first, with train_lstm.py"
        )
    if name == "newest":
        chosen = max(finished, key=lambda folder: str(finished[folder].get("started")))
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
            name = path.resolve().parent.name if path.name == HISTORY else path.stem
            return RunRecord(name, _read_history(path), {})
        if not (path / RECORD).exists():
            if (path / VOCABULARY).exists():
                raise ValueError("it is unfinished, there is no run.json yet")
            if not (path / HISTORY).exists():
                raise ValueError("it is not a run folder, there is no run.json")
            return RunRecord(path.resolve().name, _read_history(path / HISTORY), {})
        metadata = json.loads((path / RECORD).read_text(encoding="utf-8"))
        _check_metadata(metadata)
        for name in HASHED_FILES:
            expected = metadata.get("sha256", {}).get(name)
            if expected and (path / name).exists() and hash_file(path / name) != expected:
                raise ValueError(f"{name} does not match its checksum in run.json")
        return RunRecord(path.resolve().name, _read_history(path / HISTORY), metadata)
    except (KeyError, TypeError) as error:
        raise ValueError(f"run.json is damaged or incomplete: {error}") from None
    except (UnicodeDecodeError, csv.Error):
        raise ValueError("it is damaged, not a text file") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"it is damaged, not JSON: {error}") from None
    except OSError as error:
        raise ValueError(f"it can't be read: {error.strerror or error}") from None


def write_history(path: Path, history: list[dict]):
    """Write a ``history.csv``, atomically."""

    # What a user measures besides has columns of its own.
    columns = dict.fromkeys([*HISTORY_COLUMNS, *history[0]])

    def write(temporary):
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(history)

    write_atomically(path, write)


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
        return (folder / VOCABULARY).read_bytes().count(b"\n") > len(SPECIAL_TOKENS)
    except OSError:
        return False


def _check_metadata(metadata: dict):
    """Raise KeyError or TypeError unless ``run.json`` has all that is read from it."""
    required: list[tuple[type, tuple[str, ...]]] = [
        (str, ("script",)),
        (dict, ("constants",)),
        (str, ("data", "source")),
        (int, ("data", "training")),
        (int, ("data", "validation")),
        (int, ("data", "test")),
        (int, ("parameters",)),
        (float, ("seconds_per_epoch",)),
        (int, ("best_epoch",)),
        (float, ("validation", "accuracy")),
    ]
    if metadata["test"] is not None:  # null: the test set was not evaluated
        required.append((float, ("test", "accuracy")))
    for kind, path in required:
        value = metadata
        for key in path:
            value = value[key]
        if not isinstance(value, kind):
            raise TypeError(f"{'.'.join(path)} is {value!r}")
    if not isinstance(metadata.get("sha256", {}), dict):
        raise TypeError(f"sha256 is {metadata['sha256']!r}")


def _read_history(path: Path) -> dict[str, list[float]]:
    """Return the columns of a history under today's names."""
    if path.suffix == ".json":
        columns = json.loads(path.read_text(encoding="utf-8"))
        columns = columns.get("history", columns) if isinstance(columns, dict) else {}
    else:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns = {key: [row.get(key) for row in rows] for key in (rows[0] if rows else ())}
    history = {}
    for key, values in columns.items() if isinstance(columns, dict) else ():
        prefix, name = ("val_", key[4:]) if str(key).startswith("val_") else ("", key)
        name = OLD_NAMES.get(name, name)
        if name in ("accuracy", "loss"):
            try:
                if not isinstance(values, list):
                    raise TypeError
                history[prefix + name] = [float(value) for value in values]
            except (TypeError, ValueError, OverflowError):
                raise ValueError(f"{path.name} has no list of numbers for {key}") from None
    lengths = {len(values) for values in history.values()}
    if len(lengths) != 1 or not lengths.pop() or not {"accuracy", "loss"} & set(history):
        raise ValueError(f"{path.name} is not a history of accuracy or loss")
    return history

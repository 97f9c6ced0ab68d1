"""The run folder: the only file that knows its names and formats."""

import contextlib
import csv
import hashlib
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path

import sentiment.naive_bayes  # noqa: F401, Keras then knows the layer in saved networks
from sentiment.batches import predict
from sentiment.checkpoints import read_checkpoint
from sentiment.data import SOURCE_NAMES
from sentiment.terminal import make_printable
from sentiment.words import SPECIAL_WORDS, encode

import keras
import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

MODELS = Path("models")
PREDICTED_TOGETHER = 256  # reviews in a batch
HASHED_FILES = ("model.keras", "vocabulary.txt", "history.csv")
REPEATED = ("constants", "data", "versions", "sha256")  # what makes one training equal another
HISTORY_COLUMNS = ("epoch", "accuracy", "loss", "val_accuracy", "val_loss", "seconds")


def find_unfinished(script: str, name: str) -> tuple[Path, dict]:
    """Return the folder of a script's unfinished run, and the constants that its command named.

    Args:
        script: the name of its file.
        name: the run's name in ``models/``, or the path of its folder; empty for the newest.

    Raises:
        SystemExit: with status 1 after one line, where there is nothing to resume.
    """
    if name:
        folder = _find_folder(name)
        if (folder / "run.json").exists():
            raise SystemExit(f"{folder} is finished: there is nothing to resume")
        state, _ = load_checkpoint(folder)
        if state.get("script") != script:
            begun_by = make_printable(str(state.get("script")))
            raise SystemExit(f"{folder} was begun by {begun_by}, not by {script}")
        return folder, state["options"]
    found = []
    for path in MODELS.glob("*/checkpoint.npz"):
        with contextlib.suppress(OSError):  # its run may have ended just now
            found.append((path.stat().st_mtime, str(path.parent)))
    for _, folder in sorted(found, reverse=True):
        with contextlib.suppress(SystemExit):
            return find_unfinished(script, folder)
    raise SystemExit(f"There is no unfinished run of {script} in {MODELS}/")


def find_finished(script: str, name: str) -> tuple[Path, dict]:
    """Return the folder and the constants of a script's finished run.

    ``DATA`` is the source that the run read.

    Raises:
        SystemExit: with status 1 after one line, where there is no such run.
    """
    folder, record = _find_run(name)
    if record["script"] != script:
        made_by = make_printable(record["script"])
        raise SystemExit(f"{folder} was made by {made_by}, not by {script}")
    source = {long: short for short, long in SOURCE_NAMES.items()}.get(record["data"]["source"])
    return folder, {**record["constants"], **({"DATA": source} if source else {})}


def load_checkpoint(folder):
    """Return what a run's checkpoint holds."""
    try:
        state, arrays = read_checkpoint(folder / "checkpoint.npz")
        for key in ("options", *REPEATED):
            if not isinstance(state.get(key), dict):
                raise ValueError(f"checkpoint.npz is damaged: it has no {key}")
        return state, arrays
    except FileNotFoundError:
        raise SystemExit(
            f"{folder} can't be resumed, it has no checkpoint: train anew, under another name"
        ) from None
    except ValueError as error:
        raise SystemExit(f"{folder} can't be resumed: {error}") from None


def hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lock_folder(folder: Path):
    """Keep other processes from going on with a run; return the file whose closing lets them.

    Windows has no such lock.
    """
    try:
        file = (folder / "vocabulary.txt").open("rb")
    except OSError as error:
        raise SystemExit(f"Can't read {folder / 'vocabulary.txt'}: {error.strerror}") from None
    if fcntl:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"{folder} is being trained by another process") from None
        except OSError:  # some network file systems have no locks
            pass
    return file


@dataclass(frozen=True)
class PastRun:
    """What a run folder, or a history that somebody else saved, tells of a training.

    ``history`` holds one list a column, with Keras' own names; ``record`` is ``run.json``, empty
    for a bare history.
    """

    name: str
    history: dict[str, list[float]]
    record: dict


@dataclass(frozen=True)
class TrainedRun:
    """A finished run's network, with the encoding that it was trained with."""

    folder: Path
    accuracy: float  # on the validation part
    model: keras.Model
    ids: dict[str, int]
    maximum_tokens: int
    front_padded_to: int | None

    def encode(self, text: str) -> np.ndarray:
        """Return the int32 ids of a review, cut as they were in training."""
        return encode(text, self.ids)[-self.maximum_tokens :]

    def predict(self, sequences: list[np.ndarray]) -> np.ndarray:
        """Return the probability that each review is positive, shape ``(reviews,)``."""
        predict_on_batch = self.model.predict_on_batch
        return predict(predict_on_batch, sequences, PREDICTED_TOGETHER, self.front_padded_to)[:, 0]


def load_run(name: str | None = None) -> TrainedRun:
    """Load a finished run, with the faster LSTM where `sentiment.lstm` has been imported.

    Args:
        name: its name in ``models/``, or the path of its folder; without it the run in
            ``models/`` of the highest validation accuracy is taken.

    Raises:
        SystemExit: with status 1 after one line, where it can't be loaded.
    """
    folder, record = _find_run(name)
    constants = record["constants"]
    try:
        words = (folder / "vocabulary.txt").read_bytes().decode().split("\n")[:-1]
        if len(words) <= len(SPECIAL_WORDS):
            raise ValueError("it was trained on ids without their words, so it can't read text")
        if len(words) > constants["VOCABULARY_SIZE"]:
            raise ValueError("vocabulary.txt is not the network's, it has too many words")
        return TrainedRun(
            folder=folder,
            accuracy=record["validation"]["accuracy"],
            model=keras.saving.load_model(folder / "model.keras"),
            ids={word: i for i, word in enumerate(words)},
            maximum_tokens=constants["MAXIMUM_TOKENS"],
            front_padded_to=None if constants["MASK_PADDING"] else constants["MAXIMUM_TOKENS"],
        )
    except Exception as error:  # a damaged model fails in any way, a dangerous one is refused
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise SystemExit(make_printable(f"The run {folder} can't be loaded: {reason}")) from None


def _find_run(name: str | None) -> tuple[Path, dict]:
    """Return the folder and the record of the run called ``name``, or of the best one."""
    if name is not None:
        folder = _find_folder(name)
        try:
            record = read_run(folder).record
            if not record:
                raise ValueError("it has a history only")
        except ValueError as error:
            message = make_printable(f"The run {folder} can't be loaded: {error}")
            raise SystemExit(message) from None
        return folder, record
    records = {}
    for folder in find_runs(MODELS):
        with contextlib.suppress(ValueError):
            records[folder] = read_run(folder).record
    finished = {folder: record for folder, record in records.items() if record}
    if not finished:
        raise SystemExit(f"No finished run in {MODELS}/: train one first, with train_lstm.py")
    best = max(finished, key=lambda folder: finished[folder]["validation"]["accuracy"])
    return best, finished[best]


def _find_folder(name: str) -> Path:
    """Return the folder of the run called ``name``."""
    folder = MODELS / name if (MODELS / name).is_dir() else Path(name)
    if not folder.is_dir():
        raise SystemExit(f"There is no run {name!r} in {MODELS}/, nor such a run folder")
    return folder


def find_runs(path: Path) -> list[Path]:
    """Return the runs at a path: a run folder or history file itself, or all in a folder."""
    try:
        if not path.is_dir() or any((path / name).exists() for name in ("run.json", "history.csv")):
            return [path]
        inside = [
            item
            for item in sorted(path.iterdir())
            if not item.name.startswith(".") and (item.is_dir() or item.suffix in (".csv", ".json"))
        ]
        return inside or [path]
    except OSError:  # read_run says what is wrong with it
        return [path]


def read_run(path: Path) -> PastRun:
    """Read a run folder, a ``history.csv``, or a JSON file of Keras' ``history.history``.

    Raises:
        ValueError: whose text says why this is no finished run.
    """
    try:
        if not path.is_dir():
            name = path.parent.name if path.name == "history.csv" else path.stem
            return PastRun(name, _read_history(path), {})
        if not (path / "run.json").exists():
            if (path / "vocabulary.txt").exists():
                raise ValueError("unfinished, there is no run.json yet")
            if not (path / "history.csv").exists():
                raise ValueError("no run folder, there is no run.json")
            return PastRun(path.name, _read_history(path / "history.csv"), {})
        record = json.loads((path / "run.json").read_text(encoding="utf-8"))
        _check_record(record)
        _check_files(path, record)
        return PastRun(path.name, _read_history(path / "history.csv"), record)
    except (KeyError, TypeError) as error:
        raise ValueError(f"damaged, run.json is not complete: {error}") from None
    except (UnicodeDecodeError, csv.Error):
        raise ValueError("damaged, it is no text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"damaged, no JSON: {error}") from None
    except OSError as error:
        raise ValueError(f"it can't be read: {error.strerror}") from None


def _check_files(folder: Path, record: dict):
    """Raise ValueError where a run's file is not the one that its record was written for."""
    for name in HASHED_FILES:
        expected = record.get("sha256", {}).get(name)
        if expected and (folder / name).exists() and hash_file(folder / name) != expected:
            raise ValueError(f"{name} is not the one that run.json was written for")


def _check_record(record: dict):
    """Raise KeyError or TypeError unless ``run.json`` holds all that a comparison reads."""
    for kind, *path in (
        (str, "script"),
        (dict, "constants"),
        (str, "data", "source"),
        (int, "data", "training"),
        (int, "data", "validation"),
        (int, "data", "test"),
        (int, "parameters"),
        (float, "seconds_per_epoch"),
        (int, "best_epoch"),
        (float, "validation", "accuracy"),
        (float, "test", "accuracy"),
    ):
        value = record
        for key in path:
            value = value[key]
        if not isinstance(value, kind):
            raise TypeError(f"{'.'.join(path)} is {value!r}")
    if not isinstance(record.get("sha256", {}), dict):
        raise TypeError(f"sha256 is {record['sha256']!r}")


def _read_history(path: Path) -> dict[str, list[float]]:
    """Return the columns of a history under today's names, those that Keras 2 used included."""
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
        name = {"acc": "accuracy", "binary_accuracy": "accuracy"}.get(name, name)
        if name in ("accuracy", "loss"):
            try:
                if not isinstance(values, list):
                    raise TypeError
                history[prefix + name] = [float(value) for value in values]
            except (TypeError, ValueError):
                raise ValueError(f"damaged, {path.name} has no list of numbers for {key}") from None
    lengths = {len(values) for values in history.values()}
    if len(lengths) != 1 or not lengths.pop() or not {"accuracy", "loss"} & set(history):
        raise ValueError(f"{path.name} is no history of accuracy or loss")
    return history


def take_folder(name: str) -> Path:
    """Make the first folder of ``name``, ``name-2``, ``name-3`` … that does not exist yet."""
    try:
        MODELS.mkdir(exist_ok=True)
        for number in itertools.count(1):
            folder = MODELS / (name if number == 1 else f"{name}-{number}")
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                continue
    except OSError as error:
        raise SystemExit(
            f"Can't make a folder for this run in {MODELS.absolute()}: {error.strerror}"
        ) from None


def write_history(path: Path, history: list[dict]):
    def write(temporary):
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, HISTORY_COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(history)

    write_whole(path, write)


def write_text(path: Path, text: str):
    # Words hold line separators of many kinds, so the only one that counts is never translated.
    write_whole(path, lambda temporary: temporary.write_bytes(text.encode()))


def write_whole(path: Path, write):
    """Have ``write`` make a file, which appears under its name only once it is whole."""
    temporary = path.with_name(f".unfinished-{path.name}")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        reason = getattr(error, "strerror", None) or str(error)
        raise SystemExit(f"Can't write {path}: {reason}. What was saved before is whole.") from None

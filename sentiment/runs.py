"""The run folder: the only file that knows its names and formats."""

import contextlib
import csv
import importlib
import itertools
import json
import os
import platform
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import sentiment.naive_bayes  # noqa: F401, Keras then knows the layer in saved networks
from sentiment.batches import predict
from sentiment.data import SPECIAL_WORDS, Data, encode
from sentiment.plots import draw_history

import keras
import numpy as np

MODELS = Path("models")
PREDICTED_TOGETHER = 256  # reviews in a batch
HISTORY_COLUMNS = ("epoch", "accuracy", "loss", "val_accuracy", "val_loss", "seconds")


class Run(keras.callbacks.Callback):
    """A new folder under ``models/`` that records one training.

    As a callback of ``fit`` it writes ``history.csv`` after each epoch and ``model.keras`` after
    each epoch whose weights are to be kept, and leaves the model with the kept weights. If the
    optimizer averages weights (``use_ema``), these are the ones validated and kept. A folder is
    finished once ``finish`` has written its ``run.json``.

    Args:
        script: path of the training script.
        settings: the script's constants; ``NAME`` names the folder, and ``KEEP_WEIGHTS`` says
            whether to keep the weights of the epoch of lowest validation loss (``best``) or of
            the ``last`` epoch.
        data: what the training reads.

    Raises:
        SystemExit: with status 1 after one line, here and whenever a file can't be written.
    """

    def __init__(self, script: str, settings: dict, data: Data):
        super().__init__()
        self.script = Path(script).name
        self.settings = settings
        self.data = data
        self.started = datetime.now(timezone.utc)
        self.history = []
        self.kept = None
        # What could fail here had better do so before the training than after it.
        self.device = describe_device()
        backend = keras.backend.backend()
        self.versions = {
            "python": platform.python_version(),
            "keras": keras.__version__,
            backend: importlib.import_module(backend).__version__,
            "numpy": np.__version__,
        }
        self.folder = _take_folder(settings["NAME"])
        _write_text(
            self.folder / "vocabulary.txt", "".join(f"{word}\n" for word in data.vocabulary)
        )
        print(
            f"Reviews: {len(data.x_train):,} for training, {len(data.x_validation):,} for "
            f"validation, {len(data.x_test):,} for the test, from {data.source}"
            f"\nRun folder: {self.folder}"
        )

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_started = time.perf_counter()

    def on_test_begin(self, logs=None):
        # Averaged weights, where the optimizer has any, are those to validate and keep.
        self.trained_weights = self.model.get_weights()
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    def on_test_end(self, logs=None):
        self.validated_weights = self.model.get_weights()
        self.model.set_weights(self.trained_weights)

    def on_epoch_end(self, epoch, logs=None):
        seconds = round(time.perf_counter() - self.epoch_started, 2)
        row = {"epoch": epoch + 1, **logs, "seconds": seconds}
        if (
            self.settings["KEEP_WEIGHTS"] == "last"
            or self.kept is None
            or row["val_loss"] < self.kept["val_loss"]
        ):
            self.kept = row
            self.kept_weights = self.validated_weights
            write_whole(self.folder / "model.keras", self._save_model)
        self.history.append(row)
        _write_history(self.folder / "history.csv", self.history)

    def on_train_end(self, logs=None):
        self.model.set_weights(self.kept_weights)

    def finish(self, test: dict):
        """Write the plot and ``run.json``, and print a summary.

        Args:
            test: ``accuracy`` and ``loss`` of the kept weights on the test part.
        """
        seconds = round(sum(row["seconds"] for row in self.history) / len(self.history), 2)
        accuracy = f"{test['accuracy']:.2%} on {len(self.data.x_test):,} {self.data.test_name}"
        title = f"{self.folder.name}: test accuracy {accuracy}"
        write_whole(
            self.folder / "history.png",
            lambda path: draw_history(self.history, self.kept["epoch"], title, path),
        )
        record = {
            "script": self.script,
            "started": self.started.isoformat(timespec="seconds"),
            "constants": self.settings,
            "data": {
                "source": self.data.source,
                "training": len(self.data.x_train),
                "validation": len(self.data.x_validation),
                "test": len(self.data.x_test),
                "test_name": self.data.test_name,
            },
            "versions": self.versions,
            "device": self.device,
            "parameters": self.model.count_params(),
            "seconds_per_epoch": seconds,
            "epochs": len(self.history),
            "best_epoch": min(self.history, key=lambda row: row["val_loss"])["epoch"],
            "kept_epoch": self.kept["epoch"],
            "validation": {"accuracy": self.kept["val_accuracy"], "loss": self.kept["val_loss"]},
            "test": test,
        }
        _write_text(self.folder / "run.json", json.dumps(record, indent=2) + "\n")
        print(
            f"\nTest accuracy      {accuracy}"
            f"\nBest epoch         {record['best_epoch']} of {record['epochs']}"
            f"\nKept weights       epoch {self.kept['epoch']}: validation accuracy "
            f"{self.kept['val_accuracy']:.2%}"
            f"\nSeconds per epoch  {seconds:.1f} ({self.device})"
            f"\nRun folder         {self.folder}"
        )

    def _save_model(self, path):
        # A copy has no optimizer, whose state would make the file three times as large.
        model = type(self.model).from_config(self.model.get_config())
        model.set_weights(self.kept_weights)
        model.save(path)


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
        raise SystemExit(f"The run {folder} can't be loaded: {reason}") from None


def _find_run(name: str | None) -> tuple[Path, dict]:
    """Return the folder and the record of the run called ``name``, or of the best one."""
    if name is not None:
        folder = MODELS / name if (MODELS / name).is_dir() else Path(name)
        try:
            record = read_run(folder).record if folder.is_dir() else {}
        except ValueError as error:
            raise SystemExit(f"The run {folder} can't be loaded: {error}") from None
        if not record:
            raise SystemExit(f"There is no run {name!r} in {MODELS}/, nor such a run folder")
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
        return PastRun(path.name, _read_history(path / "history.csv"), record)
    except (KeyError, TypeError) as error:
        raise ValueError(f"damaged, run.json is not complete: {error}") from None
    except (UnicodeDecodeError, csv.Error):
        raise ValueError("damaged, it is no text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"damaged, no JSON: {error}") from None
    except OSError as error:
        raise ValueError(f"it can't be read: {error.strerror}") from None


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


def describe_device() -> str:
    """Name the devices that train: the GPUs if there are any, else the processor."""
    gpus = keras.distribution.list_devices("gpu")
    if gpus:
        return ", ".join(gpus)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"CPU: {name}, {os.cpu_count()} cores"


def _take_folder(name: str) -> Path:
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


def _write_history(path: Path, history: list[dict]):
    def write(temporary):
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, HISTORY_COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(history)

    write_whole(path, write)


def _write_text(path: Path, text: str):
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

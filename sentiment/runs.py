"""The run folder: the only file that knows its names and formats."""

import contextlib
import csv
import hashlib
import importlib
import itertools
import json
import os
import platform
import signal
import sys
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import sentiment.naive_bayes  # noqa: F401, Keras then knows the layer in saved networks
from sentiment import checks
from sentiment.batches import predict
from sentiment.checkpoints import read_checkpoint, restore, write_checkpoint
from sentiment.data import SOURCE_NAMES, SPECIAL_WORDS, Data, encode
from sentiment.own_data import make_printable
from sentiment.plots import draw_history

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


class Run(keras.callbacks.Callback):
    """A folder under ``models/`` that records one training, and lets it go on if it is broken off.

    As a callback of ``fit`` it writes, after each epoch, ``model.keras`` if the epoch's weights
    are to be kept, ``history.csv``, and ``checkpoint.npz``, from which the next epoch can be
    trained; it leaves the model with the kept weights. If the optimizer averages weights
    (``use_ema``), these are the ones validated and kept. A folder is finished once ``finish`` has
    written its ``run.json``; the checkpoint is then deleted.

    Args:
        script: path of the training script.
        settings: the script's `sentiment.settings.Settings`. The constant ``NAME`` names the
            folder, and ``KEEP_WEIGHTS`` says whether to keep the weights of the epoch of lowest
            validation loss (``best``) or of the ``last`` epoch.
        data: what the training reads.

    Attributes:
        finished_epochs: epochs that a resumed run had finished; 0 for a new run.

    Raises:
        SystemExit: after one line; with status 1, here and whenever a file can't be written or the
            training makes no sense, with status 130 after Ctrl-C.
    """

    def __init__(self, script: str, settings, data: Data):
        super().__init__()
        self.settings = settings
        self.data = data
        self.state = {
            "script": Path(script).name,
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "constants": settings.constants,
            "options": settings.options,
            "data": {
                "source": data.source,
                "training": len(data.x_train),
                "validation": len(data.x_validation),
                "test": len(data.x_test),
                "test_name": data.test_name,
            },
            "versions": _read_versions(),
            "sha256": {Path(script).name: _hash_file(Path(script)), "data": _hash_data(data)},
            "history": [],
            "kept": None,  # the row of the history whose weights are kept
        }
        self.folder = settings.resumed
        if self.folder:
            self.lock = _lock(self.folder)
            began, self.arrays = _read_checkpoint(self.folder)
            if differences := _find_differences(began, self.state):
                raise SystemExit(
                    f"{self.folder} can only be resumed as it was begun: {differences[0]}"
                )
            self.state = began
        self.finished_epochs = len(self.history)
        # What could fail here had better do so before the training than after it.
        self.device = describe_device()
        print(
            f"Reviews: {len(data.x_train):,} for training, {len(data.x_validation):,} for "
            f"validation, {len(data.x_test):,} for the test, from {data.source}"
        )
        self._warn(checks.check_data(data) + checks.check_device(self.device))
        self.interrupted = self.training = False
        self.handler = None
        if threading.current_thread() is threading.main_thread():
            self.handler = signal.signal(signal.SIGINT, self._interrupt)

    @property
    def history(self) -> list[dict]:
        return self.state["history"]

    @property
    def kept(self) -> dict | None:
        return self.state["kept"]

    def on_train_begin(self, logs=None):
        checks.check_network(self.model, self.data)
        self.model.optimizer.build(self.model.trainable_variables)
        if self.folder:
            try:
                self.kept_weights = restore(self.model, self.arrays)
            except ValueError as error:
                raise SystemExit(f"{self.folder} can't be resumed: {error}") from None
        else:
            self.kept_weights = None
            self.folder = _take_folder(self.settings.constants["NAME"])
            vocabulary = "".join(f"{word}\n" for word in self.data.vocabulary)
            _write_text(self.folder / "vocabulary.txt", vocabulary)
            self.lock = _lock(self.folder)
            self._write_checkpoint()
        print(f"Run folder: {self.folder}")
        self.training = True

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if problems := checks.check_loss(logs["loss"]):
            kept = f"epoch {self.kept['epoch']}" if self.kept else "these steps"
            self._leave(f"{problems[0]}. {self.folder} has the weights of {kept}", status=1)
        self._leave_if_interrupted()

    def on_test_begin(self, logs=None):
        # Averaged weights, where the optimizer has any, are those to validate and keep.
        self.trained_weights = self.model.get_weights()
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    def on_test_batch_end(self, batch, logs=None):
        self._leave_if_interrupted()

    def on_test_end(self, logs=None):
        self.validated_weights = self.model.get_weights()
        self.model.set_weights(self.trained_weights)

    def on_epoch_end(self, epoch, logs=None):
        seconds = round(time.perf_counter() - self.epoch_started, 2)
        row = {"epoch": epoch + 1, **logs, "seconds": seconds}
        if (
            self.settings.constants["KEEP_WEIGHTS"] == "last"
            or self.kept is None
            or row["val_loss"] < self.kept["val_loss"]
        ):
            self.state["kept"] = row
            self.kept_weights = self.validated_weights
            write_whole(self.folder / "model.keras", self._save_model)
        self.history.append(row)
        _write_history(self.folder / "history.csv", self.history)
        self._write_checkpoint()
        self._warn(checks.check_epoch(row))

    def on_train_end(self, logs=None):
        self.training = False
        self._leave_if_interrupted()
        self.model.set_weights(self.kept_weights)

    def finish(self, test: dict):
        """Write the plot and ``run.json``, and print a summary.

        Args:
            test: ``accuracy`` and ``loss`` of the kept weights on the test part.
        """
        seconds = round(sum(row["seconds"] for row in self.history) / len(self.history), 2)
        accuracy = f"{test['accuracy']:.2%} on {len(self.data.x_test):,} {self.data.test_name}"
        self._draw(f"{self.folder.name}: test accuracy {accuracy}")
        record = {
            **{key: self.state[key] for key in ("script", "started", *REPEATED)},
            "device": self.device,
            "parameters": self.model.count_params(),
            "seconds_per_epoch": seconds,
            "epochs": len(self.history),
            "best_epoch": min(self.history, key=lambda row: row["val_loss"])["epoch"],
            "kept_epoch": self.kept["epoch"],
            "validation": {"accuracy": self.kept["val_accuracy"], "loss": self.kept["val_loss"]},
            "test": test,
        }
        files = {name: _hash_file(self.folder / name) for name in HASHED_FILES}
        record["sha256"] = {**record["sha256"], **files}
        _write_text(self.folder / "run.json", json.dumps(record, indent=2) + "\n")
        (self.folder / "checkpoint.npz").unlink(missing_ok=True)
        self._release_interrupt()
        print(
            f"\nTest accuracy      {accuracy}"
            f"\nBest epoch         {record['best_epoch']} of {record['epochs']}"
            f"\nKept weights       epoch {self.kept['epoch']}: validation accuracy "
            f"{self.kept['val_accuracy']:.2%}"
            f"\nSeconds per epoch  {seconds:.1f} ({self.device})"
            f"\nRun folder         {self.folder}"
        )
        if self.settings.like:
            print(self._compare_with(self.settings.like))

    def _interrupt(self, *_):
        self.interrupted = True
        self._release_interrupt()
        if self.training:
            print("\nStopping after this step. Ctrl-C again stops at once.", flush=True)
        else:
            self._leave_if_interrupted()

    def _release_interrupt(self):
        if self.handler is not None:
            signal.signal(signal.SIGINT, self.handler)

    def _leave_if_interrupted(self):
        if self.interrupted:
            script, epochs = self.state["script"], len(self.history)
            self._leave(
                f"stopped after {epochs} of {self.settings.constants['EPOCHS']} epochs. To go on: "
                f"python {script} --resume {self.folder.name}"
                if self.folder
                else "stopped before the training began",
                status=130,
            )

    def _leave(self, message, status):
        """End the process, leaving a network and, if there is a history, its plot."""
        if self.kept:
            self._draw(f"{self.folder.name}, unfinished: {len(self.history)} epochs")
        elif self.training:
            self.kept_weights = self.model.get_weights()
            write_whole(self.folder / "model.keras", self._save_model)
        print(f"\n{self.state['script']}: {message}", file=sys.stderr)
        raise SystemExit(status)

    def _warn(self, problems):
        for problem in problems:
            print(f"\nCareful: {problem}")

    def _compare_with(self, folder):
        """Say whether this run came out as another one."""
        other = read_run(folder)
        same_history = all(
            [row[name] for row in self.history] == other.history[name] for name in other.history
        )
        weights = keras.saving.load_model(folder / "model.keras").get_weights()
        same_weights = len(weights) == len(self.kept_weights) and all(
            np.array_equal(*pair) for pair in zip(weights, self.kept_weights, strict=True)
        )
        if same_history and same_weights:
            return f"Matched            {folder}: the same history and weights"
        here = {**self.state, "device": {"device": self.device}}
        there = {**other.record, "device": {"device": other.record.get("device")}}
        differences = _find_differences(there, here) or ["nothing else differs"]
        accuracy = other.record["validation"]["accuracy"]
        return (
            f"Not matched        {folder}: validation accuracy was {accuracy:.2%} and is "
            f"{self.kept['val_accuracy']:.2%}; {'; '.join(differences)}"
        )

    def _draw(self, title):
        write_whole(
            self.folder / "history.png",
            lambda path: draw_history(self.history, self.kept["epoch"], title, path),
        )

    def _write_checkpoint(self):
        write_whole(
            self.folder / "checkpoint.npz",
            lambda path: write_checkpoint(path, self.state, self.model, self.kept_weights),
        )

    def _save_model(self, path):
        # A copy has no optimizer, whose state would make the file three times as large.
        model = type(self.model).from_config(self.model.get_config())
        model.set_weights(self.kept_weights)
        model.save(path)


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
        state, _ = _read_checkpoint(folder)
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


def _read_checkpoint(folder):
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


def _find_differences(then: dict, now: dict) -> list[str]:
    """Say in which of its conditions a training is not the one that it was."""
    return [
        f"{name} was {then.get(kind, {}).get(name)} and is {value}"
        for kind in (*REPEATED, "device")
        for name, value in now.get(kind, {}).items()
        if then.get(kind, {}).get(name) != value
    ]


def _hash_data(data: Data) -> str:
    digest = hashlib.sha256("\n".join(data.vocabulary).encode())
    for part in ("train", "validation", "test"):
        for sequence in getattr(data, f"x_{part}"):
            digest.update(sequence.tobytes())
            digest.update(b"\xff")  # no id has this byte at its end
        digest.update(getattr(data, f"y_{part}").tobytes())
    return digest.hexdigest()


def _read_versions() -> dict[str, str]:
    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        "keras": keras.__version__,
        backend: importlib.import_module(backend).__version__,
        "numpy": np.__version__,
    }


def _check_files(folder: Path, record: dict, *names: str):
    """Raise ValueError where a run's file is not the one that its record was written for."""
    for name, expected in record.get("sha256", {}).items():
        if name in names and _hash_file(folder / name) != expected:
            raise ValueError(f"{name} is not the one that run.json was written for")


def _hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _lock(folder: Path):
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
        _check_files(folder, record, "model.keras", "vocabulary.txt")
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
        _check_files(path, record, "history.csv")
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

"""A training as it is recorded: what is written when, and what it is stopped for."""

import contextlib
import hashlib
import importlib
import json
import platform
import signal
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

from sentiment import checks, runs
from sentiment.checkpoints import restore, write_checkpoint
from sentiment.data import Data
from sentiment.devices import alone, describe_device, from_first, is_first
from sentiment.plots import draw_history
from sentiment.settings import Settings
from sentiment.terminal import make_printable, open_nowhere, quiet_libraries

import keras
import numpy as np

# Where TensorFlow is installed, a training imports it on every backend.
with quiet_libraries(), contextlib.suppress(ImportError):
    import tensorflow  # noqa: F401

REVIEWS_HASHED_WHOLE = 1_000_000  # of more, what tells them apart is enough


class Run(keras.callbacks.Callback):
    """A folder under ``models/`` that records one training, and lets it go on if it is broken off.

    As a callback of ``fit`` it writes, after each epoch, ``model.keras`` if the epoch's weights
    are to be kept, ``history.csv``, and ``checkpoint.npz``, from which the next epoch can be
    trained; it leaves the model with the kept weights. If the optimizer averages weights
    (``use_ema``), these are the ones validated and kept. A folder is finished once ``finish`` has
    written its ``run.json``; the checkpoint is then deleted.

    Args:
        script: path of the training script.
        settings: what `read_settings` returned. The constant ``NAME`` names the folder, and
            ``KEEP_WEIGHTS`` says whether to keep the weights of the epoch of lowest validation
            loss (``best``) or of the ``last`` epoch.
        data: what the training reads.

    Attributes:
        first_epoch: number of the epoch to begin with, from 0; in a resumed run a later one.

    Raises:
        SystemExit: after one line; with status 1, here and whenever a file can't be written or the
            training makes no sense, with status 130 after Ctrl-C.
    """

    async_safe = True  # so that Keras begins a step before it knows the loss of the one before

    def __init__(self, script: str, settings: Settings, data: Data):
        super().__init__()
        self.settings = settings
        self.data = data
        self.state = {
            "script": Path(script).name,
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "constants": settings.constants,
            "options": settings.options,
            "like": str(settings.like) if settings.like else None,
            "data": {
                "source": data.source,
                "training": len(data.x_train),
                "validation": len(data.x_validation),
                "test": len(data.x_test),
                "test_name": data.test_name,
            },
            "versions": _read_versions(),
            "sha256": {Path(script).name: runs.hash_file(Path(script)), "data": _hash_data(data)},
            "history": [],
            "kept": None,  # the row of the history whose weights are kept
        }
        if differences := _find_differences(from_first(lambda: self.state), self.state):
            raise SystemExit(f"This process trains otherwise than the first one: {differences[0]}")
        self.folder = settings.resumed
        if self.folder:
            began, self.arrays = from_first(self._load_checkpoint)
            if differences := _find_differences(began, self.state):
                raise SystemExit(
                    f"{self.folder} can only be resumed as it was begun: {differences[0]}"
                )
            self.state = began
        self.first_epoch = len(self.history)
        # What could fail here had better do so before the training than after it.
        self.device = describe_device()
        print(
            f"Reviews: {len(data.x_train):,} for training, {len(data.x_validation):,} for "
            f"validation, {len(data.x_test):,} for the test, from {data.source}"
        )
        self._warn(checks.check_data(data) + checks.check_device(self.device))
        self.problems = []
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
            del self.arrays
        else:
            self.kept_weights = None
            self.folder = from_first(self._take_folder)
        print(f"Run folder: {self.folder}")
        self.training = True

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_started = time.perf_counter()
        # On PyTorch dropout draws from a generator whose state is not the network's.
        keras.utils.set_random_seed((self.settings.constants["SEED"] + epoch) % 2**32)

    def on_train_batch_begin(self, batch, logs=None):
        self._leave_if_loss_explodes()
        self._leave_if_interrupted()

    def on_train_batch_end(self, batch, logs=None):  # Keras may call it in another thread
        self.problems += checks.check_loss(logs["loss"])

    def on_test_begin(self, logs=None):
        # Averaged weights, where the optimizer has any, are those to validate and keep.
        self.trained_weights = self.model.get_weights()
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        # JAX reuses the memory of what it validates, which must not be that of the averages.
        self.model.set_weights(self.model.get_weights())

    def on_test_batch_begin(self, batch, logs=None):
        self._leave_if_interrupted()

    def on_test_end(self, logs=None):
        self.validated_weights = self.model.get_weights()
        self.model.set_weights(self.trained_weights)

    def on_epoch_end(self, epoch, logs=None):
        self._leave_if_loss_explodes()
        seconds = round(time.perf_counter() - self.epoch_started, 2)
        row = {"epoch": epoch + 1, **logs, "seconds": seconds}
        if (
            self.settings.constants["KEEP_WEIGHTS"] == "last"
            or self.kept is None
            or row["val_loss"] < self.kept["val_loss"]
        ):
            self.state["kept"] = row
            self.kept_weights = self.validated_weights
            if is_first():
                runs.write_whole(self.folder / "model.keras", self._save_model)
        self.history.append(row)
        if is_first():
            runs.write_history(self.folder / "history.csv", self.history)
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
        if not is_first():
            return
        seconds = round(sum(row["seconds"] for row in self.history) / len(self.history), 2)
        accuracy = f"{test['accuracy']:.2%} on {len(self.data.x_test):,} {self.data.test_name}"
        self._draw(f"{self.folder.name}: test accuracy {accuracy}")
        record = {
            **{key: self.state[key] for key in ("script", "started", *runs.REPEATED)},
            "device": self.device,
            "parameters": self.model.count_params(),
            "seconds_per_epoch": seconds,
            "epochs": len(self.history),
            "best_epoch": min(self.history, key=lambda row: row["val_loss"])["epoch"],
            "kept_epoch": self.kept["epoch"],
            "validation": {"accuracy": self.kept["val_accuracy"], "loss": self.kept["val_loss"]},
            "test": test,
        }
        files = {name: runs.hash_file(self.folder / name) for name in runs.HASHED_FILES}
        record["sha256"] = {**record["sha256"], **files}
        runs.write_text(self.folder / "run.json", json.dumps(record, indent=2) + "\n")
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
        if self.state.get("like"):
            print(self._compare_with(Path(self.state["like"])))

    def _load_checkpoint(self):
        self.lock = runs.lock_folder(self.folder)
        return runs.load_checkpoint(self.folder)

    def _take_folder(self):
        self.folder = runs.take_folder(self.settings.constants["NAME"])
        vocabulary = "".join(f"{word}\n" for word in self.data.vocabulary)
        runs.write_text(self.folder / "vocabulary.txt", vocabulary)
        self.lock = runs.lock_folder(self.folder)
        self._write_checkpoint()
        return self.folder

    def _interrupt(self, *_):
        self._release_interrupt()
        if not is_first():
            _say("\nThe first process stops all. Ctrl-C again stops at once.")
            return
        self.interrupted = True
        # A program that reads what is printed, such as tee, gets the same Ctrl-C.
        sys.stdout = open_nowhere()
        if self.training:
            _say("\nStopping after this step. Ctrl-C again stops at once.")
        else:
            self._leave_if_interrupted()

    def _release_interrupt(self):
        if self.handler is not None:
            signal.signal(signal.SIGINT, self.handler)

    def _leave_if_loss_explodes(self):
        # Of several processes only the first leaves: the steps that it has begun need the others.
        if self.problems and is_first():
            kept = f"epoch {self.kept['epoch']}" if self.kept else "these steps"
            self._leave(f"{self.problems[0]}. {self.folder} has the weights of {kept}", status=1)

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
            runs.write_whole(self.folder / "model.keras", self._save_model)
        _say(f"\n{self.state['script']}: {message}")
        raise SystemExit(status)

    def _warn(self, problems):
        for problem in problems:
            print(f"\nCareful: {problem}")

    def _compare_with(self, folder):
        """Say whether this run came out as another one."""
        other = runs.read_run(folder)
        same_history = all(
            [row[name] for row in self.history] == other.history[name] for name in other.history
        )
        with alone():
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
        runs.write_whole(
            self.folder / "history.png",
            lambda path: draw_history(self.history, self.kept["epoch"], title, path),
        )

    def _write_checkpoint(self):
        runs.write_whole(
            self.folder / "checkpoint.npz",
            lambda path: write_checkpoint(path, self.state, self.model, self.kept_weights),
        )

    def _save_model(self, path):
        # A copy has no optimizer, whose state would make the file three times as large.
        with alone():
            model = type(self.model).from_config(self.model.get_config())
            model.set_weights(self.kept_weights)
            model.save(path)


def _say(message):
    with contextlib.suppress(BrokenPipeError):  # nobody reads it any more
        print(message, file=sys.stderr, flush=True)


def _find_differences(then: dict, now: dict) -> list[str]:
    """Say in which of its conditions a training is not the one that it was."""
    return [
        make_printable(f"{name} was {then.get(kind, {}).get(name)} and is {value}")
        for kind in (*runs.REPEATED, "device")
        for name, value in now.get(kind, {}).items()
        if then.get(kind, {}).get(name) != value
    ]


def _hash_data(data: Data) -> str:
    digest = hashlib.sha256("\n".join(data.vocabulary).encode())
    for part in ("train", "validation", "test"):
        x = getattr(data, f"x_{part}")
        if len(x) > REVIEWS_HASHED_WHOLE:
            digest.update(x.hashes[x.positions])
        else:
            for sequence in x:
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

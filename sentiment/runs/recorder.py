"""The callback that records a training in its run folder."""

import contextlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import keras

from sentiment.console import print_to_stderr, quiet_libraries, warn
from sentiment.constants import Settings
from sentiment.data.dataset import Dataset
from sentiment.distribution import (
    broadcast,
    describe_device,
    is_main_process,
    without_distribution,
)
from sentiment.errors import SentimentError
from sentiment.plots import draw_history
from sentiment.runs import folder as folders
from sentiment.runs import sanity_checks
from sentiment.runs.atomic import hash_file, write_atomically, write_text
from sentiment.runs.checkpoint import (
    CONDITIONS,
    read_checkpoint,
    restore_checkpoint,
    write_checkpoint,
)
from sentiment.runs.ema import EmaWeights
from sentiment.runs.interrupt import InterruptHandler
from sentiment.runs.record import read_versions, write_history
from sentiment.runs.reproduction import compare_with, find_differences

# Where TensorFlow is installed, `fit` imports it on every backend. Here it is imported quietly.
with quiet_libraries(), contextlib.suppress(ImportError):
    import tensorflow  # noqa: F401


class RunRecorder(keras.callbacks.Callback):
    """Records a training in a folder under ``models/``, and can resume one.

    After each epoch of ``fit`` it writes ``model.keras`` if the epoch is the best so far,
    ``history.csv``, and ``checkpoint.npz``, from which the next epoch can be trained. At the end of
    ``fit`` it restores the best weights. If the optimizer keeps an exponential moving average of
    the weights (``use_ema``), the averages are what is validated and restored. A run is finished
    once `finish` has written its ``run.json``; the checkpoint is then deleted.

    Args:
        script: path of the training script.
        settings: what `sentiment.constants.parse_constants` returned. ``NAME`` names the folder.
            With ``RESTORE_BEST_WEIGHTS`` the best epoch is that of the lowest validation loss,
            otherwise it is the last one.
        data: what the training reads.

    Attributes:
        initial_epoch: index of the first epoch to train, as in ``fit``; 0 unless a run is resumed.

    Raises:
        SentimentError: if a file can't be read or written, if a run can't be resumed, if the loss
            diverges, and, with status 130, after Ctrl-C.
    """

    async_safe = True  # Keras may begin a step before the loss of the last one is known

    def __init__(self, script: str, settings: Settings, data: Dataset):
        super().__init__()
        self.settings = settings
        self.data = data
        self.state = {
            "script": Path(script).name,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            # Read back from JSON, as those of a checkpoint are: a tuple becomes a list.
            "constants": json.loads(json.dumps(settings.constants)),
            "options": settings.options,
            "evaluate_test": settings.evaluate_test,
            "like": str(settings.like) if settings.like else None,
            "data": {
                "source": data.source,
                "training": len(data.x_train),
                "validation": len(data.x_validation),
                "test": len(data.x_test),
                "test_name": data.test_name,
            },
            "versions": read_versions(),
            "sha256": {Path(script).name: hash_file(Path(script)), "data": data.fingerprint()},
            "history": [],
            "best": None,  # the row of the history whose weights are restored
        }
        if differences := find_differences(broadcast(lambda: self.state), self.state):
            raise SentimentError(f"this process differs from the main process: {differences[0]}")
        self.folder = settings.resumed
        if self.folder:
            started, self.arrays = broadcast(self._open_checkpoint)
            if differences := find_differences(started, self.state):
                raise SentimentError(
                    f"{self.folder} can only be resumed as it was started: {differences[0]}"
                )
            self.state = started
        self.initial_epoch = len(self.history)
        self.device = describe_device()
        print(
            f"Reviews: {len(data.x_train):,} for training, {len(data.x_validation):,} for "
            f"validation, {len(data.x_test):,} for testing, from {data.source}"
        )
        self._warn(sanity_checks.check_data(data) + sanity_checks.check_device(self.device))
        self.problems: list[str] = []
        self.best_weights: list | None = None
        self.interrupt = InterruptHandler(self._stop)

    @property
    def history(self) -> list[dict]:
        return self.state["history"]

    @property
    def best(self) -> dict | None:
        return self.state["best"]

    def on_train_begin(self, logs=None):
        sanity_checks.check_vocabulary(self.model, self.data)
        self.model.optimizer.build(self.model.trainable_variables)
        self.ema = EmaWeights(self.model)
        if self.folder:
            try:
                self.best_weights = restore_checkpoint(self.model, self.arrays)
            except ValueError as error:
                raise SentimentError(f"{self.folder} can't be resumed: {error}") from None
            del self.arrays
        else:
            self.folder = broadcast(self._create_folder)
        print(f"Run folder: {self.folder}")
        self.interrupt.is_training = True

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_started = time.perf_counter()
        # On PyTorch the state of the dropout's generator is not a variable of the network.
        keras.utils.set_random_seed((self.settings.constants["SEED"] + epoch) % 2**32)

    def on_train_batch_begin(self, batch, logs=None):
        self._stop_if_diverged()
        self._stop_if_interrupted()

    def on_train_batch_end(self, batch, logs=None):  # Keras may call it in another thread
        self.problems += sanity_checks.check_loss(logs["loss"])

    def on_test_begin(self, logs=None):
        self.ema.swap_in()

    def on_test_batch_begin(self, batch, logs=None):
        self._stop_if_interrupted()

    def on_test_end(self, logs=None):
        self.validated_weights = self.ema.swap_out()

    def on_epoch_end(self, epoch, logs=None):
        self._stop_if_diverged()
        seconds = round(time.perf_counter() - self.epoch_started, 2)
        row = {"epoch": epoch + 1, **logs, "seconds": seconds}
        if (
            self.best is None
            or not self.settings.constants["RESTORE_BEST_WEIGHTS"]
            or row["val_loss"] < self.best["val_loss"]
        ):
            self.state["best"] = row
            self.best_weights = self.validated_weights
            self._write(folders.MODEL, self._save_model)
        self.history.append(row)
        if is_main_process():
            write_history(self.folder / folders.HISTORY, self.history)
        self._write(folders.CHECKPOINT, self._save_checkpoint)
        self._warn(sanity_checks.check_epoch(row))

    def on_train_end(self, logs=None):
        self.interrupt.is_training = False
        self._stop_if_interrupted()
        self.model.set_weights(self.best_weights)

    def finish(self, test: dict | None):
        """Write the plot and ``run.json``, and print a summary.

        Args:
            test: ``accuracy`` and ``loss`` of the restored weights on the test set; None if it was
                not evaluated.
        """
        if not is_main_process():
            return
        assert self.folder and self.best_weights
        accuracy = "not evaluated"
        if test:
            accuracy = f"{test['accuracy']:.2%} on {len(self.data.x_test):,} {self.data.test_name}"
        self._draw(f"{self.folder.name}: test accuracy {accuracy}")
        record = self._make_record(test)
        self.interrupt.release()
        write_text(self.folder / folders.RECORD, json.dumps(record, indent=2) + "\n")
        (self.folder / folders.CHECKPOINT).unlink(missing_ok=True)
        folders.unlock_run_folder(self.folder, self.lock)
        print(
            f"\nTest accuracy      {accuracy}"
            f"\nBest epoch         {record['best_epoch']} of {record['epochs']}"
            f"\nRestored weights   epoch {record['restored_epoch']}, validation accuracy "
            f"{record['validation']['accuracy']:.2%}"
            f"\nSeconds per epoch  {record['seconds_per_epoch']:.1f} ({self.device})"
            f"\nRun folder         {self.folder}"
        )
        if self.state["like"]:
            state = {**self.state, "device": {"device": self.device}}
            print(compare_with(Path(self.state["like"]), state, self.history, self.best_weights))

    def _make_record(self, test):
        seconds = sum(row["seconds"] for row in self.history) / len(self.history)
        hashes = {name: hash_file(self.folder / name) for name in folders.HASHED_FILES}
        return {
            **{key: self.state[key] for key in ("script", "started", *CONDITIONS)},
            "sha256": {**self.state["sha256"], **hashes},
            "device": self.device,
            "parameters": self.model.count_params(),
            "seconds_per_epoch": round(seconds, 2),
            "epochs": len(self.history),
            "best_epoch": min(self.history, key=lambda row: row["val_loss"])["epoch"],
            "restored_epoch": self.best["epoch"],
            "validation": {"accuracy": self.best["val_accuracy"], "loss": self.best["val_loss"]},
            "test": test,
        }

    def _open_checkpoint(self):
        self.lock = folders.lock_run_folder(self.folder)
        return read_checkpoint(self.folder)

    def _create_folder(self):
        self.folder = folders.create_run_folder(self.settings.constants["NAME"])
        self.lock = folders.lock_run_folder(self.folder)
        vocabulary = "".join(f"{word}\n" for word in self.data.vocabulary)
        write_text(self.folder / folders.VOCABULARY, vocabulary)
        self._write(folders.CHECKPOINT, self._save_checkpoint)
        return self.folder

    def _stop_if_diverged(self):
        # Of several processes only the main one stops: the steps that it has begun need the others.
        if self.problems and is_main_process():
            self._save_unfinished()
            print_to_stderr("")  # Keras' progress bar has not ended its line
            epoch = f"epoch {self.best['epoch']}" if self.best else "the last step"
            raise SentimentError(f"{self.problems[0]}; {self.folder} has the weights of {epoch}")

    def _stop_if_interrupted(self):
        if self.interrupt.is_interrupted:
            raise SentimentError(self._stop(), status=130)

    def _stop(self):
        """Save what there is, and return the line that says how to continue."""
        if not self.folder:
            return "stopped before the training began"
        self._save_unfinished()
        return (
            f"stopped after {len(self.history)} of {self.settings.constants['EPOCHS']} epochs; to "
            f"continue: python {self.state['script']} --resume {self.folder.name}"
        )

    def _save_unfinished(self):
        """Save the plot if there is a history, otherwise the network as it is."""
        if self.best:
            self._draw(f"{self.folder.name}, unfinished: {len(self.history)} epochs")
        elif self.interrupt.is_training:
            self.best_weights = self.model.get_weights()
            self._write(folders.MODEL, self._save_model)

    def _warn(self, problems: list[str]):
        for problem in problems:
            warn(problem)

    def _draw(self, title):
        epoch = self.best["epoch"]
        self._write(folders.PLOT, lambda path: draw_history(self.history, epoch, title, path))

    def _write(self, name, write):
        if is_main_process():
            write_atomically(self.folder / name, write)

    def _save_checkpoint(self, path: Path):
        write_checkpoint(path, self.state, self.model, self.best_weights)

    def _save_model(self, path: Path):
        # A copy has no optimizer, whose state would make the file three times as large.
        with without_distribution():
            model = type(self.model).from_config(self.model.get_config())
            model.set_weights(self.best_weights)
            model.save(path)

"""The callback that records a training in its run folder."""

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path

import keras

from sentiment.console import format_message, is_interactive, print_to_stderr, warn
from sentiment.data.dataset import Dataset
from sentiment.distribution import broadcast, describe_device, is_main_process, without_distribution
from sentiment.errors import DivergenceError, SentimentError
from sentiment.plots import draw_history
from sentiment.runs import checkpoint as checkpoints
from sentiment.runs import folder as folders
from sentiment.runs import results, sanity_checks
from sentiment.runs import state as states
from sentiment.runs.atomic import write_atomically, write_text
from sentiment.runs.ema import EmaWeights
from sentiment.runs.interrupt import InterruptHandler
from sentiment.runs.measurement import measure
from sentiment.runs.network import check_network, copy_network, create_variables, describe_network
from sentiment.runs.record import write_history, write_vocabulary
from sentiment.runs.reproduction import find_differences
from sentiment.runs.tensorboard import check_tensorboard, write_events
from sentiment.settings import Settings


class RunRecorder(keras.callbacks.Callback):
    """Records a training in a folder under ``models/``, and can resume one.

    After each epoch of ``fit`` it writes ``model.keras`` if the epoch is the best so far,
    ``history.csv``, and ``checkpoint.npz``, from which the next epoch can be trained. At the end of
    ``fit`` it restores the best weights. If the optimizer keeps an exponential moving average of
    the weights (``use_ema``), the averages are what is validated and restored. A run is finished
    once `finish` has written its ``run.json``; the checkpoint is then deleted.

    With ``REFIT`` a second recorder, in the same folder, records a second training. It has no
    validation set, and its last weights are saved, in place of the first ones once it has ended.

    Args:
        script: path of the training script.
        settings: what `sentiment.constants.parse_constants` returned. ``NAME`` names the folder.
            With ``RESTORE_BEST_WEIGHTS`` the best epoch is that of the lowest validation loss,
            otherwise it is the last one. With ``PATIENCE`` training stops after that many epochs
            without a lower validation loss.
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
        self.padding = settings.constants.get("PADDING", "post")
        self.state = states.make_state(script, settings, data)
        if differences := find_differences(broadcast(lambda: self.state), self.state):
            raise SentimentError(f"this process differs from the main process: {differences[0]}")
        self.folder = settings.resumed
        self.arrays: dict = {}  # those of a checkpoint
        if self.folder:
            started, self.arrays = broadcast(self._open_checkpoint)
            if differences := find_differences(started, self.state):
                raise SentimentError(
                    f"{self.folder} can only be resumed as it was started: {differences[0]}"
                )
            if settings.is_refit != bool(started["refit"]):
                raise SentimentError(f"{self.folder} was trained by another process; try again")
            self.state |= {name: started[name] for name in checkpoints.RESUMED}
        self.initial_epoch = self._epochs if self._is_patience_exhausted() else len(self.history)
        self.device = describe_device()
        if settings.is_refit:
            print(states.format_refit(self.state["data"], self._epochs))
        else:
            print(states.format_data(self.state["data"]))
            warn(*sanity_checks.check_data(data), *sanity_checks.check_device(self.device))
        self.problems: list[str] = []
        self.best_weights: list | None = None
        if settings.constants.get("TENSORBOARD"):
            check_tensorboard()
        self.interrupt = InterruptHandler(self._stop)
        settings.on_exit.push(self.interrupt.release)

    @property
    def history(self) -> list[dict]:
        """The epochs of this training, the first or the second one."""
        return (self.state["refit"] if self.settings.is_refit else self.state)["history"]

    @property
    def best(self) -> dict | None:
        return self.state["best"]

    @property
    def _epochs(self) -> int:
        is_refit, constants = self.settings.is_refit, self.settings.constants
        return self.best["epoch"] if self.best and is_refit else constants["EPOCHS"]

    def on_train_begin(self, logs=None):
        with without_distribution():
            warn(*check_network(self.model, self.data, self.padding))
        self.network = describe_network(self.model)
        create_variables(self.model)
        self.ema = EmaWeights(self.model)
        if not self.folder:
            self.folder = broadcast(self._create_folder)
        elif self.arrays:
            try:
                self.best_weights = checkpoints.restore_checkpoint(self.model, self.arrays)
            except ValueError as error:
                raise SentimentError(f"{self.folder} can't be resumed: {error}") from None
            self.arrays = {}
        print(f"Run folder: {format_message(self.folder)}")
        self.first_loss: float | None = None
        self.interrupt.is_training = True

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_started = time.perf_counter()
        # On PyTorch the state of the dropout's generator is not a variable of the network.
        keras.utils.set_random_seed((self.settings.constants["SEED"] + epoch) % 2**32)

    def on_train_batch_begin(self, batch, logs=None):
        self._stop_if_diverged()
        self._stop_if_interrupted()

    def on_train_batch_end(self, batch, logs=None):  # Keras may call it in another thread
        if self.first_loss is None:
            self.first_loss = logs["loss"]
        self.problems += sanity_checks.check_loss(logs["loss"], self.first_loss)

    def on_test_begin(self, logs=None):
        self.ema.swap_in()

    def on_test_batch_begin(self, batch, logs=None):
        self._stop_if_interrupted()

    def on_test_end(self, logs=None):
        self.ema.swap_out()

    def on_epoch_end(self, epoch, logs=None):
        self._stop_if_diverged()
        is_refit, constants = self.settings.is_refit, self.settings.constants
        sanity_checks.check_metrics(logs, is_refit)
        seconds = round(time.perf_counter() - self.epoch_started, 2)
        row = {"epoch": epoch + 1, **states.keep_numbers(logs), "seconds": seconds}
        if is_refit:
            self.best_weights = self.ema.average()
        elif (
            self.best is None
            or not constants.get("RESTORE_BEST_WEIGHTS", True)
            or row["val_loss"] < self.best["val_loss"]
        ):
            self.state["best"] = row
            self.best_weights = self.ema.average()
            self._write(folders.MODEL, self._save_model)
        self.history.append(row)
        if is_main_process() and not is_refit:
            write_history(self.folder / folders.HISTORY, self.history)
        self._write(folders.CHECKPOINT, self._save_checkpoint)
        if constants.get("TENSORBOARD") and is_main_process() and not is_refit:
            write_events(self.folder, row)
        if not is_interactive():
            print(states.format_epoch(row, self._epochs), flush=True)  # a log shows it at once
        if not is_refit:
            warn(*sanity_checks.check_epoch(row, self.data.y_validation))
        if self._is_patience_exhausted():
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.interrupt.is_training = False
        self._stop_if_interrupted()
        self.model.set_weights(self.best_weights)

    def finish(self, evaluate: Callable[[], dict]) -> Path:
        """Write the plot and ``run.json``, and print a summary; not before a second training.

        Args:
            evaluate: evaluates the test set; returns ``accuracy`` and ``loss``. It is called once,
                after the last training, or with ``--no-test`` not at all.

        Returns:
            The run folder.

        Raises:
            SentimentError: if ``fit`` was called without this callback.
        """
        if not self.folder or not self.best_weights:
            raise SentimentError("fit needs the recorder: callbacks=[recorder]")
        is_last = not self.settings.is_followed_by_refit
        test = evaluate() if is_last and self.settings.evaluate_test else None
        if not is_main_process():
            return self.folder
        measured = self._measure(test is not None)
        if not is_last:
            self.state["refit"] = {"history": [], **measured}
            write = functools.partial(checkpoints.write_checkpoint, state=self.state)
            self._write(folders.CHECKPOINT, write)
            return self.folder
        accuracy = results.format_test(test, self.data, self.settings.is_refit)
        self._draw(f"{self.folder.name}: test accuracy {accuracy}", self.settings.is_refit)
        if self.settings.resumed:  # its files may have been changed meanwhile
            write_vocabulary(self.folder / folders.VOCABULARY, self.data.vocabulary)
            write_history(self.folder / folders.HISTORY, self.state["history"])
            self._write(folders.MODEL, self._save_model)
        record = results.make_record(
            self.state, self.network, self.model, self.folder, self.device, test, measured
        )
        write_text(self.folder / folders.RECORD, json.dumps(record, indent=2) + "\n")
        (self.folder / folders.CHECKPOINT).unlink(missing_ok=True)
        folders.unlock_run_folder(self.folder, self.lock)
        results.report(record, accuracy, self.state, self.model, self.folder)
        return self.folder

    def _measure(self, with_test: bool) -> dict:
        """Return what `measure` does for the saved weights."""
        with without_distribution():
            network, refit = copy_network(self.model, self.best_weights), self.state["refit"]
            return measure(network, self.data, self.padding, with_test, refit)

    def _lock(self):
        self.lock = folders.lock_run_folder(self.folder)
        self.settings.on_exit.callback(self.lock.release)

    def _open_checkpoint(self):
        self._lock()
        return checkpoints.read_state(self.folder), checkpoints.read_arrays(self.folder)

    def _create_folder(self):
        self.folder = folders.create_run_folder(self.settings.constants["NAME"])
        self._lock()
        write_vocabulary(self.folder / folders.VOCABULARY, self.data.vocabulary)
        self._write(folders.CHECKPOINT, self._save_checkpoint)
        return self.folder

    def _is_patience_exhausted(self) -> bool:
        patience = self.settings.constants.get("PATIENCE", 0)
        if not patience or not self.history or self.settings.is_refit:
            return False
        best_epoch = min(self.history, key=lambda row: row["val_loss"])["epoch"]
        return len(self.history) - best_epoch >= patience

    def _stop_if_diverged(self):
        # Of several processes only the main one stops: the steps that it has begun need the others.
        if self.problems and is_main_process():
            self._save_unfinished()
            (self.folder / folders.CHECKPOINT).unlink(missing_ok=True)  # it would diverge again
            if is_interactive():
                print_to_stderr("")  # Keras' progress bar has not ended its line
            epoch = f"epoch {self.best['epoch']}" if self.best else "the last step"
            raise DivergenceError(f"{self.problems[0]}; {self.folder} has the weights of {epoch}")

    def _stop_if_interrupted(self):
        if self.interrupt.is_interrupted:
            raise SentimentError(self._stop(), status=130)

    def _stop(self):
        """Save what there is, and return the line that says how to continue."""
        if not self.folder:
            return "stopped before the training began"
        if (self.folder / folders.RECORD).exists():
            return f"{self.folder} is finished"
        self._save_unfinished()
        part = " of the refit" if self.settings.is_refit else ""
        return (
            f"stopped after {len(self.history)} of {self._epochs} epochs{part}; to continue: "
            f"{states.format_command(self.state['script'], '--resume', self.folder.name)}"
        )

    def _save_unfinished(self):
        """Save the plot if there is a history, otherwise the network as it is."""
        if self.best:
            self._draw(f"{self.folder.name}, unfinished: {len(self.state['history'])} epochs")
        elif self.interrupt.is_training:
            self.best_weights = self.model.get_weights()
            self._write(folders.MODEL, self._save_model)

    def _draw(self, title, is_refit=False):
        rows, epoch = self.state["history"], self.best["epoch"]
        self._write(folders.PLOT, lambda path: draw_history(rows, epoch, title, path, is_refit))

    def _write(self, name, write):
        if is_main_process():
            write_atomically(self.folder / name, write)

    def _save_checkpoint(self, path: Path):
        checkpoints.write_checkpoint(path, self.state, self.model, self.best_weights)

    def _save_model(self, path: Path):
        with without_distribution():
            copy_network(self.model, self.best_weights).save(path)

"""Trains a script in this process, again and again; the data stays in memory."""

import contextlib
import functools
import importlib.util
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from sentiment.constants import option
from sentiment.data import load_data
from sentiment.data.dataset import Dataset
from sentiment.errors import SentimentError
from sentiment.runs.atomic import hash_file
from sentiment.runs.folder import CHECKPOINT, RECORD
from sentiment.runs.record import read_record
from sentiment.runs.recorder import RunRecorder

SHUFFLE_SEED = 0
KEPT_DATASETS = 4


def never(row: dict) -> bool:
    """Train all epochs."""
    return False


class Recorder(RunRecorder):
    """A `RunRecorder` that can end a training early; its record then has no measurements.

    Args:
        is_last: called with each row of the history; returns whether it is to be the last one.
    """

    def __init__(self, is_last: Callable[[dict], bool], *arguments):
        super().__init__(*arguments)
        self.is_last = is_last
        self.is_pruned = False
        for row in self.history:  # of a run that is resumed
            if is_last(row):
                self.initial_epoch, self.is_pruned = self._epochs, True
                break

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        if self.is_last(self.history[-1]):
            self.model.stop_training = self.is_pruned = True

    def _measure(self, with_test):
        return {} if self.is_pruned else super()._measure(with_test)


class Trainer:
    """Trains a script with other constants each time.

    Args:
        script: the imported training script.
        folder: where the run folders go.
    """

    def __init__(self, script: ModuleType, folder: Path):
        self.script = script
        self.folder = folder
        self.warnings: set[str] = set()  # those that were printed
        load = functools.lru_cache(KEPT_DATASETS)(load_data)
        self._load = functools.lru_cache(KEPT_DATASETS)(
            lambda fold, *arguments: select_fold(load(*arguments), fold)
        )

    def train(
        self,
        name: str,
        constants: dict,
        is_last: Callable[[dict], bool] = never,
        fold: int = 1,
        evaluate_test: bool = False,
    ) -> dict:
        """Train one network, or continue its training, and return its metadata.

        Args:
            name: the name of the run folder. If it holds a finished run, nothing is trained.
            constants: the constants that differ from the script's.
            is_last: as in `Recorder`.
            fold: the fold that is the validation set.
            evaluate_test: whether to evaluate the test set.

        Raises:
            SentimentError: if the training fails, if a run of that name has other constants, and,
                with status 130, after Ctrl-C.
        """
        run = self.folder / name
        arguments = [*format_options(constants), f"--name={name}"]
        if not evaluate_test:
            arguments.append("--no-test")
        is_finished = (run / RECORD).exists()
        if not is_finished:
            if (run / CHECKPOINT).exists():
                arguments.append(f"--resume={name}")
            elif run.exists():  # the process has ended before there was anything to resume
                shutil.rmtree(run)
            with self._prepare(is_last, fold), forget_gradients():
                self.script.main(arguments)
        try:
            record = read_record(run)
        except ValueError as error:
            raise SentimentError(f"the run {run} can't be read: {error}") from None
        if is_finished:
            names, rows = ["epoch", *record.history], zip(*record.history.values(), strict=True)
            for epoch, row in enumerate(rows, 1):
                is_last(dict(zip(names, [epoch, *row], strict=True)))
        found, script = record.metadata.get("constants", {}), Path(str(self.script.__file__))
        if record.metadata.get("sha256", {}).get(script.name) != hash_file(script):
            raise SentimentError(
                f"{run} was trained by another version of {script.name}, so it is of another "
                "study; choose another name with --name"
            )
        for key, value in constants.items():
            if json.dumps(found.get(key)) != json.dumps(value):
                raise SentimentError(
                    f"{run} was trained with {key}={found.get(key)}, so it is of another study; "
                    "choose another name with --name"
                )
        return record.metadata

    @contextlib.contextmanager
    def _prepare(self, is_last, fold) -> Iterator[None]:
        """Have the script use this data and this recorder, and print nothing but warnings."""
        output, models = io.StringIO(), os.environ.get("SENTIMENT_MODELS")
        own = {name: getattr(self.script, name) for name in ("load_data", "RunRecorder")}
        os.environ["SENTIMENT_MODELS"] = str(self.folder)
        self.script.load_data = functools.partial(self._load, fold)  # type: ignore[attr-defined]
        self.script.RunRecorder = functools.partial(Recorder, is_last)  # type: ignore[attr-defined]
        try:
            with contextlib.redirect_stdout(output):
                yield
        finally:
            vars(self.script).update(own)
            if models is None:
                del os.environ["SENTIMENT_MODELS"]
            else:
                os.environ["SENTIMENT_MODELS"] = models
            for line in output.getvalue().splitlines():
                if line.startswith("Warning: ") and line not in self.warnings:
                    self.warnings.add(line)
                    print(line)


@contextlib.contextmanager
def forget_gradients() -> Iterator[None]:
    """Have TensorFlow forget the custom gradients that are traced meanwhile.

    It registers each one of `tf.custom_gradient` for ever, and with it the graph of the network.
    """
    ops = sys.modules.get("tensorflow.python.framework.ops")  # not if the backend is another one
    known = ops.gradient_registry._registry if ops else {}
    before = set(known)
    try:
        yield
    finally:
        for name in set(known) - before:
            del known[name]


def import_script(path: Path) -> ModuleType:
    """Import a training script.

    Raises:
        SentimentError: with status 2, if it is not one.
    """
    if path.suffix != ".py" or not path.is_file():
        raise SentimentError(f"there is no training script {path}; one is train_lstm.py", 2)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = script
    sys.path.append(str(path.resolve().parent))  # as if the script were started
    spec.loader.exec_module(script)
    for name in ("main", "load_data", "RunRecorder", "NAME", "EPOCHS", "SEED"):
        if not hasattr(script, name):
            raise SentimentError(f"{path} is not a training script, it has no {name}", 2)
    return script


def format_options(constants: dict) -> list[str]:
    """Return the command-line options that set constants."""
    options = []
    for name, value in constants.items():
        if isinstance(value, bool):
            options.append(option(name) if value else option(name).replace("--", "--no-", 1))
        else:
            options.append(f"{option(name)}={value}")
    return options


def select_fold(data: Dataset, fold: int) -> Dataset:
    """Return the data with another part of the reviews for validation.

    Fold 1 is the usual split. In another one, as many of the training reviews are the validation
    set, and the validation reviews are training reviews. The test set stays the same.

    Raises:
        SentimentError: if there are not that many folds, or if sentences were added.
    """
    if fold == 1:
        return data
    if data.sentences:
        raise SentimentError("the folds are of reviews only; set --sentence-weight 0", 2)
    size = len(data.x_validation)
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(data.x_train))
    chosen = order[(fold - 2) * size : (fold - 1) * size]
    if len(chosen) < size:
        raise SentimentError(f"there are only {1 + len(order) // size} folds of {size:,} reviews")
    rest = np.setdiff1d(order, chosen)
    return replace(
        data,
        x_train=data.x_train.take(rest).join(data.x_validation),
        y_train=np.append(data.y_train[rest], data.y_validation),
        x_validation=data.x_train.take(chosen),
        y_validation=data.y_train[chosen],
    )

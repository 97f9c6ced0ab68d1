"""What surrounds a training script's ``main``: its arguments, its seeds, its processes."""

import contextlib
import functools
import signal
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras

from sentiment.cli import interrupt
from sentiment.console import quiet_libraries, stop_at_once
from sentiment.constants import parse_constants
from sentiment.distribution import broadcast, is_main_process, join_processes, share_batches
from sentiment.errors import SentimentError
from sentiment.runs.checkpoint import read_state
from sentiment.runs.record import read_record
from sentiment.settings import Settings

# Where TensorFlow is installed, `fit` imports it on every backend. Here it is imported quietly.
with quiet_libraries(), contextlib.suppress(ImportError):
    import tensorflow

    tensorflow.get_logger().setLevel("ERROR")  # a second training is no reason for a warning


def training_script(script: dict) -> Callable:
    """Make a script's ``main(settings)`` a function that takes a list of arguments.

    It sets the script's constants from the arguments, calls ``main`` for each seed, with JAX on all
    devices, and gives the constants their values back. With ``REFIT`` it calls ``main`` twice: in
    the second call ``settings.is_refit`` is true, and ``EPOCHS`` is the number of epochs that the
    first one has chosen. In a notebook, too, it can be called again and again::

        import train_lstm

        train_lstm.EPOCHS = 1
        folder = train_lstm.main()  # or main(["--epochs", "1"])

    It returns the run folder, or a list of them with ``--seeds``. Without arguments it takes those
    of the command line, but only in the script that was started: those of a notebook's kernel are
    not for it. Afterwards Keras' global settings, such as the dtype policy, are its defaults.

    Args:
        script: the script's ``globals()``.

    Raises:
        SentimentError: as `parse_constants` and `sentiment.runs.recorder.RunRecorder` raise it.
    """

    def decorate(train: Callable[[Settings], Path]):
        @functools.wraps(train)
        def main(arguments: list[str] | None = None):
            if arguments is None:
                arguments = sys.argv[1:] if script["__name__"] == "__main__" else []
            if signal.getsignal(signal.SIGINT) is interrupt:
                signal.signal(signal.SIGINT, stop_at_once)  # nothing needs to be cleaned up
            return join_processes(lambda: _train_each_seed(train, script, arguments))

        return main

    return decorate


def _train_each_seed(train, script, arguments):
    own_values = {name: value for name, value in script.items() if name.isupper()}
    try:
        settings = parse_constants(script, arguments)
        if not settings.seeds:
            return _train(train, script, settings)
        folders = []
        for i, seed in enumerate(settings.seeds):
            script["SEED"] = seed
            of_seed = replace(
                settings,
                constants={**settings.constants, "SEED": seed},
                options={**settings.options, "SEED": seed},
                on_exit=contextlib.ExitStack(),
            )
            try:
                folders.append(_train(train, script, of_seed))
            except SentimentError as error:
                rest = ", ".join(map(str, settings.seeds[i + 1 :]))
                remark = f"; not trained: the seeds {rest}" if rest else ""
                raise SentimentError(f"{error}{remark}", error.status) from None
        if is_main_process():
            _print_means(folders)
        return folders
    finally:
        script.update(own_values)


def _train(train, script, settings):
    """Call a script's ``main``, with ``REFIT`` twice, and return the run folder."""
    if not settings.is_refit:
        folder = _call(train, settings)
        if not settings.is_followed_by_refit:
            return folder
        # The second training begins as if the run were resumed there.
        on_exit = contextlib.ExitStack()
        settings = replace(settings, resumed=folder, is_refit=True, on_exit=on_exit)
    script["EPOCHS"] = broadcast(lambda: read_state(settings.resumed))["best"]["epoch"]
    try:
        return _call(train, settings)
    finally:
        script["EPOCHS"] = settings.constants["EPOCHS"]


def _call(train, settings):
    share_batches()
    try:
        with settings.on_exit:
            return train(settings)
    finally:
        keras.utils.clear_session()  # the next network's layers then have the same names


def _print_means(folders: list[Path]):
    try:
        records = [read_record(folder).metadata for folder in folders]
    except ValueError as error:  # a run was changed or deleted meanwhile
        raise SentimentError(f"no mean over the seeds: {error}") from None
    print(f"\nMean of {len(records)} seeds")
    for split in ("validation", "test"):
        accuracies = [100 * record[split]["accuracy"] for record in records if record[split]]
        if len(accuracies) > 1:
            mean, deviation = statistics.fmean(accuracies), statistics.stdev(accuracies)
            when = ", before the refit" if split == "validation" and "refit" in records[0] else ""
            name = f"{split.capitalize()} accuracy"
            print(f"{name:<21}{mean:.2f} ± {deviation:.2f}%{when}")

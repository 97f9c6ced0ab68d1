"""Ctrl-C in a training: it ends after the current step, and a second Ctrl-C ends it at once.

A training whose output nobody reads any more ends, too, and can be resumed.
"""

import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from sentiment.console import open_null, print_to_stderr, stop_at_once
from sentiment.distribution import is_main_process
from sentiment.errors import SentimentError


class InterruptHandler:
    """Handles SIGINT while a training runs.

    Of several processes the main one decides: the steps that it has begun need the others.

    Args:
        stop: called if Ctrl-C is pressed outside of ``fit``, before `KeyboardInterrupt` is raised,
            and if nobody reads the output; returns the message.

    Attributes:
        is_training: set it while ``fit`` runs, which then has to look at ``is_interrupted``.
        is_interrupted: whether Ctrl-C was pressed.
    """

    def __init__(self, stop: Callable[[], str]):
        self.is_training = False
        self.is_interrupted = False
        self._stop = stop
        self._previous: Any = None
        self._stdout = sys.stdout
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)

    def release(self, kind, error, traceback):
        """Give SIGINT back to its previous handler, and have the output printed again.

        Args:
            kind, error, traceback: the exception with which the training ended, if any.

        Raises:
            SentimentError: if it ended because nobody reads its output.
        """
        self._restore_handler()
        sys.stdout = self._stdout
        # Rich, which prints a network's summary, raises SystemExit in its place.
        if any(
            isinstance(e, BrokenPipeError) for e in (error, getattr(error, "__context__", None))
        ):
            status = 130 if self.is_interrupted else 1  # Ctrl-C stops a tee, too
            raise SentimentError(f"nobody reads the output; {self._stop()}", status) from None

    def _restore_handler(self):
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _handle(self, *_):
        is_script = self._previous is stop_at_once
        self._restore_handler()
        if is_script:
            signal.signal(signal.SIGINT, stop_at_once)
        if not is_main_process():
            print_to_stderr(
                "\nCtrl-C in the main process stops all. Press it again to stop at once."
            )
            return
        self.is_interrupted = True
        # A program that reads the output, such as tee, gets the same Ctrl-C and may have ended.
        sys.stdout = open_null()
        if not self.is_training:
            message = self._stop()
            if is_script:
                stop_at_once(message=message)
            # Keras would extend the text of an `Exception`.
            raise KeyboardInterrupt(message)
        print_to_stderr("\nStopping after this step. Press Ctrl-C again to stop at once.")

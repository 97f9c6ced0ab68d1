"""The command line of every script: one-line errors, and the exit status.

Exit status: 0 for success, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C.
"""

import argparse
import difflib
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from sentiment.console import error_line, print_to_stderr, redirect_to_null, stop_at_once
from sentiment.errors import SentimentError


class ArgumentParser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that raises `SentimentError` for wrong usage."""

    def parse_args(self, args=None, namespace=None):
        parsed, unknown = self.parse_known_args(args, namespace)
        if not unknown:
            return parsed
        name = unknown[0].partition("=")[0]
        options = [option for option in self._option_string_actions if option.startswith("--")]
        close = difflib.get_close_matches(name.replace("_", "-"), options, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")

    def error(self, message: str) -> NoReturn:
        raise SentimentError(f"{message} (--help lists all options)", status=2)


def run(main: Callable[[], object]):
    """Call a script's ``main`` and exit with its status, after one line if it failed."""
    message, status = "", 0
    handler = signal.getsignal(signal.SIGINT)
    try:
        if handler is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, _interrupt)
        main()
        sys.stdout.flush()
    except SentimentError as error:
        message, status = str(error), error.status
    except KeyboardInterrupt as interrupt:
        message, status = str(interrupt) or "stopped", 130
    except BrokenPipeError:
        message, status = "the program that read the output has ended", 1
    except Exception as error:
        line = _find_line(error, "build_model")
        if line is None:
            raise
        message, status = f"line {line}, in build_model: {_describe(error)}", 1
    finally:
        # While Python exits, Ctrl-C would be a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN if handler is stop_at_once else handler)
    if not status:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        redirect_to_null(1)  # or Python fails again when it flushes stdout at exit
    if message:
        print_to_stderr(error_line(message))
    sys.exit(status)


def _interrupt(*_):
    signal.signal(signal.SIGINT, stop_at_once)  # the next Ctrl-C doesn't wait
    raise KeyboardInterrupt


def _find_line(error: Exception, function: str) -> int | None:
    """Return the line of a function in which an exception was raised, or None."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in frames if frame.name == function), None)


def _describe(error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "expected ndim=3, found ndim=2" in reason:
        reason += " (a recurrent layer before another one needs return_sequences=True)"
    return reason

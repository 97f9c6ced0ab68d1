"""The command line of every script: one-line errors, and the exit status.

Exit status: 0 for success, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C.
"""

import argparse
import difflib
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
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

    def print_help(self, file=None):
        print(self.format_help(), end="", file=file, flush=True)  # argparse ignores errors here

    def error(self, message: str) -> NoReturn:
        raise SentimentError(f"{message} (--help lists all options)", status=2)


def run(main: Callable[[], object]):
    """Call a script's ``main`` and exit with its status, after one line if it failed."""
    message, status = "", 0
    handler = signal.getsignal(signal.SIGINT)
    try:
        if handler not in (signal.SIG_IGN, None):
            signal.signal(signal.SIGINT, interrupt)
        main()
        sys.stdout.flush()
    except SentimentError as error:
        message, status = str(error), error.status
    except KeyboardInterrupt as stopped:
        message, status = str(stopped) or "stopped", 130
    except BrokenPipeError:
        message, status = "the program that read the output has ended", 1
    except OSError as error:
        # What has no file name is a stream: files are opened by their names.
        place = error.filename or "can't write the output"
        message, status = f"{place}: {error.strerror or error}", 1
    except (ValueError, TypeError, NameError, AttributeError) as error:
        place = _find_place(error)
        if place is None:
            raise
        message, status = f"{place}: {_describe(error)}", 1
    finally:
        if handler is not None:
            # While Python exits, Ctrl-C would print a traceback.
            signal.signal(signal.SIGINT, signal.SIG_IGN if handler is stop_at_once else handler)
    if not status:
        return
    try:
        sys.stdout.flush()
    except OSError:
        redirect_to_null(1)  # or Python fails again when it flushes stdout at exit
    if message:
        print_to_stderr(error_line(message))
    sys.exit(status)


def interrupt(*_):
    """Handle Ctrl-C by `KeyboardInterrupt`, so that a script can clean up."""
    signal.signal(signal.SIGINT, stop_at_once)  # the next Ctrl-C doesn't wait
    raise KeyboardInterrupt


def _find_place(error: Exception) -> str | None:
    """Return the line of the script that is wrong, or None if the fault may be elsewhere."""
    frames = traceback.extract_tb(error.__traceback__)
    script = Path(sys.argv[0]).resolve()
    own = [i for i, frame in enumerate(frames) if Path(frame.filename).resolve() == script]
    if not own or frames[own[-1]].name not in ("build_model", "main"):
        return None
    package = Path(__file__).resolve().parent
    if any(package in Path(frame.filename).resolve().parents for frame in frames[own[-1] :]):
        return None
    return f"line {frames[own[-1]].lineno}, in {frames[own[-1]].name}"


def _describe(error: Exception) -> str:
    reason = " ".join(str(error).split())[:500] or type(error).__name__
    if "expected ndim=3, found ndim=2" in reason:
        reason += " (a recurrent layer before another one needs return_sequences=True)"
    return reason

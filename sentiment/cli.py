"""The command line of every script: one-line errors, and the exit status.

Exit status: 0 for success, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C.
"""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from sentiment.console import error_line, print_to_stderr, redirect_to_null
from sentiment.errors import SentimentError


class ArgumentParser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that raises `SentimentError` for wrong usage."""

    def error(self, message: str) -> NoReturn:
        raise SentimentError(f"{message} (--help lists all options)", status=2)


def run(main: Callable[[], None]):
    """Call a script's ``main`` and exit with its status, after one line if it failed."""
    message, status = "", 0
    try:
        main()
        sys.stdout.flush()
    except SentimentError as error:
        message, status = str(error), error.status
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        message, status = "the program that read the output has ended", 1
    if not status:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        redirect_to_null(1)  # or Python fails again when it flushes stdout at exit
    if message:
        print_to_stderr(error_line(message))
    sys.exit(status)

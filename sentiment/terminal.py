"""What the scripts keep from the terminal."""

import contextlib
import os


def make_printable(text: str) -> str:
    """Return text without what would control a terminal, such as escape sequences."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


@contextlib.contextmanager
def quiet_libraries():
    """Keep from the terminal what libraries in C++ report, unless TF_CPP_MIN_LOG_LEVEL asks for it.

    TensorFlow 2.21 reports missing GPU libraries before it reads that variable.
    """
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3":
        os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)

"""What the scripts keep from the terminal."""

import contextlib
import os
import sys
from pathlib import Path


def make_printable(text: str) -> str:
    """Return text without what would control a terminal, such as escape sequences."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def open_nowhere():
    """Return a text file in which nothing that is printed to it stays."""
    return Path(os.devnull).open("w")


def open_closed_streams():
    """Lead stdout and stderr nowhere if they are closed: other files would come in their place."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open_nowhere())
            os.dup2(getattr(sys, name).fileno(), descriptor)


def lead_nowhere(descriptor: int):
    """Keep nothing of what is written to a file descriptor from now on."""
    with open_nowhere() as file:
        os.dup2(file.fileno(), descriptor)


@contextlib.contextmanager
def quiet_libraries():
    """Keep from the terminal what libraries in C++ report, unless TF_CPP_MIN_LOG_LEVEL asks for it.

    TensorFlow 2.21 reports missing GPU libraries before it reads that variable.
    """
    stderr = os.dup(2)
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3":
        lead_nowhere(2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)

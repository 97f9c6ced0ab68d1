"""What reaches the terminal: error lines, warnings, progress bars; and what is not printed."""

import contextlib
import importlib
import io
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress


MESSAGE_CHARACTERS = 1_000  # of a message; one that quotes its input might have millions

_terminal = 2


def strip_control_characters(text: str) -> str:
    """Replace each character that is not printable, such as an escape sequence's, by a space."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def format_message(message: object) -> str:
    """Return a message as one line without control characters, shortened if it is very long.

    Its middle is left out: what is wrong is at its beginning, what to do at its end.
    """
    text, gap = str(message), " … "
    if len(text) > MESSAGE_CHARACTERS:
        half = (MESSAGE_CHARACTERS - len(gap)) // 2
        text = text[:half] + gap + text[-half:]
    return strip_control_characters(text)


def error_line(message: object) -> str:
    """Return the line in which a script reports an error."""
    return f"{Path(sys.argv[0]).name}: {format_message(message)}"


def print_to_stderr(text: str):
    """Print to stderr, unless it can't be written to, for example after Ctrl-C ended a tee."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        redirect_to_null(2)  # or Python fails again when it flushes stderr at exit


def warn(*messages: str):
    """Print warnings on lines of their own; a progress bar may not have ended its line yet."""
    for message in messages:
        print("\n" * is_interactive() + f"Warning: {format_message(message)}")


def progress_bar(is_shown: bool = True) -> "Progress":
    """Return a progress bar on stderr, shown only if that is a terminal."""
    # Imported here, so that a missing package is reported by `sentiment` itself.
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(
        console=console,
        transient=True,
        redirect_stdout=False,  # or what is printed to a file would go to the terminal
        redirect_stderr=False,
        disable=not (is_shown and console.is_terminal),
    )


def is_interactive() -> bool:
    """Return whether a person watches the output, on a terminal or in a notebook."""
    return sys.stdout.isatty() or is_notebook()


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def show_in_notebook(image: Path):
    """Display an image below the cell, if this is a notebook."""
    if is_notebook():
        ipython = importlib.import_module("IPython.display")  # every notebook has it
        ipython.display(ipython.Image(filename=image))


def open_null() -> TextIO:
    """Open the null device for writing."""
    return Path(os.devnull).open("w")


def prepare_streams():
    """Have stdout and stderr take any text, and open them on the null device if they are closed.

    The next file to be opened would otherwise take the descriptor of a closed stream. So stdin's
    is opened, too, though `sys.stdin` remains None.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)  # it gets the lowest descriptor that is free
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open_null())
            os.dup2(getattr(sys, name).fileno(), descriptor)
        elif isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    global _terminal
    _terminal = os.dup(2)  # for `stop_at_once`: stderr itself may lead nowhere at the moment


def stop_at_once(*_, message: object = "stopped"):
    """Handle Ctrl-C by ending the process with one line, whatever it does at the moment."""
    with contextlib.suppress(ValueError):  # of a thread other than the main one
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # or a second Ctrl-C repeats the line
    with contextlib.suppress(Exception):  # it may be printing at this moment
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(_terminal, f"\n{error_line(message)}\n".encode())
    os._exit(130)


def redirect_to_null(descriptor: int):
    """Discard what is written to a file descriptor from now on."""
    with open_null() as file:
        os.dup2(file.fileno(), descriptor)


@contextlib.contextmanager
def quiet_libraries():
    """Discard what C++ libraries write to stderr, unless TF_CPP_MIN_LOG_LEVEL is below 3.

    TensorFlow 2.21 reports missing GPU libraries before it reads that variable.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # the process has no stderr
        yield
        return
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3":
        redirect_to_null(2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)

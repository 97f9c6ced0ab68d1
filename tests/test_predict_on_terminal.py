"""What predict.py shows on a terminal, and what it writes to files and pipes."""

import contextlib
import csv
import os
import subprocess
import sys

import pytest

from tests.conftest import PROJECT


def run_on_terminal(*arguments, folder, stdout=None, reviews=None, variables=None):
    """Run predict.py on a terminal in a process of its own; return what the terminal shows.

    Args:
        stdout: where to redirect stdout; None for the terminal.
        reviews: the text on stdin.
        variables: environment variables.
    """
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, PROJECT / "predict.py", *arguments],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=stdout or follower,
            stderr=follower,
            env={**os.environ, "TERM": "xterm", **(variables or {})},
        )
        os.close(follower)
        with process.stdin as pipe:
            pipe.write((reviews or "").encode())
        shown = b""
        with contextlib.suppress(OSError):  # how Linux ends a terminal
            while chunk := terminal.read(1_000):
                shown += chunk
        assert process.wait() == 0, shown
    return shown.decode(errors="replace")


@pytest.mark.extended
def test_output_that_nobody_reads_is_no_error():
    command = f"'{sys.executable}' predict.py --run lstm 'A fine film' | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=PROJECT, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("is_on_stdin", [False, True])
def test_redirected_rows_are_in_the_file_and_not_on_the_terminal(tmp_path, is_on_stdin):
    reviews = [f"film number{i} was {'good' if i % 2 else 'bad'}" for i in range(12_000)]
    path = tmp_path / "reviews.txt"
    path.write_text("\n".join(reviews))
    arguments = ["--run", "cnn_lstm", "--format", "csv", "--file", "-" if is_on_stdin else path]
    with (tmp_path / "rows.csv").open("wb") as file:
        text = "\n".join(reviews) if is_on_stdin else None
        shown = run_on_terminal(*arguments, folder=tmp_path, stdout=file, reviews=text)
    with (tmp_path / "rows.csv").open(newline="") as file:
        assert [row["review"] for row in csv.DictReader(file)] == reviews
    assert "cnn_lstm" in shown and "film number" not in shown


@pytest.mark.slow
def test_terminal_shows_colors(tmp_path):
    arguments = ["--run", "lstm", "--explain", "a wonderful awful waste"]
    shown = run_on_terminal(*arguments, folder=tmp_path, variables={"NO_COLOR": ""})
    assert "\x1b[30;48;5;" in shown and "wonderful" in shown

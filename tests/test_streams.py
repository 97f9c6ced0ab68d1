"""Scripts whose streams are closed, full, or in another encoding, started from a real shell."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROGRAMS, PROJECT, quick_backend

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("bash"), reason="needs bash"),
    pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full"),
]
extended = pytest.mark.extended
NO_SPACE = "can't write the output: No space left on device"
UNFIT = "影 a 😀 fine film"


def run_in_shell(command, folder, **environment):
    """Run a command line in which a script's name stands for the script."""
    python = shlex.quote(sys.executable)
    scripts = {path.name: path for path in (*PROJECT.glob("*.py"), *PROGRAMS.glob("*.py"))}
    words = [
        f"{python} {shlex.quote(str(scripts[word]))}" if word in scripts else word
        for word in command.split(" ")
    ]
    variables = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "", **environment}
    if "predict.py" not in command:
        variables |= quick_backend()
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", " ".join(words)],
        cwd=folder,
        env=variables,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
    )


@pytest.mark.parametrize(
    ("command", "status", "error"),
    [
        # Files and streams that are full.
        ("print_lines.py 1 success >/dev/full", 1, NO_SPACE),
        pytest.param("print_lines.py 10000 success >/dev/full", 1, NO_SPACE, marks=extended),
        pytest.param("print_lines.py 1 failure >/dev/full", 1, "it failed", marks=extended),
        ("print_lines.py 1 failure 2>/dev/full", 1, ""),
        ("train_lstm.py --help >/dev/full", 1, NO_SPACE),
        pytest.param(
            "PYTHONUNBUFFERED=1 predict.py --help >/dev/full", 1, NO_SPACE, marks=extended
        ),
        pytest.param("predict.py fine --format csv >/dev/full", 1, NO_SPACE, marks=extended),
        pytest.param("predict.py fine --explain >/dev/full", 1, NO_SPACE, marks=extended),
        pytest.param("plot_history.py lstm >/dev/full", 1, NO_SPACE, marks=extended),
        pytest.param("plot_history.py lstm 2>/dev/full", 0, "", marks=extended),
        pytest.param("predict.py --nonsense 2>/dev/full", 2, "", marks=extended),
        # Streams that are closed.
        ("predict.py <&-", 2, "give reviews"),
        pytest.param("predict.py fine <&- >&- 2>&-", 0, "", marks=extended),
        pytest.param("plot_history.py lstm <&- >&- 2>&-", 0, "", marks=extended),
        # As grep and sort do, predict.py ends quietly if its reader has seen enough.
        pytest.param("predict.py --file many.txt | head -1", 0, "", marks=extended),
    ],
)
def test_a_stream_that_fails_is_one_line_where_there_is_a_place_for_it(
    command, status, error, tmp_path
):
    (tmp_path / "many.txt").write_text("a fine film\n" * 3_000)
    done = run_in_shell(command, tmp_path)
    assert done.returncode == status, done.stderr
    assert error in done.stderr
    lines = done.stderr.splitlines()
    assert sum(not line.startswith(("Run: ", "Plot: ")) for line in lines) == bool(error)


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii:strict"},
        pytest.param({"PYTHONIOENCODING": "cp1252"}, marks=extended),
        pytest.param({"PYTHONUTF8": "0", "LC_ALL": "C"}, marks=extended),
    ],
    ids=str,
)
def test_output_is_utf_8_whatever_the_encoding_of_the_terminal(environment, tmp_path):
    (tmp_path / "x.txt").write_text(UNFIT, encoding="utf-8")
    done = run_in_shell("predict.py --file x.txt", tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert UNFIT in done.stdout

"""A script's errors are one line on stderr and an exit status, without a traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sentiment.cli import ArgumentParser, run
from sentiment.console import warn
from sentiment.errors import SentimentError
from tests.conftest import PROGRAMS, PROJECT, assert_one_line, quick_backend


def run_and_exit(error, capsys, monkeypatch):
    """Have a script raise an error; return its exit status, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/train_lstm.py"])

    def main():
        print("printed before")
        if error is not None:
            raise error

    try:
        run(main)
    except SystemExit as stopped:
        return stopped.code, *capsys.readouterr()
    return 0, *capsys.readouterr()


@pytest.mark.parametrize("status", [1, 2, 130])
def test_an_error_is_one_line_with_the_name_of_the_script(status, capsys, monkeypatch):
    error = SentimentError("first\nsecond \x1b[2J", status)
    assert_one_line(error)
    code, out, err = run_and_exit(error, capsys, monkeypatch)
    assert code == status and out == "printed before\n"
    assert err.startswith("train_lstm.py: first second ") and err.endswith("\n")
    assert_one_line(err.removesuffix("\n"))


def test_an_error_is_a_failure_unless_it_says_otherwise():
    assert SentimentError("it failed").status == 1


def test_a_very_long_message_is_shortened_in_its_middle(capsys):
    message = "what is wrong: " + 1_000_000 * "x\n" + "; what to do"
    error = str(SentimentError(message))
    warn(message)
    for shown in (error, str(SentimentError(error)), capsys.readouterr().out):
        assert len(shown) < 2_000
        assert "what is wrong" in shown and "what to do" in shown and "…" in shown
    assert str(SentimentError("x" * 500)) == "x" * 500


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file", "a\nb.csv"), ["a b.csv", "No such file"]),
        (PermissionError(13, "Permission denied", Path("x")), ["x: ", "Permission denied"]),
        (OSError(28, "No space left on device"), ["output", "No space left on device"]),
    ],
)
def test_a_file_that_fails_is_one_line(error, words, capsys, monkeypatch):
    code, out, err = run_and_exit(error, capsys, monkeypatch)
    assert (code, out) == (1, "printed before\n")
    assert all(word in err for word in words)
    assert_one_line(err.removesuffix("\n"))


@pytest.mark.parametrize("message", ["", "stopped after an epoch"])
def test_ctrl_c_is_one_line_and_status_130(message, capsys, monkeypatch):
    code, out, err = run_and_exit(KeyboardInterrupt(message), capsys, monkeypatch)
    assert (code, out) == (130, "printed before\n")
    assert err.startswith("train_lstm.py: stopped") and message in err
    assert_one_line(err.removesuffix("\n"))


def test_success_is_status_0(capsys, monkeypatch):
    assert run_and_exit(None, capsys, monkeypatch) == (0, "printed before\n", "")


def test_a_mistake_in_the_program_keeps_its_traceback(capsys, monkeypatch):
    with pytest.raises(ZeroDivisionError):
        run_and_exit(ZeroDivisionError(), capsys, monkeypatch)


@pytest.mark.parametrize("arguments", [["--unknown"], ["--epochs"], ["--epochs", "x"], ["x"]])
def test_wrong_usage_is_status_2(arguments):
    parser = ArgumentParser(prog="x.py")
    parser.add_argument("--epochs", type=int)
    with pytest.raises(SentimentError, match="--help") as raised:
        parser.parse_args(arguments)
    assert raised.value.status == 2
    assert_one_line(raised.value)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("--lstm_units", "--lstm-units"), ("--epoch", "--epochs"), ("--epoch=3", "--epochs")],
)
def test_a_misspelled_option_is_recognized(given, meant):
    parser = ArgumentParser(prog="x.py", allow_abbrev=False)
    parser.add_argument("--lstm-units", type=int)
    parser.add_argument("--epochs", type=int)
    with pytest.raises(SentimentError, match=f"did you mean {meant}") as raised:
        parser.parse_args([given, "3"])
    assert raised.value.status == 2
    assert_one_line(raised.value)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a whole group of processes")
@pytest.mark.parametrize(
    ("script", "seconds"),
    [
        ("train_lstm.py", 0.5),
        pytest.param("train_lstm.py", 2, marks=pytest.mark.extended),
        ("predict.py", 1),
        pytest.param("plot_history.py", 1, marks=pytest.mark.extended),
    ],
)
def test_ctrl_c_during_the_imports_is_one_line(script, seconds, tmp_path):
    # Where these tests run in the background, SIGINT is ignored, and what they start inherits it.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, PROJECT / script, *(["x"] if script == "predict.py" else [])],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, handler)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)  # many press it twice
    _, errors = process.communicate(timeout=60)
    if process.returncode == 1:  # plot_history.py has nothing to plot, and had ended before
        assert "nothing to plot" in errors
        return
    assert process.returncode == 130
    (line,) = errors.strip().splitlines()
    assert line.startswith(f"{script}: ")


def run_into_closed_pipe(path, *arguments, folder, both=False):
    """Run a program whose output nobody reads; return its exit status and stderr."""
    reader, writer = os.pipe()
    os.close(reader)
    finished = subprocess.run(
        [sys.executable, path, *arguments],
        cwd=folder,
        env={
            **os.environ,
            **quick_backend(),
            "PYTHONPATH": str(PROJECT),
            "PYTHONUNBUFFERED": "",
        },
        stdout=writer,
        stderr=writer if both else subprocess.PIPE,
        text=True,
        timeout=120,
    )
    os.close(writer)
    return finished.returncode, finished.stderr


@pytest.mark.slow
def test_a_closed_output_pipe_is_one_line(tmp_path):
    path = PROGRAMS / "print_lines.py"
    status, error = run_into_closed_pipe(path, "10000", "success", folder=tmp_path)
    assert status == 1
    assert error.startswith("print_lines.py: ")
    assert_one_line(error.removesuffix("\n"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outcome", "both", "expected", "line"),
    [
        ("failure", False, 1, "print_lines.py: it failed\n"),
        ("interrupt", False, 130, "print_lines.py: stopped\n"),
        ("interrupt", True, 130, None),  # as with `2>&1 | tee`
    ],
)
def test_an_error_with_a_closed_output_pipe_keeps_its_status(
    tmp_path, outcome, both, expected, line
):
    path = PROGRAMS / "print_lines.py"
    status, error = run_into_closed_pipe(path, "1", outcome, folder=tmp_path, both=both)
    assert (status, error) == (expected, line)


@pytest.mark.slow
def test_a_real_script_with_a_closed_output_pipe(tmp_path):
    arguments = [Path(PROJECT, "models", "lstm"), "--csv"]
    status, error = run_into_closed_pipe(PROJECT / "plot_history.py", *arguments, folder=tmp_path)
    assert status == 1
    assert "Traceback" not in error and "Exception ignored" not in error
    assert error.splitlines()[-1].startswith("plot_history.py: ")

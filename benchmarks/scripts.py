"""Whole scripts, measured from outside: their seconds and their memory."""

import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sentiment.data.imdb import read_package

PROJECT = Path(__file__).resolve().parents[1]
SENTENCES = 1_000_000  # for predict.py


def measure_scripts(folder, repeats, report):
    """Return the results of each script, as `run_script` returns them.

    Args:
        folder: for temporary files.
        repeats: how many times each script runs; they take turns.
        report: called with a line of progress.
    """
    lines, some_lines = save_sentences(folder)
    train = [PROJECT / "train_lstm.py", "--data", "imdb-package"]
    predict = [PROJECT / "predict.py", "--run", PROJECT / "models" / "lstm", "--file"]
    scripts = {
        "`train_lstm.py`, three epochs": [*train, "--epochs", "3"],
        f"`predict.py`, {SENTENCES:,} sentences": [*predict, lines],
        f"`predict.py`, {SENTENCES // 100:,} sentences": [*predict, some_lines],
    }
    measured = {name: [] for name in scripts}
    for repeat in range(repeats):
        for name, command in scripts.items():
            report(f"{name}, repeat {repeat + 1}")
            measured[name].append(run_script([sys.executable, *command]))
    return measured


def save_sentences(folder):
    """Save the sentences of the reviews, one a line, repeated; return the paths of all and some."""
    texts, _ = read_package()
    sentences = [part for text in texts for part in re.split(r"(?<=[.!?])\s+", text) if part]
    paths = folder / "all.txt", folder / "some.txt"
    for path, number in zip(paths, (SENTENCES, SENTENCES // 100), strict=True):
        with path.open("w", encoding="utf-8") as file:
            for sentence in itertools.islice(itertools.cycle(sentences), number):
                print(" ".join(sentence.split()), file=file)
    return paths


def run_script(command):
    """Return the seconds until a script trains, if it does, and to its end; its peak MB."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(PROJECT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        output, until_training = b"", None
        while chunk := process.stdout.read1():
            output = (output + chunk)[-10_000:]
            if until_training is None and re.search(rb"^Run folder: ", output, re.M):
                until_training = time.perf_counter() - started
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"{command} failed:\n{output.decode()}")
        return until_training, time.perf_counter() - started, usage.ru_maxrss / 1024

"""Measure this project's speed beside stock Keras, JAX and PyTorch, all in one run.

Prints Markdown: what is measured alternates, contestant by contestant, and is repeated; a row holds
the median and the range, and the median of the ratios within each repeat. ``--quick`` measures
only the LSTM's training against stock Keras, on a part of an epoch.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.contestant import (
    BATCH_SIZE,
    EMBEDDING_SIZE,
    EPOCH,
    FILTERS,
    KERNEL_SIZE,
    LSTM_UNITS,
    MAXIMUM_EPOCHS,
    POOL_SIZE,
    WANTED_ACCURACY,
)
from sentiment.data import load_data, read_package
from sentiment.devices import describe_device

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
CONTESTANTS = {
    "ours": "this project",
    "stock": "stock Keras, padded in front to 500",
    "stock_batches": "stock Keras, this project's batches",
    "jax": "stock Keras on JAX, padded in front to 500",
    "torch_padded": "PyTorch `nn.LSTM`, padded in front to 500",
    "torch_packed": "PyTorch `nn.LSTM`, packed sequences",
}
NETWORKS = {"lstm": "LSTM", "cnn_lstm": "CNN-LSTM"}
SECONDS_COLUMNS = ["seconds", "range", "times this project's"]
# Reviews that the seconds are for; as many to predict as there are in the official test split.
REVIEWS_OF = {"train": EPOCH, "predict": 25_000}
REVIEWS_OF_QUICK = {"train_part": EPOCH}
LINES = 1_000_000  # sentences, for predict.py
REPEATS = 3  # of the time to accuracy, each has a seed of its own


class Process:
    """A contestant in a process of its own, idle until it is asked."""

    def __init__(self, name, network, reviews, seed=1, backend="tensorflow", batch=BATCH_SIZE):
        backend = "jax" if name == "jax" else backend
        command = [sys.executable, "-m", "benchmarks.contestant", name, network, reviews]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed by __exit__
        self.process = subprocess.Popen(
            [*command, str(seed), str(batch)],
            cwd=PROJECT,
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # several share a GPU's memory
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def ask(self, task):
        print(task, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            self.errors.seek(0)
            raise SystemExit(self.errors.read())
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.errors.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the LSTM against stock Keras alone")
    quick = parser.parse_args().quick
    started = time.monotonic()
    data = load_data("imdb-package", 1_000_000, 500)
    names = ["ours", "stock"] if quick else [name for name in CONTESTANTS if is_installed(name)]
    print_heading(names)
    with tempfile.TemporaryDirectory() as folder:
        reviews = save_reviews(data, Path(folder))
        for network in ["lstm"] if quick else NETWORKS:
            compare_speed(network, names, reviews, data, REVIEWS_OF_QUICK if quick else REVIEWS_OF)
        if not quick:
            compare_scripts(Path(folder))
            compare_time_to_accuracy(reviews)
    print(f"\nThis took {(time.monotonic() - started) / 60:.0f} minutes.")


def is_installed(name):
    package = name.partition("_")[0]
    if package not in ("jax", "torch"):
        return True
    try:
        importlib.metadata.version(package)
        return True
    except importlib.metadata.PackageNotFoundError:
        print(f"{package} is not installed: left out\n")
        return False


def print_heading(names):
    packages = ["tensorflow", "keras", "numpy", *sorted({"jax", "torch"} & {n[:5] for n in names})]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    print(
        f"{datetime.date.today()}. {describe_device()}; {platform.system()}, "
        f"Python {platform.python_version()}, {versions}."
    )


def save_reviews(data, folder, reviews=EPOCH):
    """Save the reviews for the contestants, so many of them to train on, and return the path."""
    parts = {}
    for part in ("train", "test"):
        sequences = getattr(data, f"x_{part}")[:reviews]
        parts[f"ids_{part}"] = np.concatenate(sequences)
        parts[f"lengths_{part}"] = [len(sequence) for sequence in sequences]
        parts[f"labels_{part}"] = getattr(data, f"y_{part}")[:reviews]
    np.savez(folder / "reviews.npz", **parts)
    return folder / "reviews.npz"


def compare_speed(network, names, reviews, data, reviews_of=REVIEWS_OF):
    with contextlib.ExitStack() as stack:
        processes = {name: stack.enter_context(Process(name, network, reviews)) for name in names}
        for process in processes.values():
            process.ask("warm")
        seconds = {task: {name: [] for name in names} for task in reviews_of}
        rates = []
        for repeat in range(REPEATS):
            rates.append(processes["ours"].ask("multiply"))
            for task, measured in seconds.items():
                for name, process in processes.items():
                    report(f"{network}, repeat {repeat + 1}: {task} {name}")
                    measured[name].append(reviews_of[task] * process.ask(task))
    for task, number in reviews_of.items():
        title = "prediction" if task == "predict" else "one epoch"
        print(f"\n### {NETWORKS[network]}: {title} of {number:,} reviews\n")
        rows = [(CONTESTANTS[name], values) for name, values in seconds[task].items()]
        print_rows(["contestant", *SECONDS_COLUMNS], compare(rows))
    operations = EPOCH * count_operations(network, data)
    floors = [operations / rate for rate in rates]
    training, *_ = seconds.values()
    shares = [floor / taken for floor, taken in zip(floors, training["ours"], strict=True)]
    print(
        f"\nThe floor: the words of an epoch, without padding, need {operations / 1e12:.2f} TFLOP. "
        f"At the rate of this machine's matrix products in the same run, "
        f"{statistics.median(rates) / 1e9:.0f} GFLOP/s, that takes "
        f"{statistics.median(floors):.1f} s: this project trains at "
        f"{statistics.median(shares):.0%} of that rate."
    )


def count_operations(network, data):
    """Return the floating-point operations of training on a review, on average."""
    places = statistics.fmean(map(len, data.x_train))
    features, units = EMBEDDING_SIZE, LSTM_UNITS
    convolution = 0
    if network == "cnn_lstm":
        convolution = 2 * KERNEL_SIZE * features * FILTERS * places
        places, features = places / POOL_SIZE, FILTERS
    # The two gradients, for the inputs and for the weights, cost as much each as the result.
    return 3 * (convolution + 2 * (features + units) * 4 * units * places)


def compare_scripts(folder):
    """Measure whole scripts from outside."""
    lines, some_lines = save_sentences(folder)
    ours = [PROJECT / "train_lstm.py", "--data", "imdb-package"]
    reading = [PROJECT / "predict.py", "--run", PROJECT / "models" / "lstm", "--file"]
    scripts = {
        "`train_lstm.py`, three epochs": ours,
        "`train_lstm.py`, one epoch": [*ours, "--epochs", "1"],
        "stock LSTM, one epoch": [PROJECT / "benchmarks" / "stock.py", "lstm"],
        f"`predict.py`, {LINES:,} sentences": [*reading, lines],
        f"`predict.py`, {LINES // 100:,} sentences": [*reading, some_lines],
    }
    measured = {name: [] for name in scripts}
    for repeat in range(REPEATS):
        for name, command in scripts.items():
            report(f"{name}, repeat {repeat + 1}")
            measured[name].append(run_script([sys.executable, *command]))
    print("\n### Whole scripts, training with validation and test\n")
    rows = []
    for name, results in measured.items():
        first_step, seconds, memory = zip(*results, strict=True)
        first_step = f"{statistics.median(first_step):.1f}" if None not in first_step else ""
        in_all = f"{statistics.median(seconds):.0f}", f"{min(seconds):.0f} to {max(seconds):.0f}"
        rows.append([name, first_step, *in_all, f"{statistics.median(memory):.0f}"])
    columns = ["script", "seconds to first step", "seconds in all", "range", "peak memory in MB"]
    print_rows(columns, rows)


def save_sentences(folder):
    """Save the reviews' sentences, one a line, over and over; return the paths of all and some."""
    texts, _ = read_package()
    sentences = [part for text in texts for part in re.split(r"(?<=[.!?])\s+", text) if part]
    paths = folder / "all.txt", folder / "some.txt"
    for path, number in zip(paths, (LINES, LINES // 100), strict=True):
        with path.open("w", encoding="utf-8") as file:
            for sentence in itertools.islice(itertools.cycle(sentences), number):
                print(" ".join(sentence.split()), file=file)
    return paths


def run_script(command):
    """Return the seconds to a script's first step, if any, and to its end, and its peak MB."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(PROJECT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        output, first_step = b"", None
        while chunk := process.stdout.read1():
            output = (output + chunk)[-10_000:]
            if first_step is None and re.search(rb"\x1b\[1m +1/\d+", output):
                first_step = time.perf_counter() - started
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{command} failed:\n{output.decode()}")
        return first_step, time.perf_counter() - started, usage.ru_maxrss / 1024


def compare_time_to_accuracy(reviews):
    names = {"ours_default": "`train_lstm.py`", "stock": "stock LSTM"}
    results = {name: [] for name in names}
    for seed in range(1, REPEATS + 1):
        for name, measured in results.items():
            report(f"time to accuracy, seed {seed}, {name}")
            with Process(name, "lstm", reviews, seed) as process:
                measured.append(process.ask("reach"))
    print(
        f"\n### LSTM: training until {WANTED_ACCURACY:.0%} of 5,000 held-out reviews are right, "
        f"or for {MAXIMUM_EPOCHS} epochs\n"
    )
    rows = compare(
        [(names[name], [run["seconds"] for run in runs]) for name, runs in results.items()]
    )
    for row, runs in zip(rows, results.values(), strict=True):
        row.append(", ".join(f"{run['accuracies'][-1]:.1%}" for run in runs))
    print_rows(["script", *SECONDS_COLUMNS, "right at the end"], rows)


def compare(measured):
    """Return rows of names, medians, ranges, and medians of the ratios to the first row."""
    rows = []
    for name, values in measured:
        ratios = [a / b for a, b in zip(values, measured[0][1], strict=True)]
        rows.append(
            [
                name,
                f"{statistics.median(values):.1f}",
                f"{min(values):.1f} to {max(values):.1f}",
                f"{statistics.median(ratios):.1f}",
            ]
        )
    return rows


def print_rows(columns, rows):
    for row in [columns, ["---"] * len(columns), *rows]:
        print("|", " | ".join(row), "|")
    sys.stdout.flush()


def report(progress):
    print(progress, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

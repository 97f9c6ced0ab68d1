"""Compare the speed of this project with stock Keras, JAX and PyTorch, all in one run.

Prints Markdown. The implementations take turns, and everything is repeated: a row holds the median,
the range, and the median of the ratios within each repeat.
"""

import contextlib
import datetime
import importlib.metadata
import importlib.util
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

import numpy as np

from benchmarks.classic_recipe import (
    BATCH_SIZE,
    EMBEDDING_SIZE,
    FILTERS,
    KERNEL_SIZE,
    LSTM_UNITS,
    POOL_SIZE,
)
from benchmarks.implementations import EPOCH_REVIEWS, MAXIMUM_EPOCHS, TARGET_ACCURACY
from sentiment.cli import ArgumentParser, run
from sentiment.data import load_data
from sentiment.data.imdb import read_package
from sentiment.distribution import describe_device

PROJECT = Path(__file__).resolve().parents[1]
IMPLEMENTATIONS = {
    "this_project": "this project",
    "stock_keras": "stock Keras, pre-padded to 500",
    "stock_keras_batches": "stock Keras, this project's batches",
    "stock_keras_jax": "stock Keras on JAX, pre-padded to 500",
    "pytorch_padded": "PyTorch `nn.LSTM`, pre-padded to 500",
    "pytorch_packed": "PyTorch `nn.LSTM`, packed sequences",
}
PACKAGES = {"stock_keras_jax": "jax", "pytorch_padded": "torch", "pytorch_packed": "torch"}
NETWORKS = {"lstm": "LSTM", "cnn_lstm": "CNN-LSTM"}
SECONDS_COLUMNS = ["seconds", "range", "times this project's"]
# Number of reviews that the seconds are for. The official test split has 25,000 to predict.
TASKS = {"train": EPOCH_REVIEWS, "predict": 25_000}
QUICK_TASKS = {"train_without_wait": EPOCH_REVIEWS}
SENTENCES = 1_000_000  # for predict.py
REPEATS = 3  # those of the time to accuracy have a seed each


class Process:
    """An implementation in a process of its own, which is idle until it gets a task."""

    def __init__(self, name, network, reviews, seed=1, batch_size=BATCH_SIZE, backend="tensorflow"):
        command = [sys.executable, "-m", "benchmarks.implementations", name, network, reviews]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed by __exit__
        self.process = subprocess.Popen(
            [*command, str(seed), str(batch_size)],
            cwd=PROJECT,
            env={
                **os.environ,
                "KERAS_BACKEND": "jax" if name == "stock_keras_jax" else backend,
                "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # several share a GPU's memory
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def ask(self, task):
        """Return the result of a task (see `benchmarks.implementations.main`)."""
        print(task, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            self.errors.seek(0)
            raise RuntimeError(self.errors.read())
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.errors.close()


def main():
    parser = ArgumentParser(prog="benchmarks.speed", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="train only the LSTM, and only beside stock Keras"
    )
    is_quick = parser.parse_args().quick
    started = time.monotonic()
    data = load_data("imdb-package", 1_000_000, 500)
    names = (
        ["this_project", "stock_keras"] if is_quick else [*filter(is_installed, IMPLEMENTATIONS)]
    )
    used = sorted({PACKAGES[name] for name in names if name in PACKAGES})
    print_heading(["tensorflow", "keras", "numpy", *used])
    with tempfile.TemporaryDirectory() as folder:
        reviews = save_reviews(data, Path(folder))
        for network in ["lstm"] if is_quick else NETWORKS:
            tasks = QUICK_TASKS if is_quick else TASKS
            tokens = statistics.fmean(map(len, data.x_train))
            compare_speed(network, names, reviews, tasks, count_operations(network, tokens))
        if not is_quick:
            compare_scripts(Path(folder))
            compare_time_to_accuracy(reviews)
    print(f"\nThis took {(time.monotonic() - started) / 60:.0f} minutes.")


def is_installed(name):
    package = PACKAGES.get(name, "keras")
    if importlib.util.find_spec(package):
        return True
    print(f"{package} is not installed: no row for {IMPLEMENTATIONS[name]}\n")
    return False


def print_heading(packages):
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    print(
        f"{datetime.date.today()}. {describe_device()}; {platform.system()}, "
        f"Python {platform.python_version()}, {versions}."
    )


def save_reviews(data, folder, reviews=EPOCH_REVIEWS):
    """Save so many training reviews, and test reviews, and return the path of the file."""
    arrays = {}
    for split in ("train", "test"):
        sequences = getattr(data, f"x_{split}")[:reviews]
        arrays[f"ids_{split}"] = np.concatenate(list(sequences))
        arrays[f"lengths_{split}"] = [len(sequence) for sequence in sequences]
        arrays[f"labels_{split}"] = getattr(data, f"y_{split}")[:reviews]
    np.savez(folder / "reviews.npz", **arrays)
    return folder / "reviews.npz"


def compare_speed(network, names, reviews, tasks, operations):
    with contextlib.ExitStack() as stack:
        processes = {name: stack.enter_context(Process(name, network, reviews)) for name in names}
        for process in processes.values():
            process.ask("warm_up")
        seconds = {task: {name: [] for name in names} for task in tasks}
        rates = []
        for repeat in range(REPEATS):
            rates.append(processes["this_project"].ask("matrix_products"))
            for task, measured in seconds.items():
                for name, process in processes.items():
                    report(f"{network}, repeat {repeat + 1}: {task} {name}")
                    measured[name].append(tasks[task] * process.ask(task))
    for task, number in tasks.items():
        title = "prediction" if task == "predict" else "one epoch"
        print(f"\n### {NETWORKS[network]}: {title} of {number:,} reviews\n")
        rows = [(IMPLEMENTATIONS[name], values) for name, values in seconds[task].items()]
        print_rows(["implementation", *SECONDS_COLUMNS], compare(rows))
    operations *= EPOCH_REVIEWS
    bounds = [operations / rate for rate in rates]
    training, *_ = seconds.values()
    shares = [bound / taken for bound, taken in zip(bounds, training["this_project"], strict=True)]
    print(
        f"\nLower bound: the tokens of an epoch, without padding, need {operations / 1e12:.2f} "
        f"TFLOP. At the rate of this machine's matrix products in the same run, "
        f"{statistics.median(rates) / 1e9:.0f} GFLOP/s, that takes "
        f"{statistics.median(bounds):.1f} s: this project trains at "
        f"{statistics.median(shares):.0%} of that rate."
    )


def count_operations(network, tokens):
    """Return the floating-point operations of training on a review of so many tokens."""
    features, units, steps = EMBEDDING_SIZE, LSTM_UNITS, tokens
    convolution = 0
    if network == "cnn_lstm":
        convolution = 2 * KERNEL_SIZE * features * FILTERS * tokens
        steps, features = tokens / POOL_SIZE, FILTERS
    # The gradients of the inputs and of the weights cost as much each as the forward pass.
    return 3 * (convolution + 2 * (features + units) * 4 * units * steps)


def compare_scripts(folder):
    """Measure whole scripts from outside."""
    lines, some_lines = save_sentences(folder)
    train = [PROJECT / "train_lstm.py", "--data", "imdb-package"]
    predict = [PROJECT / "predict.py", "--run", PROJECT / "models" / "lstm", "--file"]
    scripts = {
        "`train_lstm.py`, three epochs": [*train, "--epochs", "3"],
        "`train_lstm.py`, one epoch": [*train, "--epochs", "1"],
        "stock LSTM, one epoch": ["-m", "benchmarks.stock_keras", "lstm"],
        f"`predict.py`, {SENTENCES:,} sentences": [*predict, lines],
        f"`predict.py`, {SENTENCES // 100:,} sentences": [*predict, some_lines],
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
        total = f"{statistics.median(seconds):.0f}", f"{min(seconds):.0f} to {max(seconds):.0f}"
        rows.append([name, first_step, *total, f"{statistics.median(memory):.0f}"])
    columns = ["script", "seconds to first step", "seconds in all", "range", "peak memory in MB"]
    print_rows(columns, rows)


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
    """Return the seconds to a script's first training step, if any, and to its end; its peak MB."""
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
            raise RuntimeError(f"{command} failed:\n{output.decode()}")
        return first_step, time.perf_counter() - started, usage.ru_maxrss / 1024


def compare_time_to_accuracy(reviews):
    names = {"training_script": "`train_lstm.py`", "stock_keras": "stock LSTM"}
    results = {name: [] for name in names}
    for seed in range(1, REPEATS + 1):
        for name, measured in results.items():
            report(f"time to accuracy, seed {seed}, {name}")
            with Process(name, "lstm", reviews, seed) as process:
                measured.append(process.ask("time_to_accuracy"))
    print(
        f"\n### LSTM: training until {TARGET_ACCURACY:.0%} accuracy on 5,000 held-out reviews, "
        f"or for {MAXIMUM_EPOCHS} epochs\n"
    )
    rows = compare(
        [
            (names[name], [result["seconds"] for result in measured])
            for name, measured in results.items()
        ]
    )
    for row, measured in zip(rows, results.values(), strict=True):
        row.append(", ".join(f"{result['accuracies'][-1]:.1%}" for result in measured))
    print_rows(["script", *SECONDS_COLUMNS, "final test accuracy"], rows)


def compare(measured):
    """Return rows of names, medians, ranges, and medians of the ratios to the first row."""
    rows = []
    for name, values in measured:
        ratios = [a / b for a, b in zip(values, measured[0][1], strict=True)]
        spread = f"{min(values):.1f} to {max(values):.1f}"
        medians = f"{statistics.median(values):.1f}", f"{statistics.median(ratios):.1f}"
        rows.append([name, medians[0], spread, medians[1]])
    return rows


def print_rows(columns, rows):
    for row in [columns, ["---"] * len(columns), *rows]:
        print("|", " | ".join(row), "|")
    sys.stdout.flush()


def report(progress):
    print(progress, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run(main)

"""Compare the speed of this project with stock Keras, JAX and PyTorch, all in one run.

Prints Markdown. The implementations take turns, and everything but the time to an accuracy is
repeated: a row holds the median, the range, and the median of the ratios within each repeat.
"""

import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
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
from benchmarks.scripts import measure_scripts
from sentiment.cli import ArgumentParser, run
from sentiment.data import load_data
from sentiment.distribution import describe_device

PROJECT = Path(__file__).resolve().parents[1]
IMPLEMENTATIONS = {
    "this_project": "this project",
    "this_project_jax": "this project on JAX",
    "this_project_torch": "this project on PyTorch",
    "stock_keras": "stock Keras, pre-padded to 500",
    "stock_keras_batches": "stock Keras, this project's batches",
    "stock_keras_jax": "stock Keras on JAX, pre-padded to 500",
    "stock_keras_torch": "stock Keras on PyTorch, pre-padded to 500",
    "pytorch_padded": "PyTorch `nn.LSTM`, pre-padded to 500",
    "pytorch_packed": "PyTorch `nn.LSTM`, packed sequences",
    "pytorch_batches": "PyTorch `nn.LSTM`, this project's batches",
}
QUICK = ("this_project", "stock_keras")
NETWORKS = {"lstm": "LSTM", "cnn_lstm": "CNN-LSTM"}
WIDTHS = (EMBEDDING_SIZE, LSTM_UNITS), (128, 128)
# Number of reviews that the seconds are for. The official test split has 25,000 to predict.
TASKS = {"train": EPOCH_REVIEWS, "predict": 25_000}
REPEATS = 3
SEED = 1


class Process:
    """An implementation in a process of its own, which is idle until it gets a task."""

    def __init__(self, name, network, reviews, width=WIDTHS[0], batch_size=BATCH_SIZE):
        command = [sys.executable, "-m", "benchmarks.implementations", name, network, reviews]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed by __exit__
        self.process = subprocess.Popen(
            [*command, *map(str, (SEED, batch_size, *width))],
            cwd=PROJECT,
            env={
                **os.environ,
                "KERAS_BACKEND": find_backend(name),
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
    parser.add_argument("--quick", action="store_true", help="the LSTM alone, beside stock Keras")
    is_quick = parser.parse_args().quick
    started = time.monotonic()
    data = load_data("imdb-package", 1_000_000, 500)
    names = QUICK if is_quick else [*filter(is_installed, IMPLEMENTATIONS)]
    used = sorted({"jax", "torch"} & {find_backend(name) for name in names})
    print_heading(["tensorflow", "keras", "numpy", *used])
    with tempfile.TemporaryDirectory() as folder:
        reviews = save_reviews(data, Path(folder))
        tokens = statistics.fmean(map(len, data.x_train))
        compare_speed("lstm", WIDTHS[0], names, reviews, tokens, TASKS)
        compare_speed("lstm", WIDTHS[1], names, reviews, tokens, ["train"])
        if not is_quick:
            compare_speed("cnn_lstm", WIDTHS[0], names, reviews, tokens, ["train"])
            compare_scripts(Path(folder))
            compare_time_to_accuracy(reviews)
    print(f"\nThis took {(time.monotonic() - started) / 60:.0f} minutes.")


def find_backend(name):
    """Return the package that computes an implementation."""
    if name.startswith("pytorch") or name.endswith("_torch"):
        return "torch"
    return "jax" if name.endswith("_jax") else "tensorflow"


def is_installed(name):
    package = find_backend(name)
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


def compare_speed(network, width, names, reviews, tokens, tasks):
    """Measure implementations of a network with so many features and hidden units.

    Args:
        network: ``"lstm"`` or ``"cnn_lstm"``.
        width: the embedding dimension and the number of hidden units.
        names: the implementations.
        reviews: path of the file of reviews.
        tokens: the mean number of tokens of a review.
        tasks: ``"train"`` and, if asked for, ``"predict"``.
    """
    with contextlib.ExitStack() as stack:
        processes = {
            name: stack.enter_context(Process(name, network, reviews, width)) for name in names
        }
        for name, process in processes.items():
            report(f"{network}: first call of {name}")
            process.ask("warm_up")
        seconds = {task: {name: [] for name in names} for task in tasks}
        rates = []
        for repeat in range(REPEATS):
            rates.append(processes["this_project"].ask("matrix_products"))
            for task, measured in seconds.items():
                for name, process in processes.items():
                    report(f"{network}, repeat {repeat + 1}: {task} {name}")
                    measured[name].append(TASKS[task] * process.ask(task))
    features, units = width
    for task in tasks:
        title = "prediction" if task == "predict" else "one epoch"
        print(
            f"\n### {NETWORKS[network]}, embedding dimension {features}, {units} hidden units: "
            f"{title} of {TASKS[task]:,} reviews\n"
        )
        rows = [(IMPLEMENTATIONS[name], values) for name, values in seconds[task].items()]
        print_rows(["implementation", *name_columns()], compare(rows))
    operations = EPOCH_REVIEWS * count_operations(network, tokens, *width)
    bounds = [operations / rate for rate in rates]
    taken = seconds["train"]["this_project"]
    shares = [bound / second for bound, second in zip(bounds, taken, strict=True)]
    print(
        f"\nLower bound: the tokens of an epoch, without padding, need {operations / 1e12:.2f} "
        f"TFLOP. At the rate of this machine's matrix products in the same run, "
        f"{statistics.median(rates) / 1e9:.0f} GFLOP/s, that takes "
        f"{statistics.median(bounds):.1f} s: this project trains at "
        f"{statistics.median(shares):.0%} of that rate."
    )


def count_operations(network, tokens, features, units):
    """Return the floating-point operations of training on a review of so many tokens."""
    steps, convolution = tokens, 0
    if network == "cnn_lstm":
        convolution = 2 * KERNEL_SIZE * features * FILTERS * tokens
        steps, features = tokens / POOL_SIZE, FILTERS
    # The gradients of the inputs and of the weights cost as much each as the forward pass.
    return 3 * (convolution + 2 * (features + units) * 4 * units * steps)


def compare_scripts(folder):
    measured = measure_scripts(folder, REPEATS, report)
    print("\n### Whole scripts, training with validation and test\n")
    rows = []
    for name, results in measured.items():
        until_training, seconds, memory = zip(*results, strict=True)
        begun = f"{statistics.median(until_training):.1f}" if None not in until_training else ""
        total = f"{statistics.median(seconds):.0f}", f"{min(seconds):.0f} to {max(seconds):.0f}"
        rows.append([name, begun, *total, f"{statistics.median(memory):.0f}"])
    seconds, spread, _ = name_columns()
    columns = ["script", "seconds until it trains", seconds, spread, "peak memory in MB"]
    print_rows(columns, rows)


def compare_time_to_accuracy(reviews):
    names = {"training_script": "`train_lstm.py`", "stock_keras": "stock LSTM"}
    results = {}
    for name in names:
        report(f"time to accuracy, {name}")
        with Process(name, "lstm", reviews) as process:
            results[name] = process.ask("time_to_accuracy")
    print(
        f"\n### LSTM: training until {TARGET_ACCURACY:.0%} accuracy on 5,000 held-out reviews, "
        f"or for {MAXIMUM_EPOCHS} epochs\n"
    )
    rows = []
    for name, result in results.items():
        ratio = result["seconds"] / results["training_script"]["seconds"]
        accuracy = result["accuracies"][-1]
        rows.append([names[name], f"{result['seconds']:.0f}", f"{ratio:.1f}", f"{accuracy:.1%}"])
    seconds, _, times = name_columns()
    print_rows(["script", seconds, times, "final test accuracy"], rows)


def name_columns():
    """Return the names of the columns of times, with the kind of processor."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text().split() if cpu.exists() else []
    kinds = {"avx512f": "AVX-512", "avx2": "AVX2"}
    kind = next((kinds[flag] for flag in kinds if flag in flags), platform.machine())
    return [f"seconds ({kind})", "range", "times this project's"]


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

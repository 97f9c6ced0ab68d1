"""How fast the classic recipe trains on a GPU: ``make bench-gpu``, with JAX and PyTorch.

An epoch of the LSTM with batches of 64, 256 and 1,024 reviews: this project on JAX, beside stock
Keras on JAX and PyTorch's own LSTM, both of which cuDNN computes. Prints tables in Markdown.
``python -m benchmarks.gpu 500`` takes so many reviews, to see that it runs where there is no GPU.
"""

import contextlib
import datetime
import importlib.metadata
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks.contestant import EPOCH
from benchmarks.speed import (
    REPEATS,
    SECONDS_COLUMNS,
    Process,
    compare,
    print_rows,
    report,
    save_reviews,
)
from sentiment.data import load_data
from sentiment.devices import describe_device

BATCH_SIZES = (64, 256, 1_024)
CONTESTANTS = {
    "ours": "this project",
    "jax": "stock Keras, padded in front to 500",
    "torch_padded": "PyTorch `nn.LSTM`, padded in front to 500",
    "torch_packed": "PyTorch `nn.LSTM`, packed sequences",
}


def main():
    reviews = int(sys.argv[1]) if len(sys.argv) > 1 else EPOCH
    packages = ("keras", "jax", "torch", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    print(
        f"{datetime.date.today()}. {describe_device()}; {platform.system()}, "
        f"Python {platform.python_version()}, {versions}."
    )
    data = load_data("imdb-package", 1_000_000, 500)
    with tempfile.TemporaryDirectory() as folder:
        path = save_reviews(data, Path(folder), reviews)
        for batch_size in BATCH_SIZES:
            print(f"\n### One epoch of {reviews:,} reviews in batches of {batch_size:,}\n")
            print_rows(["contestant", *SECONDS_COLUMNS], compare(measure(path, batch_size)))


def measure(path, batch_size):
    """Return the contestants' names, each with the seconds of its epochs."""
    with contextlib.ExitStack() as stack:
        processes = {
            name: stack.enter_context(Process(name, "lstm", path, backend="jax", batch=batch_size))
            for name in CONTESTANTS
        }
        seconds = {name: [] for name in CONTESTANTS}
        for repeat in range(REPEATS + 1):
            for name, process in processes.items():
                report(f"batches of {batch_size}, epoch {repeat}: {name}")
                seconds[name].append(process.ask("epoch"))
    # The first epoch compiles.
    return [(CONTESTANTS[name], values[1:]) for name, values in seconds.items()]


if __name__ == "__main__":
    main()

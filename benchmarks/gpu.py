"""How fast the classic recipe trains on a GPU: ``make bench-gpu``, with JAX and PyTorch.

Measures an epoch of the LSTM with batches of 64, 256 and 1,024 reviews: this project on JAX, beside
stock Keras on JAX and PyTorch's own LSTM, both of which cuDNN computes. Prints tables in Markdown.
``python -m benchmarks.gpu 500`` takes 500 reviews, as a trial on a machine without a GPU.
"""

import contextlib
import tempfile
from pathlib import Path

from benchmarks.implementations import EPOCH_REVIEWS
from benchmarks.speed import (
    IMPLEMENTATIONS,
    REPEATS,
    Process,
    compare,
    print_heading,
    print_rows,
    report,
    save_reviews,
)
from sentiment.cli import ArgumentParser, run
from sentiment.data import load_data

BATCH_SIZES = (64, 256, 1_024)
NAMES = ("this_project_jax", "stock_keras_jax", "pytorch_padded", "pytorch_packed")


def main():
    parser = ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("reviews", type=int, nargs="?", default=EPOCH_REVIEWS)
    reviews = parser.parse_args().reviews
    print_heading(["keras", "jax", "torch", "numpy"])
    data = load_data("imdb-package", 1_000_000, 500)
    with tempfile.TemporaryDirectory() as folder:
        path = save_reviews(data, Path(folder), reviews)
        for batch_size in BATCH_SIZES:
            print(f"\n### One epoch of {reviews:,} reviews in batches of {batch_size:,}\n")
            columns = ["implementation", "seconds", "range", "times this project's"]
            print_rows(columns, compare(measure(path, batch_size)))


def measure(path, batch_size):
    """Return the names of the implementations, each with the seconds of its epochs."""
    with contextlib.ExitStack() as stack:
        processes = {
            name: stack.enter_context(Process(name, "lstm", path, batch_size=batch_size))
            for name in NAMES
        }
        seconds = {name: [] for name in NAMES}
        for repeat in range(REPEATS + 1):
            for name, process in processes.items():
                report(f"batches of {batch_size}, epoch {repeat}: {name}")
                seconds[name].append(process.ask("epoch"))
    # The first epoch compiles.
    return [(IMPLEMENTATIONS[name], values[1:]) for name, values in seconds.items()]


if __name__ == "__main__":
    run(main)

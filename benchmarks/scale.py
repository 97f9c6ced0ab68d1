"""What training on millions of reviews takes: ``python -m benchmarks.scale``, 20 minutes, 6 GB.

Makes a CSV file of real reviews, repeated and each truncated at another place, encodes it like any
CSV file of a user, and trains the LSTM on a part of it. Prints a table in Markdown.
"""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import train_lstm
from sentiment.cli import run
from sentiment.data import Batches, load_data
from sentiment.data.imdb import read_package
from sentiment.distribution import describe_device
from sentiment.layers import set_chrono_bias, set_word_vectors

REVIEWS = 2_000_000
STEPS, STEPS_BETWEEN_ROWS = 3_000, 600
SMALLEST_PART = 0.3  # fraction of a review that is kept at least


def main():
    if len(sys.argv) == 3:
        measure(*sys.argv[1:])
        return
    reviews = int(sys.argv[1]) if len(sys.argv) == 2 else REVIEWS
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder).resolve() / "reviews.csv"
        write_reviews(path, reviews)
        print(
            f"{reviews:,} reviews, {path.stat().st_size / 1e9:.2f} GB of text. {describe_device()}"
        )
        print(
            "\n| | seconds | reviews per second | own memory, MB | mapped, MB | peak of both, MB |"
        )
        print("| --- | --- | --- | --- | --- | --- |", flush=True)
        for stage in ("first time", "next time"):
            command = [sys.executable, "-m", "benchmarks.scale", stage, path]
            # The cache is written into the folder and deleted with it.
            environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
            if status := subprocess.call(command, cwd=folder, env=environment):
                sys.exit(status)


def write_reviews(path, number):
    texts, labels = read_package()
    generator = np.random.default_rng(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "sentiment"])
        for i in range(number):
            text = texts[i % len(texts)]
            begin = int(len(text) * generator.uniform(0, 1 - SMALLEST_PART))
            writer.writerow([text[begin:], int(labels[i % len(texts)])])


def measure(stage, path):
    started = time.perf_counter()

    def report(what, reviews=0):
        seconds = time.perf_counter() - started
        status = dict(
            line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines()
        )
        keys = ("RssAnon", "RssFile", "VmHWM")
        memory = " | ".join(f"{int(status[key].split()[0]) / 1e3:,.0f}" for key in keys)
        rate = f"{reviews / seconds:,.0f}" if reviews else ""
        print(f"| {what} | {seconds:.0f} | {rate} | {memory} |", flush=True)

    report("a new process")
    data = load_data(path, train_lstm.VOCABULARY_SIZE, train_lstm.MAXIMUM_TOKENS)
    reviews = sum(map(len, (data.x_train, data.x_validation, data.x_test)))
    report(f"reading them for the {stage}", reviews)
    if stage == "first time":
        return
    started = time.perf_counter()
    model = train_lstm.build_model()
    set_word_vectors(model, "ppmi", data)
    set_chrono_bias(model, train_lstm.CHRONO_TIMESTEPS)
    model.compile(keras.optimizers.Adam(train_lstm.LEARNING_RATE), "binary_crossentropy")
    batches = Batches(data.x_train, data.y_train, train_lstm.BATCH_SIZE, train_lstm.SEED)
    report("PPMI-SVD word vectors, and the order of an epoch")
    started = time.perf_counter()

    def report_progress(batch, logs):
        if (batch + 1) % STEPS_BETWEEN_ROWS == 0:
            trained = (batch + 1) * train_lstm.BATCH_SIZE
            report(f"training, after {trained:,} reviews", trained)

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=report_progress)
    model.fit(batches, steps_per_epoch=STEPS, shuffle=False, verbose=0, callbacks=[callback])


if __name__ == "__main__":
    run(main)

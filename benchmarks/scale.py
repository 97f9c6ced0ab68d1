"""What training on millions of reviews takes: ``python -m benchmarks.scale``, 20 minutes, 6 GB.

Makes a CSV file by repeating real reviews, each cut at another place, encodes it as any reviews of
one's own, and trains the LSTM on a part of them. Prints a table in Markdown.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import train_lstm
from sentiment.batches import Batches
from sentiment.data import load_data, read_package
from sentiment.devices import describe_device
from sentiment.initial import set_word_vectors, spread_memory

import keras
import numpy as np

REVIEWS = 2_000_000
STEPS, STEPS_BETWEEN_ROWS = 3_000, 600
SHORTEST = 0.3  # share of a review that is kept at least


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
            # In the folder it leaves its cache, which goes with it.
            environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
            subprocess.run(command, cwd=folder, check=True, env=environment)


def write_reviews(path, number):
    texts, labels = read_package()
    generator = np.random.default_rng(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "sentiment"])
        for i in range(number):
            text = texts[i % len(texts)]
            begin = int(len(text) * generator.uniform(0, 1 - SHORTEST))
            writer.writerow([text[begin:], int(labels[i % len(texts)])])


def measure(stage, path):
    started = time.perf_counter()

    def report(what, reviews):
        seconds = time.perf_counter() - started
        status = dict(
            line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines()
        )
        keys = ("RssAnon", "RssFile", "VmHWM")
        memory = " | ".join(f"{int(status[key].split()[0]) / 1e3:,.0f}" for key in keys)
        rate = f"{reviews / seconds:,.0f}" if reviews else ""
        print(f"| {what} | {seconds:.0f} | {rate} | {memory} |", flush=True)

    report("a new process", 0)
    data = load_data(path, train_lstm.VOCABULARY_SIZE, train_lstm.MAXIMUM_TOKENS)
    reviews = sum(map(len, (data.x_train, data.x_validation, data.x_test)))
    report(f"reading them for the {stage}", reviews)
    if stage == "first time":
        return
    started = time.perf_counter()
    model = train_lstm.build_model()
    set_word_vectors(model.get_layer("embedding"), data.x_train)
    spread_memory(model.get_layer("lstm"), train_lstm.MEMORY_SPAN)
    model.compile(keras.optimizers.Adam(train_lstm.LEARNING_RATE), "binary_crossentropy")
    batches = Batches(data.x_train, data.y_train, train_lstm.BATCH_SIZE, train_lstm.SEED)
    report("word vectors, and the plan of an epoch", 0)
    started = time.perf_counter()

    def count(batch, logs):
        if (batch + 1) % STEPS_BETWEEN_ROWS == 0:
            trained = (batch + 1) * train_lstm.BATCH_SIZE
            report(f"training, after {trained:,} reviews", trained)

    note = keras.callbacks.LambdaCallback(on_train_batch_end=count)
    model.fit(batches, steps_per_epoch=STEPS, shuffle=False, verbose=0, callbacks=[note])


if __name__ == "__main__":
    main()

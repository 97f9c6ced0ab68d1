"""A training that is broken off, in whatever way, goes on as if it had not been."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from sentiment import runs
from sentiment.data import read_package
from tests.conftest import PROJECT, assert_readable, run_script, start_script
from tests.test_own_data import write_csv

import keras
import numpy as np
import pytest

ARGUMENTS = ["--data", "own.csv", "--epochs", "3", "--batch-size", "16", "--maximum-tokens", "20"]
ARGUMENTS += ["--vocabulary-size", "500", "--lstm-units", "8", "--no-word-vectors"]
KILLS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a few reviews and an unbroken run on them."""
    folder = tmp_path_factory.mktemp("resume")
    texts, labels = read_package()
    write_csv(folder / "own.csv", texts[::50], labels[::50])
    done = run_script("train_lstm.py", *ARGUMENTS, "--name", "unbroken", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder


def read_results(run):
    """Return what two runs of the same training have in common."""
    with (run / "history.csv").open(newline="") as file:
        history = [{**row, "seconds": None} for row in csv.DictReader(file)]
    record = json.loads((run / "run.json").read_text())
    record["constants"].pop("NAME")
    kept = {key: record[key] for key in ("constants", "data", "validation", "test", "kept_epoch")}
    return history, kept, keras.saving.load_model(run / "model.keras").get_weights()


def assert_same(run, other):
    *results, weights = read_results(run)
    *expected, expected_weights = read_results(other)
    assert results == expected
    for weight, wanted in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(weight, wanted)
    names = sorted(path.name for path in other.iterdir())
    assert sorted(path.name for path in run.iterdir()) == names


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that start quickly")
def test_a_killed_training_goes_on_as_if_it_had_not_been(folder):
    def start(*arguments):
        return start_script("train_lstm.py", *arguments, folder=folder)

    started = time.monotonic()
    start(*ARGUMENTS, "--name", "timed").join()
    life = time.monotonic() - started
    generator = random.Random(7)
    for number in range(KILLS):
        run = folder / "models" / f"killed{number}"
        process = start(*ARGUMENTS, "--name", run.name)
        # One moment in each twentieth of its life.
        time.sleep((number + generator.random()) / KILLS * life)
        process.kill()
        process.join()
        assert_readable(run)
        if not (run / "run.json").exists():
            can_resume = (run / "checkpoint.npz").exists()
            arguments = ["--resume", run.name] if can_resume else ["--name", run.name]
            again = start(*([] if can_resume else ARGUMENTS), *arguments)
            again.join()
            assert again.exitcode == 0
            if not can_resume and run.with_name(f"{run.name}-2").exists():
                run = run.with_name(f"{run.name}-2")
        assert_same(run, folder / "models" / "unbroken")


@pytest.mark.parametrize("epochs_before", [0, 1])
def test_an_interrupted_training_says_how_to_go_on(epochs_before, folder):
    name = f"interrupted{epochs_before}"
    run = folder / "models" / name
    process = subprocess.Popen(
        [sys.executable, PROJECT / "train_lstm.py", *ARGUMENTS, "--name", name],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wanted = run / ("history.csv" if epochs_before else "checkpoint.npz")
    while not wanted.exists() or wanted.read_text("latin-1").count("\n") <= epochs_before:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.stdout.close()  # as that of tee is, which gets the same Ctrl-C
    process.stdout = None
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    message = errors.splitlines()[-1]
    command = f"python train_lstm.py --resume {name}"
    assert message.startswith("train_lstm.py: stopped after ") and message.endswith(command)
    assert "Traceback" not in errors
    keras.saving.load_model(run / "model.keras")
    assert not (run / "run.json").exists()
    assert (run / "history.png").exists() == bool(epochs_before)
    done = run_script("train_lstm.py", "--resume", folder=folder)
    assert done.returncode == 0, done.stderr
    assert_same(run, folder / "models" / "unbroken")


def test_a_run_that_is_being_trained_is_left_alone(folder):
    pytest.importorskip("fcntl")
    shutil.copytree(folder / "models" / "unbroken", folder / "models" / "busy")
    (folder / "models" / "busy" / "run.json").unlink()
    state = {"script": "train_lstm.py", "options": {}, **{key: {} for key in runs.REPEATED}}
    state = np.frombuffer(json.dumps(state).encode(), np.uint8)
    np.savez(folder / "models" / "busy" / "checkpoint.npz", state=state)
    lock = runs.lock_folder(folder / "models" / "busy")
    done = run_script("train_lstm.py", *ARGUMENTS, "--resume", "busy", folder=folder)
    lock.close()
    assert done.returncode == 1
    busy = Path("models", "busy")
    assert done.stderr == f"{busy} is being trained by another process\n"
    shutil.rmtree(folder / "models" / "busy")


@pytest.mark.parametrize(("kilobytes", "first"), [(64, "cache"), (64, "models"), (300, "models")])
def test_a_disk_that_is_really_full(kilobytes, first, folder, disk):
    disk, remount = disk
    remount(f"size={kilobytes}k")
    (disk / "own.csv").symlink_to(folder / "own.csv")
    if first == "models":
        (disk / "cache").symlink_to(folder / "cache")
    done = run_script("train_lstm.py", *ARGUMENTS, "--name", "full", folder=disk)
    assert done.returncode == 1
    (message,) = done.stderr.splitlines()
    assert message.startswith(f"Can't write {first}") and "No space left on device" in message
    run = disk / "models" / "full"
    assert_readable(run)
    remount("size=100m")
    if (run / "checkpoint.npz").exists():
        done = run_script("train_lstm.py", "--resume", folder=disk)
        assert done.returncode == 0, done.stderr
        assert_same(run, folder / "models" / "unbroken")

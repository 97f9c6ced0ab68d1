"""A training that is interrupted, in whatever way, continues as if it had not been."""

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

import keras
import numpy as np
import pytest

import train_lstm
from sentiment.data.imdb import read_package
from sentiment.errors import SentimentError
from sentiment.runs.folder import LOCK, lock_run_folder, unlock_run_folder
from sentiment.runs.recorder import RunRecorder
from tests.conftest import (
    CONSTANTS,
    PROJECT,
    assert_one_line,
    assert_readable,
    run_script,
    start_script,
)
from tests.run_folders import make_state, write_checkpoint
from tests.test_files import write_csv

ARGUMENTS = [*CONSTANTS, "--data=own.csv", "--epochs=3", "--batch-size=16", "--maximum-tokens=20"]
ARGUMENTS += ["--vocabulary-size=500", "--embedding-size=32", "--lstm-units=8"]
PARTS = 12  # equal parts of a training; it is killed in some of them


@pytest.fixture(scope="module")
def timed_folder(tmp_path_factory):
    """A folder with a few reviews and an uninterrupted run on them, and its duration."""
    folder = tmp_path_factory.mktemp("resume")
    texts, labels = read_package()
    write_csv(folder / "own.csv", texts[::50], labels[::50])
    return folder, train_uninterrupted(folder, "uninterrupted")


@pytest.fixture
def folder(timed_folder):
    return timed_folder[0]


def train_uninterrupted(folder, name, *options):
    """Train, and return the seconds that it took."""
    started = time.monotonic()
    finished = run_script("train_lstm.py", *ARGUMENTS, *options, "--name", name, folder=folder)
    assert finished.returncode == 0, finished.stderr
    return time.monotonic() - started


def read_results(run):
    """Return what two runs of the same training have in common."""
    with (run / "history.csv").open(newline="") as file:
        history = [{**row, "seconds": None} for row in csv.DictReader(file)]
    record = json.loads((run / "run.json").read_text())
    record["constants"].pop("NAME")
    names = ("constants", "data", "validation", "test", "restored_epoch", "refit")
    results = {name: record.get(name) for name in names}
    return history, results, keras.saving.load_model(run / "model.keras").get_weights()


def assert_same(run, other):
    """Check that two runs have the same files, history, results and weights."""
    *results, weights = read_results(run)
    *expected, expected_weights = read_results(other)
    assert results == expected
    for weight, expected_weight in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(weight, expected_weight)
    assert not (run / LOCK).exists()
    names = sorted(path.name for path in other.iterdir())
    assert sorted(path.name for path in run.iterdir()) == names


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that start quickly")
@pytest.mark.parametrize(
    ("parts", "options"),
    [
        (range(0, PARTS, 4), []),
        pytest.param(range(2, PARTS, 4), ["--refit"], marks=pytest.mark.extended),
    ],
    ids=["one training", "refit"],
)
def test_a_killed_training_is_resumed_exactly(parts, options, timed_folder):
    def start(*arguments):
        return start_script("train_lstm.py", *arguments, folder=folder)

    folder, duration = timed_folder
    timed = folder / "models" / "uninterrupted"
    if options:
        timed = timed.with_name("refit")
        duration = train_uninterrupted(folder, timed.name, *options)
    generator = random.Random(7)
    for part in parts:
        run = timed.with_name(f"{timed.name}_{part}")
        process = start(*ARGUMENTS, *options, "--name", run.name)
        time.sleep((part + generator.random()) / PARTS * duration)
        process.kill()
        process.join()
        assert_readable(run)
        if not (run / "run.json").exists():
            can_resume = (run / "checkpoint.npz").exists()
            arguments = ["--resume", run.name] if can_resume else ["--name", run.name]
            again = start(*([] if can_resume else [*ARGUMENTS, *options]), *arguments)
            again.join()
            assert again.exitcode == 0
            if not can_resume and run.with_name(f"{run.name}-2").exists():
                run = run.with_name(f"{run.name}-2")
        assert_same(run, timed)


def test_ctrl_c_stops_after_the_step_and_names_the_command_that_resumes(
    train, monkeypatch, tmp_path
):
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # the handler replaces it
    finish_epoch = RunRecorder.on_epoch_end

    def press_ctrl_c(self, epoch, logs=None):
        finish_epoch(self, epoch, logs)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as changed:
        changed.setattr(RunRecorder, "on_epoch_end", press_ctrl_c)
        with pytest.raises(SentimentError) as raised:
            train(train_lstm)
    assert raised.value.status == 130
    assert_one_line(raised.value)
    assert str(raised.value).endswith("python train_lstm.py --resume lstm")
    names = {path.name for path in (tmp_path / "models" / "lstm").iterdir()}
    assert {"model.keras", "history.csv", "history.png", "checkpoint.npz"} <= names


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_is_resumed_exactly(folder):
    """It is pressed in the first epoch, in the second and, twice, in the third."""
    run = folder / "models" / "interrupted"

    def press_in_epoch(epoch, *arguments):
        process = subprocess.Popen(
            [sys.executable, PROJECT / "train_lstm.py", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        awaited = run / ("history.csv" if epoch > 1 else "checkpoint.npz")
        while not awaited.exists() or awaited.read_text("latin-1").count("\n") < epoch:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.stdout.close()  # as that of tee is, which gets the same Ctrl-C
        process.stdout = None
        return process

    def read_errors(process):
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 130
        assert "Traceback" not in errors
        assert (run / LOCK).exists() and not (run / "run.json").exists()
        assert_readable(run)
        return errors

    for epoch, arguments in enumerate(([*ARGUMENTS, "--name=interrupted"], ["--resume"]), 1):
        message = read_errors(press_in_epoch(epoch, *arguments)).splitlines()[-1]
        assert message.startswith("train_lstm.py: ")
        assert message.endswith("python train_lstm.py --resume interrupted")
        assert (run / "history.png").exists() == (epoch > 1)

    process = press_in_epoch(3, "--resume", "interrupted")
    assert "Ctrl-C" in process.stderr.readline() + process.stderr.readline()
    process.send_signal(signal.SIGINT)  # stops at once, in the middle of a step
    (line,) = read_errors(process).strip().splitlines()
    assert line.startswith("train_lstm.py: stopped")

    finished = run_script("train_lstm.py", "--resume", "interrupted", folder=folder)
    assert finished.returncode == 0, finished.stderr
    assert_same(run, folder / "models" / "uninterrupted")


@pytest.mark.slow
def test_a_run_that_another_process_trains_is_not_resumed(folder):
    run = folder / "models" / "busy"
    shutil.copytree(folder / "models" / "uninterrupted", run)
    (run / "run.json").unlink()
    write_checkpoint(run, make_state())
    lock = lock_run_folder(run)
    finished = run_script("train_lstm.py", *ARGUMENTS, "--resume", "busy", folder=folder)
    unlock_run_folder(run, lock)
    assert finished.returncode == 1
    (message,) = finished.stderr.splitlines()
    assert str(Path("models", "busy")) in message and "another process" in message
    shutil.rmtree(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kilobytes", "first"),
    [
        pytest.param(64, "cache", marks=pytest.mark.extended),
        pytest.param(64, "models", marks=pytest.mark.extended),
        (300, "models"),
    ],
)
def test_a_training_on_a_full_disk_is_resumed_exactly(kilobytes, first, folder, disk, monkeypatch):
    disk, remount = disk
    remount(f"size={kilobytes}k")
    (disk / "own.csv").symlink_to(folder / "own.csv")
    if first == "cache":
        monkeypatch.setenv("SENTIMENT_CACHE", "cache")
    finished = run_script("train_lstm.py", *ARGUMENTS, "--name", "full", folder=disk)
    assert finished.returncode == 1
    (message,) = finished.stderr.splitlines()
    assert f" {first}" in message and "No space left on device" in message
    run = disk / "models" / "full"
    assert_readable(run)
    remount("size=100m")
    if (run / "checkpoint.npz").exists():
        finished = run_script("train_lstm.py", "--resume", folder=disk)
        assert finished.returncode == 0, finished.stderr
        assert_same(run, folder / "models" / "uninterrupted")

"""Keras' backends train with the same scripts, and load each other's models."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from sentiment.data.imdb import read_package
from tests.conftest import CONSTANTS, PROGRAMS, PROJECT
from tests.test_files import write_csv
from tests.test_interruption import assert_same

BACKENDS = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
OTHER_BACKENDS = BACKENDS[1:] if BACKENDS[0] == "tensorflow" else BACKENDS
SCRIPTS = ["train_lstm", "train_naive_bayes_lstm"]
ARGUMENTS = [*CONSTANTS, "--data=own.csv", "--epochs=1", "--maximum-tokens=30", "--lstm-units=8"]


@pytest.fixture
def folder(tmp_path):
    """A folder with a few reviews."""
    texts, labels = read_package()
    write_csv(tmp_path / "own.csv", texts[::100], labels[::100])
    return tmp_path


def run_on(backends, *command, folder, variable=None):
    """Run a program as if only these backends were installed; return the finished process.

    Args:
        variable: the value of KERAS_BACKEND; by default it is not set.
    """
    variables = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    if variable:
        variables["KERAS_BACKEND"] = variable
    return subprocess.run(
        [sys.executable, PROGRAMS / "with_backends.py", backends, *command],
        cwd=folder,
        # With more threads, those of PyTorch wait for each other on a machine that is busy.
        env={**variables, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.extended
def test_every_backend_trains_and_loads_the_models_of_the_others(folder):
    names = []
    for backend in BACKENDS:
        for script in SCRIPTS:
            names.append(f"{backend}_{script}")
            command = [PROJECT / f"{script}.py", *ARGUMENTS, f"--name={names[-1]}"]
            done = run_on(backend, *command, folder=folder, variable=backend)
            assert done.returncode == 0, done.stderr
    probabilities = []
    for backend in BACKENDS:
        command = [PROGRAMS / "predict_with_all_runs.py", f"{backend}.npz"]
        done = run_on(backend, *command, folder=folder, variable=backend)
        assert done.returncode == 0, done.stderr
        probabilities.append(np.load(folder / f"{backend}.npz"))
    for name in names:
        one, *others = (predicted[name] for predicted in probabilities)
        assert np.ptp(one) > 1e-3
        for other in others:
            np.testing.assert_allclose(other, one, atol=1e-5)


@pytest.mark.extended
@pytest.mark.parametrize("backend", BACKENDS)
def test_fit_gets_each_review_once_an_epoch(backend, tmp_path):
    program = PROGRAMS / "count_reviews_in_fit.py"
    done = run_on(backend, program, folder=tmp_path, variable=backend)
    assert done.returncode == 0, done.stderr


@pytest.mark.extended
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_a_training_is_resumed_exactly_on_jax_and_pytorch(backend, folder):
    script = PROJECT / "train_lstm.py"
    arguments = [script, *ARGUMENTS, "--epochs=2", "--batch-size=8"]
    arguments += ["--refit", "--no-restore-best-weights"]
    program = PROGRAMS / "die_after_epochs.py"
    for command in (
        [*arguments, "--name=uninterrupted"],
        [program, "1", *arguments, "--name=killed"],
        [script, "--resume"],
        [program, "3", *arguments, "--name=killed_in_refit"],
        [script, "--resume"],
    ):
        done = run_on(backend, *command, folder=folder, variable=backend)
        assert done.returncode == 0, done.stderr
        if command[0] == program:
            run = folder / "models" / command[-1].removeprefix("--name=")
            assert not (run / "run.json").exists()
            epochs = len((run / "history.csv").read_text().splitlines()) - 1
            assert epochs == min(int(command[1]), 2)
    for name in ("killed", "killed_in_refit"):
        assert_same(folder / "models" / name, folder / "models" / "uninterrupted")


@pytest.mark.extended
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_the_installed_backend_is_chosen_without_tensorflow(backend, folder):
    command = [PROJECT / "train_lstm.py", *ARGUMENTS, "--name=chosen"]
    done = run_on(backend, *command, folder=folder)
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "models" / "chosen" / "run.json").read_text())
    assert backend in record["versions"] and record["epochs"] == 1


@pytest.mark.extended
@pytest.mark.skipif(not {"jax", "torch"} <= set(BACKENDS), reason="needs JAX and PyTorch")
def test_jax_is_preferred_to_pytorch(tmp_path):
    done = run_on("jax,torch", PROGRAMS / "print_backend.py", folder=tmp_path)
    assert done.stdout.strip() == "jax", done.stderr


@pytest.mark.parametrize(
    ("script", "variable"),
    [
        ("train_lstm.py", "nowhere"),
        ("predict.py", "nowhere"),
        ("plot_history.py", "jax"),
        ("export.py", "torch"),
    ],
)
def test_a_backend_that_is_missing_is_one_line(script, variable, tmp_path):
    command = [PROJECT / script, "--help"]
    done = run_on("tensorflow", *command, folder=tmp_path, variable=variable)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{script}: ") and variable in line and "KERAS_BACKEND" in line

"""Keras' backends train with the same scripts, and load each other's models."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from sentiment.data.imdb import read_package
from sentiment.runs.checkpoint import read_state
from tests.conftest import CONSTANTS, PROGRAMS, PROJECT
from tests.test_files import write_csv
from tests.test_interruption import assert_same

BACKENDS = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
OTHER_BACKENDS = BACKENDS[1:] if BACKENDS[0] == "tensorflow" else BACKENDS
ARGUMENTS = [*CONSTANTS, "--data=own.csv", "--epochs=1", "--maximum-tokens=30", "--lstm-units=8"]
ARGUMENTS += ["--batch-size=25"]  # JAX compiles a network for each size, and all sets have this one
pytestmark = pytest.mark.usefixtures("quick_jax")


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


def train(backend, script, *options, folder):
    """Train on a backend that is the only one, and chosen without KERAS_BACKEND; return the run."""
    run = folder / "models" / f"{backend}_{script}"
    command = [PROJECT / f"{script}.py", *ARGUMENTS, *options, f"--name={run.name}"]
    done = run_on(backend, *command, folder=folder)
    assert done.returncode == 0, done.stderr
    record = json.loads((run / "run.json").read_text())
    assert backend in record["versions"] and record["epochs"] == 1
    return run


@pytest.mark.extended
def test_every_backend_trains_and_loads_the_models_of_the_others(folder):
    runs = []
    for backend in BACKENDS:
        runs.append(train(backend, "train_lstm", folder=folder))
        runs.append(train(backend, "train_naive_bayes_lstm", "--ngrams=5000", folder=folder))
    probabilities = []
    for backend in BACKENDS:
        command = [PROGRAMS / "predict_with_all_runs.py", f"{backend}.npz"]
        done = run_on(backend, *command, folder=folder, variable=backend)
        assert done.returncode == 0, done.stderr
        probabilities.append(np.load(folder / f"{backend}.npz"))
    for run in runs:
        one, *others = (predicted[run.name] for predicted in probabilities)
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
    """It is killed in the first training, and the resumed one in the refit."""
    script = PROJECT / "train_lstm.py"
    arguments = [script, *ARGUMENTS, "--epochs=2", "--refit", "--no-restore-best-weights"]
    program = PROGRAMS / "die_after_epochs.py"
    run = folder / "models" / "killed"
    for command, epochs in (
        ([*arguments, "--name=uninterrupted"], None),
        ([program, "1", *arguments, "--name=killed"], (1, 0)),
        ([program, "2", script, "--resume"], (2, 1)),
        ([script, "--resume"], None),
    ):
        done = run_on(backend, *command, folder=folder, variable=backend)
        assert done.returncode == 0, done.stderr
        if epochs:
            assert not (run / "run.json").exists()
            state = read_state(run)
            refit = state["refit"]["history"] if state["refit"] else []
            assert (len(state["history"]), len(refit)) == epochs
    assert_same(run, folder / "models" / "uninterrupted")


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

"""Several devices and several processes train one network, with JAX."""

from sentiment import distribution

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from sentiment.data.batches import Batches
from sentiment.data.imdb import read_package
from sentiment.errors import SentimentError
from tests.conftest import CONSTANTS, PROGRAMS, PROJECT, assert_one_line
from tests.test_files import write_csv

ARGUMENTS = [*CONSTANTS, "--data=own.csv", "--epochs=3", "--maximum-tokens=30", "--lstm-units=8"]
HOST_DEVICES = "--xla_force_host_platform_device_count"
pytestmark = pytest.mark.usefixtures("quick_jax")


def needs_jax(test):
    reason = "needs JAX"
    skip = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason=reason)
    return pytest.mark.extended(skip(test))


@pytest.fixture
def start(tmp_path):
    """A function that starts one process of a training; each process has a folder of its own."""
    texts, labels = read_package()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = []

    def run(*arguments, index=None, processes=2, timeout=45, flags="", port=port, program=None):
        folder = tmp_path / str(index or 0)
        folder.mkdir(exist_ok=True)
        write_csv(folder / "own.csv", texts[::83], labels[::83])
        if program is None:
            program = [PROGRAMS / "train_as_one_of_several.py", timeout, PROJECT / "train_lstm.py"]
            arguments = [*(() if "--resume" in arguments else ARGUMENTS), *arguments]
        variables = zip(
            distribution.VARIABLES, (f"localhost:{port}", processes, index), strict=True
        )
        started.append(
            subprocess.Popen(
                [
                    *(sys.executable, PROGRAMS / "with_backends.py", "jax"),
                    *map(str, (*program, *arguments)),
                ],
                cwd=folder,
                env={
                    **os.environ,
                    "KERAS_BACKEND": "jax",
                    "JAX_PLATFORMS": "cpu",
                    "PYTHONPATH": str(PROJECT),
                    "XLA_FLAGS": flags,
                    **({} if index is None else {name: str(value) for name, value in variables}),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def read_history(folder):
    """Return accuracies and losses, a row an epoch."""
    return np.loadtxt(folder / "history.csv", delimiter=",", skiprows=1, ndmin=2)[:, 1:-1]


def read_refit(folder):
    return json.loads((folder / "run.json").read_text())["refit"]


def wait_for(process, seconds=300):
    """Return a process' output, the lines of its errors, and its status when it has ended."""
    output, errors = process.communicate(timeout=seconds)
    return output, errors.strip().splitlines() or [""], process.returncode


@needs_jax
@pytest.mark.slow
def test_several_devices_and_processes_train_like_a_single_one(start, tmp_path):
    models = tmp_path / "0" / "models"
    _, errors, status = wait_for(start("--name", "one", "--refit"))
    assert status == 0, errors
    alone = read_history(models / "one")

    both = [start("--name", "two", "--refit", index=index) for index in (0, 1)]
    (output, errors, status), (silent, other_errors, other_status) = map(wait_for, both)
    assert (status, other_status) == (0, 0), errors + other_errors
    assert "2 devices, CPU: " in output and ", 2 processes)" in output and "Reviews:" not in silent
    assert not (tmp_path / "1" / "models").exists()
    np.testing.assert_allclose(read_history(models / "two"), alone, atol=1e-4)
    assert read_refit(models / "two") == pytest.approx(read_refit(models / "one"), abs=1e-4)
    with (
        np.load(tmp_path / "0" / "weights_0.npz") as first,
        np.load(tmp_path / "1" / "weights_1.npz") as second,
    ):
        for name in first.files:
            np.testing.assert_array_equal(first[name], second[name])

    # The other process is killed in the second epoch, and after a resume the main process.
    for victim, arguments in ((1, ["--name", "killed", "--refit"]), (0, ["--resume", "killed"])):
        pair = [start(*arguments, index=index, flags=f"{HOST_DEVICES}=2") for index in (0, 1)]
        before = len(read_history(models / "killed")) if "--resume" in arguments else 0
        while not (models / "killed" / "history.csv").exists() or (
            len(read_history(models / "killed")) == before
        ):
            assert pair[victim].poll() is None, wait_for(pair[victim])
            time.sleep(0.01)
        pair[victim].send_signal(signal.SIGKILL)
        _, errors, status = wait_for(pair[1 - victim], 60)
        assert status == 1
        assert errors[-1].startswith("train_lstm.py: ") and "--resume" in errors[-1]
    # One process with four devices can resume what two began.
    _, errors, status = wait_for(start("--resume", "killed", flags=f"{HOST_DEVICES}=4"))
    assert status == 0, errors
    np.testing.assert_allclose(read_history(models / "killed"), alone, atol=1e-4)
    assert read_refit(models / "killed") == pytest.approx(read_refit(models / "one"), abs=1e-4)


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_process_that_never_starts_is_waited_for_until_the_timeout(start, index):
    _, errors, status = wait_for(start(index=index, timeout=3), 60)
    (line,) = errors
    assert line.startswith("train_lstm.py: ") and "2 processes" in line and "3 seconds" in line
    assert status == 1


@needs_jax
@pytest.mark.slow
def test_an_error_of_the_main_process_ends_all_of_them(start):
    pair = [start("--resume", "none", index=index) for index in (0, 1)]
    for _, errors, status in map(wait_for, pair):
        (line,) = errors
        assert line.startswith("train_lstm.py: ") and "'none'" in line and status == 1


@needs_jax
@pytest.mark.slow
def test_processes_that_differ_end_with_one_line(start):
    pair = [start("--seed", str(index), index=index) for index in (0, 1)]
    (_, errors, status), (_, other_errors, other_status) = map(wait_for, pair)
    assert "--resume" in errors[-1] and "SEED" in other_errors[-1]
    assert (status, other_status) == (1, 1)


@needs_jax
@pytest.mark.slow
def test_a_port_that_is_in_use_is_one_line(start):
    with socket.socket() as other:
        other.bind(("localhost", 0))
        other.listen()
        port = other.getsockname()[1]
        _, errors, status = wait_for(start(index=0, port=port), 60)
    (line,) = errors
    assert f"{distribution.VARIABLES[0]}=localhost:{port}" in line and status == 1


@needs_jax
@pytest.mark.slow
def test_the_error_is_the_last_line(start):
    process = start(index=0, processes=1, program=[PROGRAMS / "report_late.py"])
    _, errors, status = wait_for(process, 60)
    assert errors[-1].endswith("the last line") and status == 1


@pytest.mark.parametrize(
    ("address", "processes", "index", "problem"),
    [
        ("machine", "2", "0", "not 'machine'"),
        ("machine:1", "two", "0", "not 'two'"),
        ("machine:1", "2", "2", "from 0 to 1, not '2'"),
        ("machine:1", "2", None, "from 0 to 1, not ''"),
    ],
)
def test_variables_that_cannot_be_used_are_one_line(
    address, processes, index, problem, monkeypatch
):
    monkeypatch.setattr(distribution.keras.backend, "backend", lambda: "jax")
    for name, value in zip(distribution.VARIABLES, (address, processes, index), strict=True):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(SentimentError, match=problem) as failure:
        distribution.join_processes(lambda: None)
    assert failure.value.status == 2
    assert_one_line(failure.value)


def test_other_backends_refuse_several_processes(monkeypatch):
    monkeypatch.setattr(distribution.keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setenv(distribution.VARIABLES[2], "1")
    with pytest.raises(SentimentError, match="KERAS_BACKEND=jax") as failure:
        distribution.join_processes(lambda: None)
    assert failure.value.status == 2


@pytest.mark.parametrize("shuffle_seed", [None, 1])
def test_rows_that_occur_twice_count_once(shuffle_seed, monkeypatch):
    sequences = [np.arange(1, 2 + i % 5, dtype=np.int32) for i in range(29)]
    labels = np.arange(29) % 2
    alone = Batches(sequences, labels, 8, shuffle_seed)
    monkeypatch.setattr("sentiment.data.batches.device_count", lambda: 6)
    shared = Batches(sequences, labels, 8, shuffle_seed)
    assert len(shared) == len(alone)
    loss, rows = 0, 0
    for index in range(len(alone)):
        parts = []
        for process in range(3):
            monkeypatch.setattr(
                "sentiment.data.batches.local_rows",
                lambda rows, process=process: slice(rows // 3 * process, rows // 3 * (process + 1)),
            )
            parts.append(shared[index])
        x, y, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        assert {len(part[0]) % 2 for part in parts} == {0}
        np.testing.assert_array_equal(x[weights > 0], alone[index][0])
        np.testing.assert_array_equal(y[weights > 0], alone[index][1])
        losses = x.sum(axis=1)  # any function of a review
        if shuffle_seed:
            mean = alone[index][0].sum(axis=1).mean()
            assert (losses * weights).mean() == pytest.approx(mean)
        loss, rows = loss + (losses * weights).sum(), rows + len(x)
    if not shuffle_seed:
        expected = np.mean([sequence.sum() for sequence in sequences])
        assert loss / rows == pytest.approx(expected)

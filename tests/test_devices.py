"""Several devices and several processes train one network, with JAX."""

import csv
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time

from sentiment import devices
from sentiment.batches import Batches
from sentiment.data import read_package
from tests.conftest import PROJECT
from tests.test_own_data import write_csv

import numpy as np
import pytest

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None or sys.version_info < (3, 11),
    reason="needs JAX of Python 3.11 or newer",
)
ARGUMENTS = ["--data", "own.csv", "--epochs", "3", "--maximum-tokens", "30", "--lstm-units", "8"]
ARGUMENTS += ["--no-word-vectors"]
# Runs a script as if JAX were the only backend that is installed, and keeps its last weights.
CODE = """
import sys
for name in ("tensorflow", "torch"): sys.modules[name] = None
import runpy
import numpy as np
from sentiment import devices, training
devices.START_SECONDS = int(sys.argv.pop(1))
finish = training.Run.finish
def keep(self, test):
    np.savez(f"weights_{devices.number_process()}.npz", *self.model.get_weights())
    finish(self, test)
training.Run.finish = keep
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# Reports something between the last line and the end, as a thread of JAX may.
LATE_REPORT = """
import os
from sentiment import devices
leave = os._exit
def report(code):
    os.write(2, b"report\\n")
    leave(code)
os._exit = report
def main():
    raise SystemExit("the last line")
devices.on_all_devices(main)
"""
HOST_DEVICES = "--xla_force_host_platform_device_count"


@pytest.fixture
def start(tmp_path):
    """A function that starts one process of a training; each process has a folder of its own."""
    texts, labels = read_package()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = []

    def run(
        *arguments, process=None, processes=2, start_seconds=45, flags="", port=port, code=CODE
    ):
        folder = tmp_path / str(process or 0)
        folder.mkdir(exist_ok=True)
        write_csv(folder / "own.csv", texts[::83], labels[::83])
        variables = dict(
            zip(devices.VARIABLES, (f"localhost:{port}", processes, process), strict=True)
        )
        started.append(
            subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    code,
                    str(start_seconds),
                    PROJECT / "train_lstm.py",
                    *ARGUMENTS,
                    *arguments,
                ],
                cwd=folder,
                env={
                    **os.environ,
                    "KERAS_BACKEND": "jax",
                    "JAX_PLATFORMS": "cpu",
                    "PYTHONPATH": str(PROJECT),
                    "XLA_FLAGS": flags,
                    **({} if process is None else {k: str(v) for k, v in variables.items()}),
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
    with (folder / "history.csv").open() as file:
        rows = csv.DictReader(file)
        return [[float(row[key]) for key in rows.fieldnames[1:-1]] for row in rows]


def end(process, seconds=300):
    """Return what a process has said when it ends, and its status."""
    output, errors = process.communicate(timeout=seconds)
    return output, errors.strip().splitlines() or [""], process.returncode


@needs_jax
def test_several_devices_and_processes_train_as_one_does(start, tmp_path):
    models = tmp_path / "0" / "models"
    _, errors, status = end(start("--name", "one"))
    assert status == 0, errors
    alone = read_history(models / "one")

    both = [start("--name", "two", process=process) for process in (0, 1)]
    (said, errors, status), (silent, other_errors, other_status) = map(end, both)
    assert (status, other_status) == (0, 0), errors + other_errors
    assert "2 devices, CPU: " in said and ", 2 processes)" in said and "Reviews:" not in silent
    assert not (tmp_path / "1" / "models").exists()
    np.testing.assert_allclose(read_history(models / "two"), alone, atol=1e-4)
    with (
        np.load(tmp_path / "0" / "weights_0.npz") as first,
        np.load(tmp_path / "1" / "weights_1.npz") as second,
    ):
        for name in first.files:
            np.testing.assert_array_equal(first[name], second[name])

    # A worker dies in the second epoch, and then the first process.
    for victim, arguments in ((1, ["--name", "killed"]), (0, ["--resume", "killed"])):
        pair = [start(*arguments, process=process, flags=f"{HOST_DEVICES}=2") for process in (0, 1)]
        before = len(read_history(models / "killed")) if "--resume" in arguments else 0
        while not (models / "killed" / "history.csv").exists() or (
            len(read_history(models / "killed")) == before
        ):
            assert pair[victim].poll() is None, end(pair[victim])
            time.sleep(0.01)
        pair[victim].send_signal(signal.SIGKILL)
        _, errors, status = end(pair[1 - victim], 60)
        assert (errors[-1], status) == (devices.LOST, 1)
    # One process, with four devices, can go on with what two began.
    _, errors, status = end(start("--resume", "killed", flags=f"{HOST_DEVICES}=4"))
    assert status == 0, errors
    np.testing.assert_allclose(read_history(models / "killed"), alone, atol=1e-4)


@needs_jax
@pytest.mark.parametrize("process", [0, 1])
def test_a_process_that_never_comes_is_waited_for_a_while(start, process):
    _, errors, status = end(start(process=process, start_seconds=3), 60)
    (said,) = errors
    assert said.startswith("Not all 2 processes came within 3 seconds.") and status == 1


@needs_jax
def test_a_port_that_is_taken_is_said_in_one_line(start):
    with socket.socket() as other:
        other.bind(("localhost", 0))
        other.listen()
        port = other.getsockname()[1]
        _, errors, status = end(start(process=0, port=port), 60)
    (said,) = errors
    assert said.startswith(f"The port of {devices.VARIABLES[0]}=localhost:{port} can't be used: ")
    assert status == 1


@needs_jax
def test_nothing_is_said_after_the_last_line(start):
    _, errors, status = end(start(process=0, processes=1, code=LATE_REPORT), 60)
    assert (errors[-1], status) == ("the last line", 1)


@pytest.mark.parametrize(
    ("address", "processes", "process", "problem"),
    [
        ("machine", "2", "0", "must be the first process' host:port, not 'machine'"),
        ("machine:1", "two", "0", "must be the number of processes, not 'two'"),
        ("machine:1", "2", "2", "must be from 0 to 1, not '2'"),
        ("machine:1", "2", None, "must be from 0 to 1, not ''"),
    ],
)
def test_variables_that_cannot_be_used_are_one_line(
    address, processes, process, problem, monkeypatch, capsys
):
    monkeypatch.setattr(devices.keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(sys, "version_info", (3, 11))
    for name, value in zip(devices.VARIABLES, (address, processes, process), strict=True):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        devices.on_all_devices(lambda: None)
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.count("\n") == 1 and problem in said


def test_other_backends_refuse_several_processes(monkeypatch, capsys):
    monkeypatch.setattr(devices.keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setenv(devices.VARIABLES[2], "1")
    with pytest.raises(SystemExit) as stopped:
        devices.on_all_devices(lambda: None)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(": several processes need KERAS_BACKEND=jax\n")


@pytest.mark.parametrize("shuffle_seed", [None, 1])
def test_rows_that_stand_twice_count_once(shuffle_seed, monkeypatch):
    sequences = [np.arange(1, 2 + i % 5, dtype=np.int32) for i in range(29)]
    labels = np.arange(29) % 2
    alone = Batches(sequences, labels, 8, shuffle_seed)
    monkeypatch.setattr("sentiment.batches.count_devices", lambda: 6)
    shared = Batches(sequences, labels, 8, shuffle_seed)
    assert len(shared) == len(alone)
    loss, rows = 0, 0
    for index in range(len(alone)):
        parts = []
        for process in range(3):
            monkeypatch.setattr(
                "sentiment.batches.find_own_rows",
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

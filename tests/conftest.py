"""The real reviews, and small trainings on a few of them."""

import dataclasses
import json
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from sentiment import reviews, runs
from sentiment.data import load_data

import keras
import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[1]
# The faster LSTM and the exports are TensorFlow's.
collect_ignore = (
    [] if keras.backend.backend() == "tensorflow" else ["test_lstm.py", "test_export.py"]
)


# The files with the longest tests come first, so that at the end all processes have work.
LONGEST = ("test_broken_off", "test_predict", "test_training", "test_export", "test_backends")


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """The folder of encoded reviews, in place of the one in the project."""
    reviews.CACHE = tmp_path_factory.mktemp("cache")
    return reviews.CACHE


@pytest.fixture(scope="session")
def data():
    """The reviews as the scripts load them by default."""
    return load_data("imdb-package", 10_000, 500)


@pytest.fixture(scope="session")
def whole_data():
    """The same reviews, uncut and with all words known."""
    return load_data("imdb-package", 1_000_000, 1_000_000)


@pytest.fixture
def small_data(data):
    """A few short reviews of each part."""

    def take(part):
        x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        chosen = [*np.flatnonzero(y == 0)[:48], *np.flatnonzero(y == 1)[:48]]
        return {f"x_{part}": [x[i][-20:] for i in chosen], f"y_{part}": y[chosen]}

    return dataclasses.replace(data, **take("train"), **take("validation"), **take("test"))


@pytest.fixture
def train(small_data, monkeypatch, tmp_path):
    """A function that runs a script's main() on the small data, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    # Runs that were broken off in this process would go on being locked.
    monkeypatch.setattr(runs, "lock_folder", lambda _: None)

    def run_main(script, *arguments):
        monkeypatch.setattr(script, "load_data", lambda *_: small_data)
        few = ["--epochs", "2", "--no-word-vectors"]  # these take a second
        monkeypatch.setattr(sys, "argv", [script.__file__, *few, *arguments])
        constants = {name: value for name, value in vars(script).items() if name.isupper()}
        handler = signal.getsignal(signal.SIGINT)
        try:
            script.main()
        finally:
            signal.signal(signal.SIGINT, handler)  # one that ends early has no need to do so
            vars(script).update(constants)
        return tmp_path / "models"

    return run_main


@pytest.fixture
def disk(tmp_path):
    """A disk of 100 MB, and a function that mounts it with other options."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100m", "none", path]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")

    def remount(options):
        subprocess.run(["mount", "-o", f"remount,{options}", path], check=True)

    yield path, remount
    subprocess.run(["umount", "--lazy", path], check=True)


def assert_readable(run):
    """Check that each file in a run folder is whole."""
    for path in run.iterdir() if run.exists() else ():
        if path.name.startswith(".unfinished-"):
            continue
        if path.suffix == ".keras":
            keras.saving.load_model(path)
        elif path.suffix == ".npz":
            with np.load(path) as file:
                assert all(file[name] is not None for name in file.files)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".csv":
            runs.read_run(path)
        else:
            assert path.read_bytes()


def start_script(script, *arguments, folder, stdout=os.devnull, stderr=os.devnull):
    """Start a script as a user would, in a process of its own, and return that.

    Where processes can be forked, its parent has imported Keras already, which takes seconds.
    """
    context = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
    context.set_forkserver_preload(["tests.conftest"])
    given = (PROJECT / script, arguments, folder, stdout, stderr)
    process = context.Process(target=_run_as_main, args=given)
    process.start()
    return process


def run_script(script, *arguments, folder):
    """Run a script likewise; return its status, stdout and stderr."""
    with tempfile.TemporaryDirectory() as output:
        paths = [Path(output, name) for name in ("stdout", "stderr")]
        process = start_script(script, *arguments, folder=folder, stdout=paths[0], stderr=paths[1])
        process.join(timeout=600)
        return subprocess.CompletedProcess(
            arguments, process.exitcode, *(path.read_text() for path in paths)
        )


def _run_as_main(script, arguments, folder, *outputs):
    os.chdir(folder)
    for number, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = [str(script), *map(str, arguments)]
    runpy.run_path(str(script), run_name="__main__")

"""The real reviews, small trainings on a few of them, and scripts in processes of their own."""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow
from sentiment import evaluation

import dataclasses
import functools
import gc
import importlib.util
import json
import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest

import train_lstm
from sentiment.data import load_data
from sentiment.data.sequences import concatenate
from sentiment.runs.record import read_record
from sentiment.runs.recorder import RunRecorder

PROJECT = Path(__file__).resolve().parents[1]
PROGRAMS = PROJECT / "tests" / "programs"
# Relative to the current directory, so that each test has runs of its own.
os.environ["SENTIMENT_MODELS"] = "models"
# The fused LSTM and the exports need TensorFlow.
collect_ignore = (
    [] if keras.backend.backend() == "tensorflow" else ["test_lstm.py", "test_export.py"]
)
# The files with the longest tests come first, so that all processes are busy until the end.
LONGEST = (
    "test_tune",
    "test_distribution",
    "test_backends",
    "test_export",
    "test_lstm",
    "test_streams",
    "test_interruption",
    "test_edited_scripts",
    "test_script",
    "test_page_in_browser",
    "test_page",
    "test_tutorial",
    "test_predict",
    "test_training",
)
# What the tests rely on, whatever constants a script has at the moment.
CONSTANTS = [
    "--data=imdb-package",
    "--sentence-weight=0",
    "--vocabulary-size=10000",
    "--maximum-tokens=500",
    "--padding=post",
    "--batch-size=64",
    "--word-vectors=none",
    "--seed=1",
    "--learning-rate=0.002",
    "--precision=float32",
    "--epochs=2",
    "--restore-best-weights",
    "--no-refit",
]


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def pytest_collection_finish():
    # Each training ends with a search for garbage; what was imported is none, and is left out.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A folder in place of ``cache/`` in the project, the same for all processes of the tests."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "cache"
    os.environ["SENTIMENT_CACHE"] = str(folder)
    return folder


@functools.cache
def load_package(*sizes, **options):
    return load_data("imdb-package", *sizes, **options)


@pytest.fixture(scope="session")
def data():
    """The reviews of the package, with 10,000 word ids and 500 tokens."""
    return load_package(10_000, 500)


HASHES: dict = {}


@pytest.fixture
def loaded_package(monkeypatch):
    """Have evaluations load the package's reviews only once, and hash them once for each run."""
    compute_hashes = evaluation._hash

    def load(source, *sizes, **options):
        if source == "imdb-package":
            return load_package(*sizes, **options)
        return load_data(source, *sizes, **options)

    def compute_once(predictor, source, x):
        if source != "imdb-package":
            return compute_hashes(predictor, source, x)
        key = tuple(predictor.word_ids), predictor.maximum_tokens, x.maximum_tokens
        key += x.positions.tobytes(), None if x.id_of_token is None else x.id_of_token.tobytes()
        if key not in HASHES:
            HASHES[key] = compute_hashes(predictor, source, x)
        return HASHES[key]

    monkeypatch.setattr("sentiment.evaluation.load_data", load)
    monkeypatch.setattr("sentiment.evaluation._hash", compute_once)


@pytest.fixture(scope="session")
def whole_data():
    """The same reviews, not truncated and with all words."""
    return load_data("imdb-package", 1_000_000, 1_000_000)


@pytest.fixture
def small_data(data):
    """A few short reviews of each set."""

    def take(name):
        x, y = getattr(data, f"x_{name}"), getattr(data, f"y_{name}")
        chosen = [*np.flatnonzero(y == 0)[:48], *np.flatnonzero(y == 1)[:48]]
        return {f"x_{name}": concatenate([x[i][-20:] for i in chosen]), f"y_{name}": y[chosen]}

    return dataclasses.replace(data, **take("train"), **take("validation"), **take("test"))


def run_untraced(monkeypatch):
    """Have TensorFlow run all networks without tracing them."""
    if keras.backend.backend() == "tensorflow":
        (trainer,) = (base for base in keras.Model.__mro__ if "run_eagerly" in vars(base))
        always = property(lambda model: True, lambda model, value: None)
        monkeypatch.setattr(trainer, "run_eagerly", always)


@pytest.fixture
def traced():
    """Have `train` trace the networks, as a training does outside the tests."""


@pytest.fixture
def train(small_data, monkeypatch, tmp_path, request):
    """A function that runs a script's main() on the small data, in an empty folder.

    The run is called ``lstm``, ``cnn_lstm`` or ``naive_bayes_lstm``, as the script is. TensorFlow
    runs the networks without tracing them, which would take most of the time of so small a
    training, unless the test uses the fixture `traced`.
    """
    monkeypatch.chdir(tmp_path)
    if "traced" not in request.fixturenames:
        run_untraced(monkeypatch)

    def run_main(script, *arguments):
        name = Path(script.__file__).stem.removeprefix("train_")
        monkeypatch.setattr(script, "load_data", lambda *_: dataclasses.replace(small_data))
        if "--resume" not in arguments and "--like" not in arguments:
            arguments = [*CONSTANTS, f"--name={name}", *arguments]
        script.main(list(arguments))
        return tmp_path / "models"

    run_main.data = small_data
    return run_main


def average_words(monkeypatch):
    """Have train_lstm.py train a network without an LSTM."""

    def build_model():
        size = train_lstm.VOCABULARY_SIZE, train_lstm.EMBEDDING_SIZE
        return keras.Sequential(
            [
                keras.Input((None,), dtype="int32"),
                keras.layers.Embedding(*size, mask_zero=train_lstm.PADDING == "post"),
                keras.layers.Dropout(0.2),
                keras.layers.GlobalAveragePooling1D(),
                keras.layers.Dense(1, activation="sigmoid"),
            ]
        )

    monkeypatch.setattr(train_lstm, "build_model", build_model)


@pytest.fixture
def averages(monkeypatch):
    """Have train_lstm.py train a network without an LSTM, for tests of all the rest."""
    average_words(monkeypatch)


@pytest.fixture
def train_one_epoch(train, monkeypatch):
    """A function that calls `train`, but fails when the second epoch begins."""

    def run_one_epoch(script, *arguments):
        def fail(self, epoch, logs=None):
            if epoch == 1:
                raise ZeroDivisionError
            begin(self, epoch, logs)

        begin = RunRecorder.on_epoch_begin
        with monkeypatch.context() as changed, pytest.raises(ZeroDivisionError):
            changed.setattr(RunRecorder, "on_epoch_begin", fail)
            train(script, *arguments)

    return run_one_epoch


@pytest.fixture(scope="module")
def quick_jax(tmp_path_factory):
    """Have JAX compile a network only once for all processes, and quickly."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        changed.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("jax")))
        changed.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        changed.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
        yield


def quick_backend():
    """Environment variables for a program that has no network: JAX is imported sooner."""
    if "KERAS_BACKEND" in os.environ or not importlib.util.find_spec("jax"):
        return {}
    return {"KERAS_BACKEND": "jax"}


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


def list_files(folder):
    """Return the names of the files in a run folder, without its lock."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def assert_readable(run):
    """Check that each file in a run folder is complete."""
    for path in run.iterdir() if run.exists() else ():
        if path.name.startswith((".unfinished-", ".lock")):
            continue
        if path.suffix == ".keras":
            keras.saving.load_model(path)
        elif path.suffix == ".npz":
            with np.load(path) as file:
                assert all(file[name] is not None for name in file.files)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".csv":
            read_record(path)
        else:
            assert path.read_bytes()


def assert_one_line(error):
    """Check that an error has one printable line."""
    assert str(error) and str(error).isprintable(), error


def start_script(script, *arguments, folder, stdout=os.devnull, stderr=os.devnull):
    """Start a script as a user would, in a process of its own, and return the process.

    Where processes can be forked, its parent has imported Keras already, which takes seconds.
    """
    context = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
    context.set_forkserver_preload(["tests.conftest"])
    given = (PROJECT / script, arguments, folder, os.environ["SENTIMENT_CACHE"], stdout, stderr)
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


def _run_as_main(script, arguments, folder, cache, *outputs):
    os.chdir(folder)
    os.environ["SENTIMENT_CACHE"] = cache
    for number, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = [str(script), *map(str, arguments)]
    runpy.run_path(str(script), run_name="__main__")

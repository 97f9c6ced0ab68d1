"""Keras' backends train with the same scripts, and read each other's networks."""

import importlib.util
import os
import subprocess
import sys

from sentiment.data import read_package
from tests.conftest import PROJECT
from tests.test_broken_off import assert_same
from tests.test_own_data import write_csv

import numpy as np
import pytest

BACKENDS = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
SCRIPTS = ["train_lstm.py", "train_naive_bayes_lstm.py"]
ARGUMENTS = ["--data", "own.csv", "--epochs", "1", "--maximum-tokens", "30", "--lstm-units", "8"]
ARGUMENTS += ["--no-word-vectors"]  # these take seconds
TRAIN = """
import runpy, sys
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# The same, as if the process were killed after its first epoch.
BREAK_OFF = f"""
import os
from sentiment.training import Run
end = Run.on_epoch_end
Run.on_epoch_end = lambda *arguments: (end(*arguments), os._exit(0))
{TRAIN}"""
PREDICT = """
from sentiment.data import read_package
from sentiment.runs import MODELS, find_runs, load_run
import numpy as np
texts = read_package()[0][:200]
runs = {folder.name: load_run(folder.name) for folder in find_runs(MODELS)}
np.savez(f"{sys.argv[1]}.npz", **{
    name: run.predict([run.encode(text) for text in texts]) for name, run in runs.items()
})
"""
READ = """
from sentiment.batches import Batches
import keras
import numpy as np
reviews = [np.full(1 + number % 3, number, np.int32) for number in range(1, 61)]
model = keras.Sequential(
    [
        keras.Input((None,), dtype="int32"),
        keras.layers.Embedding(61, 1, "zeros", mask_zero=True),
        keras.layers.GlobalAveragePooling1D(),
    ]
)
# Each time that a review is read, the number of its id grows by one.
model.compile(keras.optimizers.SGD(1.0), loss=lambda labels, read: -read)
batches = Batches(reviews, np.zeros(60), 1, shuffle_seed=1)
for epochs in (1, 2, 3):
    model.fit(batches, initial_epoch=epochs - 1, epochs=epochs, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0][1:], epochs, atol=1e-5)
model.fit(batches, epochs=3, shuffle=False, verbose=0)
np.testing.assert_allclose(model.get_weights()[0][1:], 6, atol=1e-5)
"""


def run_on(backend, code, *arguments, folder):
    """Run code as if this backend were the only one that is installed."""
    hide = f"for name in {set(BACKENDS) - {backend}}: sys.modules[name] = None"
    subprocess.run(
        [sys.executable, "-c", f"import sys\n{hide}\n{code}", *arguments],
        cwd=folder,
        # Without a limit PyTorch's threads wait for one another where others compute as well.
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(PROJECT),
        },
        check=True,
        timeout=600,
    )


def test_every_backend_trains_and_reads_every_backends_networks(tmp_path):
    texts, labels = read_package()
    write_csv(tmp_path / "own.csv", texts[::100], labels[::100])
    names = []
    for backend in BACKENDS:
        for script in SCRIPTS:
            names.append(f"{backend}_{script.removesuffix('.py')}")
            script = str(PROJECT / script)
            run_on(backend, TRAIN, script, *ARGUMENTS, "--name", names[-1], folder=tmp_path)
    probabilities = []
    for backend in BACKENDS:
        run_on(backend, PREDICT, backend, folder=tmp_path)
        probabilities.append(np.load(tmp_path / f"{backend}.npz"))
    for name in names:
        one, *others = (found[name] for found in probabilities)
        assert np.ptp(one) > 1e-3
        for other in others:
            np.testing.assert_allclose(other, one, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_fit_reads_each_review_once_an_epoch(backend, tmp_path):
    run_on(backend, READ, folder=tmp_path)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "tensorflow"])
def test_others_than_tensorflow_go_on_exactly_too(backend, tmp_path):
    texts, labels = read_package()
    write_csv(tmp_path / "own.csv", texts[::100], labels[::100])
    script = str(PROJECT / "train_lstm.py")
    two = [script, *ARGUMENTS, "--epochs", "2", "--batch-size", "8"]
    run_on(backend, TRAIN, *two, "--name", "unbroken", folder=tmp_path)
    run_on(backend, BREAK_OFF, *two, "--name", "broken", folder=tmp_path)
    runs = [tmp_path / "models" / name for name in ("unbroken", "broken")]
    assert [len((run / "history.csv").read_text().splitlines()) for run in runs] == [3, 2]
    run_on(backend, TRAIN, script, "--resume", folder=tmp_path)
    assert_same(*reversed(runs))


@pytest.mark.parametrize("script", ["train_lstm.py", "predict.py", "plot_history.py"])
def test_a_backend_that_is_not_there_is_said_in_one_line(script):
    done = subprocess.run(
        [sys.executable, PROJECT / script, "--help"],
        env={**os.environ, "KERAS_BACKEND": "nowhere"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Keras can't be used: ") and "nowhere" in line

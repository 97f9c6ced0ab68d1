"""What the training scripts share. A review goes data → model → run folder → plots, predictions.

    data/            text or word ids → training, validation and test set, in padded batches
    layers/          LSTM (one file per backend), n-grams, masked convolution, initializers
    runs/            the run folder: its record, the callback that writes it, checkpoints, warnings
    inference.py     a trained run: load it, encode text as it was trained, predict
    evaluation.py    labeled reviews for a trained run, and its mistakes
    metrics.py       how well a run classifies them
    tuning/          the search of tune.py over a script's constants
    page/            what page.py shows
    plots/           all that is drawn with Matplotlib
    script.py        what surrounds a script's main(): arguments, seeds, processes
    constants.py     a script's constants as command-line options; recipes.py reads recipes
    settings.py      what a training is started with
    cli.py           one-line errors and exit status; errors.py is the package's exception
    console.py       what reaches the terminal
    paths.py         where models/ and cache/ are
    schedules.py     learning rate schedules
    distribution.py  several devices and processes

Importing it sets what must be set before Keras is imported: the backend where TensorFlow is not
installed, TensorFlow's log level, and the standard streams.
"""

import importlib.util
import os
import signal
import sys
import warnings
from pathlib import Path

from sentiment.console import error_line, prepare_streams, quiet_libraries, stop_at_once
from sentiment.paths import PROJECT


def _stop_on_ctrl_c():
    """Have Ctrl-C end a script with one line while it imports its libraries, as it does later.

    A notebook or another program keeps its own handler.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    is_ours = script is not None and Path(script).resolve().parent == PROJECT
    is_session = sys.flags.interactive or "IPython" in sys.modules  # such as %run of a script
    if is_ours and not is_session and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop_at_once)


def _choose_backend():
    """Choose a backend that is installed, unless the user has chosen one."""
    if "KERAS_BACKEND" in os.environ or importlib.util.find_spec("tensorflow"):
        return
    for backend in ("jax", "torch"):
        if importlib.util.find_spec(backend):
            os.environ["KERAS_BACKEND"] = backend
            return


# TensorFlow reports missing GPU libraries on every machine without a GPU. The scripts themselves
# say which device they use.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_choose_backend()
prepare_streams()
_stop_on_ctrl_c()
# The scripts check themselves whether a network reads the padding.
warnings.filterwarnings("ignore", message=".*does not support masking", category=UserWarning)
# Keras imports scikit-learn if it is installed, which takes more than a second; nothing here uses
# what Keras makes of it.
_hides_sklearn = "sklearn" not in sys.modules
if _hides_sklearn:
    sys.modules["sklearn"] = None  # type: ignore[assignment]
try:
    with quiet_libraries():
        import keras  # noqa: F401
except (ImportError, ValueError) as error:
    remedy = "activate the environment in .venv, or install requirements.txt"
    if importlib.util.find_spec("keras"):
        remedy = (
            "set KERAS_BACKEND to tensorflow, jax or torch, and install requirements.txt, "
            "requirements/jax.txt or requirements/torch.txt"
        )
    sys.exit(error_line(f"Keras can't be imported: {error}; {remedy}"))
finally:
    if _hides_sklearn:
        del sys.modules["sklearn"]

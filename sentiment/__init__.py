"""What the training scripts share: a review travels data → batches → model → run folder → plot."""

import contextlib
import os

# TensorFlow reports missing GPU libraries on every machine without a GPU; the scripts say
# themselves which device they use.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def quiet_imports():
    """Keep from the terminal what TensorFlow 2.21 reports before it reads how much to report."""
    try:
        stderr = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3":
        os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


try:
    with quiet_imports():
        import keras  # noqa: F401
except (ImportError, ValueError) as error:
    raise SystemExit(
        f"Keras can't be used: {error}. KERAS_BACKEND may be tensorflow, jax or torch, and needs "
        "what requirements.txt, requirements-jax.txt or requirements-torch.txt names"
    ) from None

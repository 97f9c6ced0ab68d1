"""What the training scripts share: a review travels data → batches → model → run folder → plot."""

import contextlib
import os


@contextlib.contextmanager
def _without_stderr():
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


# TensorFlow reports missing GPU libraries on every machine without a GPU; the scripts say
# themselves which device they use. Version 2.21 reports some before it reads how much to report.
is_quiet = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "3"
try:
    with _without_stderr() if is_quiet else contextlib.nullcontext():
        import keras  # noqa: F401
except (ImportError, ValueError) as error:
    raise SystemExit(
        f"Keras can't be used: {error}. KERAS_BACKEND may be tensorflow, jax or torch, and needs "
        "what requirements.txt, requirements-jax.txt or requirements-torch.txt names"
    ) from None

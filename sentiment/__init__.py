"""What the training scripts share: a review travels data → batches → model → run folder → plot."""

import os

from sentiment.terminal import open_closed_streams, quiet_libraries

# TensorFlow reports missing GPU libraries on every machine without a GPU; the scripts say
# themselves which device they use.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

open_closed_streams()
try:
    with quiet_libraries():
        import keras  # noqa: F401
except (ImportError, ValueError) as error:
    raise SystemExit(
        f"Keras can't be used: {error}. KERAS_BACKEND may be tensorflow, jax or torch, and needs "
        "what requirements.txt, requirements-jax.txt or requirements-torch.txt names"
    ) from None

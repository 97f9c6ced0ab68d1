"""What the training scripts share: a review travels data → batches → model → run folder → plot."""

import os

# TensorFlow reports missing GPU libraries as errors on every machine without a GPU; the scripts
# say themselves which device they use.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

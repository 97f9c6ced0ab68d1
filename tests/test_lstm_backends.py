"""The LSTM on JAX, on one device and on several, and on PyTorch.

On JAX, what cuDNN is given and what is made of its results is tested with JAX's own reference for
it. That it can be called at all needs a GPU.
"""

import os
import subprocess
import sys

import pytest

from tests.conftest import PROGRAMS, PROJECT

pytestmark = pytest.mark.extended


def run_on(backend, program):
    """Run a program of tests/programs; JAX then has four devices."""
    pytest.importorskip(backend)
    subprocess.run(
        [sys.executable, PROGRAMS / "with_backends.py", backend, PROGRAMS / program],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "KERAS_BACKEND": backend,
            "KERAS_TORCH_DEVICE": "cpu",
            "PYTHONPATH": str(PROJECT),
            "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        },
        check=True,
    )


def test_masked_reviews_have_the_results_and_gradients_of_the_stock_layer():
    run_on("jax", "compare_lstms_on_jax.py")


def test_shapes_that_do_not_fit_are_broadcast_or_refused_as_in_the_stock_layer():
    run_on("jax", "compare_lstm_shapes_on_jax.py")


def test_pytorch_has_the_results_and_gradients_of_the_stock_layer():
    run_on("torch", "compare_lstms_on_torch.py")

"""The LSTM on JAX, on one device and on several.

What cuDNN is given and what is made of its results is tested with JAX's own reference for it. That
it can be called at all needs a GPU.
"""

import os
import subprocess
import sys

import pytest

from tests.conftest import PROGRAMS, PROJECT

pytestmark = pytest.mark.extended


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_masked_reviews_have_the_results_and_gradients_of_the_stock_layer(kind, devices):
    pytest.importorskip("jax")
    programs = [PROGRAMS / "with_backends.py", "jax", PROGRAMS / "compare_lstms_on_jax.py"]
    subprocess.run(
        [sys.executable, *programs, kind],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "KERAS_BACKEND": "jax",
            "PYTHONPATH": str(PROJECT),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        },
        check=True,
    )

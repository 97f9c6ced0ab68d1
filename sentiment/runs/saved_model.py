"""A saved network, loaded so that the file can't run code, read other files or fill the memory."""

import contextlib
import io
import json
import tempfile
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.saving.serialization_lib import ObjectSharingScope

from sentiment.layers import NgramClassifiers
from sentiment.runs.allowed_layers import AllowedLayers

CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # in the file, which is a ZIP archive
MAXIMUM_CONFIG = 10_000_000  # bytes
UNSAVED_TABLE = 20_000_002  # weights, 80 MB: of n-gram tables, whose empty slots aren't saved


def load_model(path: Path, layers: Iterable[type] = ()) -> keras.Model:
    """Load a network of Keras' and this project's layers.

    Args:
        path: the ``model.keras``.
        layers: further layer classes that are allowed in it.

    Raises:
        ValueError: with the reason, if it contains anything else, if it is damaged, or if its
            weights are NaN.
    """
    if not path.is_file():  # to open a pipe might block
        raise ValueError(f"there is no file {path.name}")
    layers = list(layers)
    # A layer of a user's own may create a variable from an array, which Keras can't postpone.
    scope = contextlib.nullcontext() if layers else keras.StatelessScope(initialize_variables=False)
    with _name_damage(path), tempfile.TemporaryDirectory() as folder:
        config, weights = _read(path)
        allowed = AllowedLayers(layers)
        model = _build(allowed.check(config), allowed.own, scope, _count_saved(weights))
        weights_path = Path(folder, WEIGHTS)
        weights_path.write_bytes(weights)
        with warnings.catch_warnings(record=True, action="always") as caught:
            model.load_weights(weights_path)
        # Keras only warns of some missing weights. Other threads may warn of other things.
        for warning in caught:
            if Path(keras.__file__).parent in Path(warning.filename).parents:
                raise ValueError(str(warning.message))
        if not all(np.isfinite(array).all() for array in model.get_weights()):
            raise ValueError("it has weights that are NaN or infinite")
    return model


@contextlib.contextmanager
def _name_damage(path: Path):
    """Turn whatever a damaged file raises into a ValueError with the reason."""
    try:
        yield
    except Exception as error:
        # Keras repeats the whole config before and after what is wrong.
        reason = " ".join(str(error).split()).rpartition("Exception encountered: ")[2]
        reason = reason.partition(" Full object config: ")[0] or type(error).__name__
        if isinstance(error, OSError) and error.strerror:  # no space for the temporary file
            reason = error.strerror
        elif not isinstance(error, ValueError):
            reason = f"it is damaged ({type(error).__name__}: {reason[:300]})"
        raise ValueError(f"{path.name} can't be used: {reason[:330]}") from None


def _read(path: Path) -> tuple[Any, bytes]:
    """Return the config and the weights, an HDF5 file. `read` verifies their checksums."""
    with zipfile.ZipFile(path) as archive:
        members = [archive.getinfo(name) for name in (CONFIG, WEIGHTS)]
        # What is not compressed takes no more memory than the file takes space.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError(
                "it is compressed; save it again with model.save, which doesn't compress it"
            )
        if members[0].file_size > MAXIMUM_CONFIG:
            raise ValueError(f"its {CONFIG} has more than {MAXIMUM_CONFIG:,} bytes")
        return json.loads(archive.read(CONFIG)), archive.read(WEIGHTS)


def _count_saved(weights: bytes) -> int:
    """Return the number of weights in an HDF5 file.

    Raises:
        ValueError: if its arrays would take more memory than the file has bytes.
    """
    arrays: list[h5py.Dataset] = []
    with h5py.File(io.BytesIO(weights)) as file:
        file.visititems(
            lambda _, item: arrays.append(item) if isinstance(item, h5py.Dataset) else None
        )
        # Many elements or attributes of variable length can refer to the same large content.
        if any(
            array.dtype.hasobject or any(array.attrs.get_id(name).shape for name in array.attrs)
            for array in arrays
        ):
            raise ValueError("its weights are not numbers")
        if sum(array.nbytes for array in arrays) > len(weights):
            raise ValueError("its weights are compressed or damaged; save the network again")
        return sum(array.size for array in arrays)


def _build(config: Any, own: dict[str, type], scope, saved: int) -> keras.Model:
    """Build a network from a checked config.

    In a `keras.StatelessScope`, Keras only remembers which variables are to be created, so a
    network that is too large takes no memory.
    """
    try:
        with scope, ObjectSharingScope():
            model = keras.saving.deserialize_keras_object(config, custom_objects=own)
        if not isinstance(model, keras.Model):
            raise ValueError("it is not a network")
        tables = sum(
            layer.count_params()
            for layer in model._flatten_layers()
            if isinstance(layer, NgramClassifiers)
        )
        if model.count_params() > saved + min(tables, UNSAVED_TABLE):
            raise ValueError(
                f"its layers have {model.count_params():,} weights, but it contains only {saved:,}"
            )
    except BaseException:
        global_state.set_global_attribute("uninitialized_variables", [])
        raise
    with keras.StatelessScope():
        pass  # it creates the variables when it ends
    return model

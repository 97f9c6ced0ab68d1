"""A saved network, loaded so that the file can't run code, read files or take all memory.

`keras.saving.load_model` lets a file name any function of Keras, some of which write files.
"""

import contextlib
import importlib.util
import io
import json
import sys
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

import sentiment.layers
from sentiment.console import format_message
from sentiment.errors import SentimentError
from sentiment.runs.folder import exists

LAYERS_HELP = "a Python file with layer classes of your own, which is run"
CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # in the file, which is a ZIP archive
MAXIMUM_CONFIG = 10_000_000  # bytes
MAXIMUM_DEPTH = 200  # of nested lists and dictionaries
COMPRESSION = 10  # weights can hardly be compressed

# Packages of Keras' layers. Those for images, text and other libraries are left out.
LAYER_PACKAGES = {
    f"keras.src.layers.{name}"
    for name in (
        *("activations", "attention", "convolutional", "core", "merging", "normalization"),
        *("pooling", "regularization", "reshaping", "rnn"),
    )
}
OPERATION_MODULES = [f"keras.src.ops.{name}" for name in ("core", "linalg", "math", "nn", "numpy")]
# These take functions.
LEFT_OUT = {
    *("Lambda", "Map", "Scan", "AssociativeScan", "Switch", "WhileLoop", "ForiLoop", "Cond"),
    *("VectorizedMap", "JVP"),
}
VALUES = ("__keras_tensor__", "__slice__", "__ellipsis__", "__bytes__", "__tensor__", "__numpy__")
ACTIVATIONS = set(dir(keras.activations)) - {"deserialize", "get", "serialize"}


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
    with _name_damage(path), zipfile.ZipFile(path) as archive:
        if archive.getinfo(CONFIG).file_size > MAXIMUM_CONFIG:
            raise ValueError(f"its {CONFIG} has more than {MAXIMUM_CONFIG:,} bytes")
        if archive.getinfo(WEIGHTS).file_size > COMPRESSION * path.stat().st_size:
            raise ValueError("its weights would take too much memory")
        # `read` verifies their checksums.
        config, weights = json.loads(archive.read(CONFIG)), archive.read(WEIGHTS)
    layers = list(layers)
    allowed = _Allowed(path.name, layers)
    config = allowed.check(config)
    # Variables that a layer creates from an array can't wait until the size is known.
    scope = contextlib.nullcontext() if layers else keras.StatelessScope(initialize_variables=False)
    with _name_damage(path), tempfile.TemporaryDirectory() as folder:
        model = _build(config, allowed.own, scope, _count_saved(weights))
        weights_path = Path(folder, WEIGHTS)
        weights_path.write_bytes(weights)
        with warnings.catch_warnings(record=True, action="always") as caught:
            model.load_weights(weights_path)
        if caught:  # Keras only warns of some missing weights
            raise ValueError(str(caught[0].message))
        if not all(np.isfinite(array).all() for array in model.get_weights()):
            raise ValueError("it has weights that are NaN or infinite")
    return model


def import_layers(path: Path) -> list[type]:
    """Run a Python file, and return the layer classes in it that are not of Keras.

    Raises:
        SentimentError: if it can't be run, or has no such class.
    """
    if path.suffix != ".py" or not exists(path) or not path.is_file():
        raise SentimentError(f"--layers {path}: there is no such Python file", status=2)
    # Under this name it shadows no other module, and is not run as a script.
    spec = importlib.util.spec_from_file_location(f"_layers_of_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.append(str(path.resolve().parent))  # for what it imports
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # it can fail in any way
        reason = f"{type(error).__name__}: {format_message(error)}"
        raise SentimentError(f"--layers {path} can't be imported: {reason}") from None
    layers = [item for item in vars(module).values() if _is_own_layer(item)]
    if not layers:
        raise SentimentError(f"--layers {path}: it defines no layer, a class of keras.layers.Layer")
    return layers


def find_own_layers(model: keras.Model) -> set[type]:
    """Return the classes of a network's layers that are neither of Keras nor of this project."""
    return {type(layer) for layer in model._flatten_layers() if _is_own_layer(type(layer))}


@contextlib.contextmanager
def _name_damage(path: Path):
    """Turn whatever a damaged file raises into a ValueError with the reason."""
    try:
        yield
    except Exception as error:
        # Keras repeats the whole config before and after what is wrong.
        reason = " ".join(str(error).split()).rpartition("Exception encountered: ")[2]
        reason = reason.partition(" Full object config: ")[0] or type(error).__name__
        if not isinstance(error, ValueError):
            reason = f"it is damaged ({type(error).__name__}: {reason[:300]})"
        raise ValueError(f"{path.name} can't be used: {reason[:330]}") from None


def _is_own_layer(item: object) -> bool:
    return (
        isinstance(item, type)
        and issubclass(item, keras.Layer)
        and item.__module__.partition(".")[0] not in ("keras", "sentiment")
    )


class _Allowed:
    """What a ``config.json`` may contain.

    Attributes:
        own: the classes that are not of Keras, by names that no other object has.
    """

    def __init__(self, file: str, layers: Iterable[type]):
        self.file = file
        project = [
            item
            for item in vars(sentiment.layers).values()
            if isinstance(item, type) and item.__module__.startswith("sentiment.")
        ]
        self.own = {f"allowed>{item.__name__}": item for item in (*project, *layers)}
        self.names = _list_keras_classes()

    def check(self, value: Any, depth: int = 0) -> Any:
        """Return a part of a config without what Keras would compile it with.

        Raises:
            ValueError: if it contains anything else than what is allowed.
        """
        if depth > MAXIMUM_DEPTH:
            raise ValueError(f"{self.file} is nested too deeply")
        if isinstance(value, list):
            return [self.check(item, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        if "class_name" in value:
            value = self._check_object(value)
        return {
            key: self.check(item, depth + 1)
            for key, item in value.items()
            if key != "compile_config"
        }

    def _check_object(self, value: dict) -> dict:
        name, module, config = (value.get(key) for key in ("class_name", "module", "config"))
        if not isinstance(name, str) or not isinstance(module, str | None):
            raise ValueError(f"{self.file} is damaged: a class has no name")
        if name in VALUES:
            if name in ("__tensor__", "__numpy__") and isinstance(config, dict):
                # Those of NumPy include strings of any length.
                keras.backend.standardize_dtype(str(config.get("dtype")))
            return value
        if name == "function":
            registered = value.get("registered_name")
            if (
                isinstance(config, str)
                and config in ACTIVATIONS
                and module in ("builtins", "keras.activations")
                and registered in (None, "function", config)
            ):
                return value
            raise self._refuse("the function ", f"{module}.{config}")
        is_of_keras = (module or "").partition(".")[0] == "keras"
        if not is_of_keras and f"allowed>{name}" in self.own and "module" in value:
            return {**value, "module": None, "registered_name": f"allowed>{name}"}
        if (module, name) in self.names and value.get("registered_name") in (None, name):
            return value
        if is_of_keras or name.startswith("__"):
            raise self._refuse("", f"{module}.{name}" if module else name)
        raise ValueError(
            f"{self.file} contains the layer {name}, which is not one of Keras or of this project; "
            f"if you trust it, use --layers FILE.py, the file that defines it, or layers=[{name}]"
        )

    def _refuse(self, kind: str, name: str) -> ValueError:
        return ValueError(
            f"{self.file} contains {kind}{name}, which may run code or read files, so it is not "
            "loaded"
        )


def _list_keras_classes() -> set[tuple[str, str]]:
    """Return the modules and names by which a config may refer to classes of Keras."""
    names = {
        ("keras", "Sequential"),
        ("keras", "Model"),
        ("keras.src.models.functional", "Functional"),
        ("keras", "DTypePolicy"),
        ("keras", "DTypePolicyMap"),
        ("keras.dtype_policies", "DTypePolicyMap"),
    }
    for name, item in vars(keras.layers).items():
        if isinstance(item, type) and item.__module__.rpartition(".")[0] in LAYER_PACKAGES:
            names.add(("keras.layers", name))
    for module in (keras.initializers, keras.regularizers, keras.constraints):
        names |= {(module.__name__, name) for name in dir(module) if name[0].isupper()}
    for module_name in OPERATION_MODULES:
        for name, item in vars(sys.modules[module_name]).items():
            if isinstance(item, type) and item.__module__ == module_name:
                names.add((module_name, name))
    return {(module, name) for module, name in names if name not in LEFT_OUT}


def _count_saved(weights: bytes) -> int:
    """Return the number of weights in an HDF5 file.

    Raises:
        ValueError: if it has fewer bytes than its arrays, which then take more memory than it does.
    """
    arrays: list[h5py.Dataset] = []
    with h5py.File(io.BytesIO(weights)) as file:
        file.visititems(
            lambda _, item: arrays.append(item) if isinstance(item, h5py.Dataset) else None
        )
        if sum(array.nbytes for array in arrays) > len(weights):
            raise ValueError("its weights are compressed or damaged")
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
        if model.count_params() > saved:
            raise ValueError(
                f"the network has {model.count_params():,} weights, but {saved:,} are saved"
            )
    except BaseException:
        global_state.set_global_attribute("uninitialized_variables", [])
        raise
    with keras.StatelessScope():
        pass  # it creates the variables when it ends
    return model

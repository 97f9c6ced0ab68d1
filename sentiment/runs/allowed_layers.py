"""Which layers a saved network may consist of: none that can run code or read files.

In Keras' safe mode, too, the config of a network may name any function of Keras, some of which
write files.
"""

import importlib.util
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras

import sentiment.layers
from sentiment.console import format_message
from sentiment.errors import SentimentError
from sentiment.runs.folder import exists

LAYERS_HELP = "a Python file with layer classes of your own, which is run"
OWN_CLASSES = (
    keras.Layer,
    keras.Initializer,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
)
MAXIMUM_DEPTH = 200  # of nested lists and dictionaries
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
ACTIVATIONS = {name for name in dir(keras.activations) if not name.startswith("_")}
ACTIVATIONS -= {"deserialize", "get", "serialize"}


def import_layers(path: Path) -> list[type]:
    """Run a Python file, and return the classes in it that a network may consist of.

    These are layers, initializers, regularizers and constraints that are not of Keras.

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
    layers = [item for item in vars(module).values() if _is_own(item, OWN_CLASSES)]
    if not layers:
        raise SentimentError(f"--layers {path}: it defines no layer, a class of keras.layers.Layer")
    return layers


def find_own_layers(model: keras.Model) -> set[type]:
    """Return the classes of a network's layers that are neither of Keras nor of this project."""
    return {type(layer) for layer in model._flatten_layers() if _is_own(type(layer), keras.Layer)}


def check_config(model: keras.Model):
    """Raise a ValueError with the reason if `load_model` would refuse a network, once saved.

    Layer classes of a user's own are allowed.
    """
    AllowedLayers(find_own_layers(model)).check(json.loads(model.to_json()))


class AllowedLayers:
    """What a ``config.json`` may contain.

    Attributes:
        own: the classes that are not of Keras, by names that no other object has.
    """

    def __init__(self, layers: Iterable[type]):
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
            raise ValueError("it is nested too deeply")
        if isinstance(value, list):
            return [self.check(item, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        if "class_name" in value:
            value = self._check_object(value)
        # Without a symbolic tensor among its inputs, Keras would compute a layer at once.
        if not all(map(_has_symbolic_tensor, value.get("inbound_nodes") or ())):
            raise ValueError("it computes something while it is loaded, which is refused")
        return {
            key: self.check(item, depth + 1)
            for key, item in value.items()
            if key != "compile_config"
        }

    def _check_object(self, value: dict) -> dict:
        name, module, config = (value.get(key) for key in ("class_name", "module", "config"))
        if not isinstance(name, str) or not isinstance(module, str | None):
            raise ValueError("it is damaged: a class has no name")
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
            raise _refuse(f"the function {module}.{config}")
        is_of_keras = (module or "").partition(".")[0] == "keras"
        if not is_of_keras and f"allowed>{name}" in self.own and "module" in value:
            return {**value, "module": None, "registered_name": f"allowed>{name}"}
        if (module, name) in self.names and value.get("registered_name") in (None, name):
            return value
        if is_of_keras or name.startswith("__"):
            raise _refuse(f"{module}.{name}" if module else name)
        raise ValueError(
            f"it contains the class {name}, which is not one of Keras or of this project; if you "
            f"trust it, use --layers FILE.py, the file that defines it, or layers=[{name}]"
        )


def _refuse(name: str) -> ValueError:
    return ValueError(
        f"it contains {name}, which is not one of the layers that are known to be safe to load"
    )


def _has_symbolic_tensor(value: Any) -> bool:
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            return True
        value = list(value.values())
    return isinstance(value, list) and any(map(_has_symbolic_tensor, value))


def _list_keras_classes() -> set[tuple[str, str]]:
    """Return the modules and names by which a config may refer to classes of Keras."""
    names = {
        ("keras", "Sequential"),
        ("keras", "Model"),
        ("keras.src.models.functional", "Functional"),
        ("keras", "DTypePolicy"),
        ("keras", "DTypePolicyMap"),
        ("keras.dtype_policies", "DTypePolicyMap"),
        ("keras.layers", "Normalization"),
        ("keras.layers", "Rescaling"),
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


def _is_own(item: object, kinds: Any) -> bool:
    return (
        isinstance(item, type)
        and issubclass(item, kinds)
        and item.__module__.partition(".")[0] not in ("keras", "sentiment")
    )

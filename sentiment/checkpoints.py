"""The checkpoint: one file that holds all that the next epoch of a training depends on."""

import json
from pathlib import Path

from sentiment.terminal import make_printable

import keras
import numpy as np


def write_checkpoint(path: Path, state: dict, model: keras.Model, kept_weights: list | None):
    """Write a checkpoint.

    Args:
        path: the file, which is written at once.
        state: what goes into JSON.
        model: a compiled model whose optimizer is built. Its weights, the states of its dropout,
            and all that its optimizer holds, moving averages included, are written.
        kept_weights: the weights of the best epoch so far, if there is one.
    """
    arrays = {"state": np.frombuffer(json.dumps(state).encode(), np.uint8)}
    for name, variable in _name_variables(model).items():
        arrays[name] = keras.ops.convert_to_numpy(variable)
    for number, weight in enumerate(kept_weights or ()):
        arrays[f"kept_{number}"] = weight
    with path.open("wb") as file:  # given a path, numpy would add a suffix
        np.savez(file, **arrays)


def read_checkpoint(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Return the state and the arrays of a checkpoint.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        state = json.loads(arrays.pop("state").tobytes())
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file fails in any way
        raise ValueError(f"{path.name} is damaged: {make_printable(str(error))}") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path.name} is damaged: it holds no state")
    return state, arrays


def restore(model: keras.Model, arrays: dict[str, np.ndarray]) -> list[np.ndarray] | None:
    """Set a model and its optimizer to what a checkpoint holds, and return the kept weights.

    Raises:
        ValueError: if the checkpoint is of another network.
    """
    variables = _name_variables(model)
    kept = [name for name in arrays if name.startswith("kept_")]
    shapes = {name: array.shape for name, array in arrays.items() if name not in kept}
    if shapes != {name: tuple(variable.shape) for name, variable in variables.items()}:
        raise ValueError("it was begun with another network")
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return [arrays[f"kept_{number}"] for number in range(len(kept))] or None


def _name_variables(model):
    metrics = {id(variable) for variable in model.metrics_variables}
    kinds = {
        "model": [variable for variable in model.variables if id(variable) not in metrics],
        "optimizer": model.optimizer.variables,
    }
    return {
        f"{kind}_{number}": variable
        for kind, variables in kinds.items()
        for number, variable in enumerate(variables)
    }

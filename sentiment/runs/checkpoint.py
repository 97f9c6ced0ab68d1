"""The checkpoint: one file with all that the next epoch of a training depends on."""

import contextlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sentiment.errors import SentimentError
from sentiment.paths import models_folder
from sentiment.runs.folder import CHECKPOINT, RECORD, find_run_folder

# What must be the same to resume a run, and what is compared when a run is repeated.
CONDITIONS = ("constants", "data", "versions", "sha256")


def write_checkpoint(path: Path, state: dict, model: keras.Model, best_weights: list | None):
    """Write a checkpoint.

    Args:
        path: the file.
        state: what is written as JSON.
        model: a compiled model whose optimizer is built. Its weights, the states of its dropout,
            and all variables of its optimizer, moving averages included, are written.
        best_weights: the weights that will be restored at the end, if there are any yet.
    """
    arrays: dict[str, Any] = {"state": np.frombuffer(json.dumps(state).encode(), np.uint8)}
    for name, variable in _name_variables(model).items():
        arrays[name] = keras.ops.convert_to_numpy(variable)
    for number, weight in enumerate(best_weights or ()):
        arrays[f"best_{number}"] = weight
    with path.open("wb") as file:  # given a path, NumPy would add a suffix
        np.savez(file, **arrays)


def read_checkpoint(folder: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Return the state and the arrays of a run folder's checkpoint.

    Raises:
        SentimentError: if it is missing or damaged.
    """
    try:
        with np.load(folder / CHECKPOINT, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        state = json.loads(arrays.pop("state").tobytes())
        for key in ("options", *CONDITIONS):
            if not isinstance(state[key], dict):
                raise TypeError(f"{key} is not a dictionary")
        return state, arrays
    except FileNotFoundError:
        raise SentimentError(
            f"{folder} can't be resumed, it has no checkpoint; train again under another name"
        ) from None
    except Exception as error:  # a damaged file can fail in any way
        raise SentimentError(
            f"{folder} can't be resumed, {CHECKPOINT} is damaged: {error}"
        ) from None


def restore_checkpoint(
    model: keras.Model, arrays: dict[str, np.ndarray]
) -> list[np.ndarray] | None:
    """Set a model and its optimizer to a checkpoint, and return the weights to restore at the end.

    Raises:
        ValueError: if the checkpoint is of another network.
    """
    variables = _name_variables(model)
    best = [name for name in arrays if name.startswith("best_")]
    shapes = {name: array.shape for name, array in arrays.items() if name not in best}
    if shapes != {name: tuple(variable.shape) for name, variable in variables.items()}:
        raise ValueError("it was started with another network")
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return [arrays[f"best_{number}"] for number in range(len(best))] or None


def find_unfinished(script: str, name: str) -> tuple[Path, dict]:
    """Return the folder and the checkpoint's state of a script's unfinished run.

    Args:
        script: the file name of the script.
        name: the run's name in ``models/``, or the path of its folder; empty for the newest one.

    Raises:
        SentimentError: if there is nothing to resume.
    """
    if name:
        folder = find_run_folder(name)
        if (folder / RECORD).exists():
            raise SentimentError(f"{folder} is finished, there is nothing to resume")
        state, _ = read_checkpoint(folder)
        if state.get("script") != script:
            raise SentimentError(f"{folder} was started by {state.get('script')}, not by {script}")
        return folder, state
    found = []
    for path in models_folder().glob(f"*/{CHECKPOINT}"):
        with contextlib.suppress(OSError):  # its run may have ended just now
            found.append((path.stat().st_mtime, str(path.parent)))
    for _, folder_name in sorted(found, reverse=True):
        try:
            state, _ = read_checkpoint(Path(folder_name))
        except SentimentError as error:
            print(f"Skipped: {error}")
            continue
        if state.get("script") == script and not Path(folder_name, RECORD).exists():
            return Path(folder_name), state
    raise SentimentError(f"there is no unfinished run of {script} in {models_folder()}/")


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

"""The checkpoint: one file with all that the next epoch of a training run depends on."""

import contextlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sentiment.console import format_message
from sentiment.errors import SentimentError
from sentiment.paths import check_regular, models_folder
from sentiment.runs.folder import CHECKPOINT, RECORD, exists, find_run_folder
from sentiment.runs.schema import MAXIMUM_BYTES, Metrics, State, check, parse_json

# What must be the same to resume a run, and what is compared when a run is repeated.
CONDITIONS = ("constants", "data", "versions", "sha256")
# What a resumed run takes from its checkpoint, besides the conditions, which are the same.
RESUMED = ("started", "options", "evaluate_test", "like", "history", "best", "refit")


def write_checkpoint(
    path: Path, state: dict, model: keras.Model | None = None, best_weights: list | None = None
):
    """Write a checkpoint.

    Args:
        path: the file.
        state: what is written as JSON.
        model: a compiled model whose optimizer is built. Its weights, the states of its dropout,
            and all variables of its optimizer, moving averages included, are written. None: the
            training has not begun.
        best_weights: the weights that will be restored at the end, if there are any yet.
    """
    arrays: dict[str, Any] = {"state": np.frombuffer(json.dumps(state).encode(), np.uint8)}
    for name, variable in _name_variables(model).items() if model else ():
        arrays[name] = keras.ops.convert_to_numpy(variable)
    for number, weight in enumerate(best_weights or ()):
        arrays[f"best_{number}"] = weight
    with path.open("wb") as file:  # given a path, NumPy would add a suffix
        np.savez(file, **arrays)


def read_state(folder: Path) -> dict:
    """Return the state in a run folder's checkpoint, a `sentiment.runs.schema.State`.

    Raises:
        SentimentError: if the checkpoint is missing or damaged.
    """
    return _open(folder, _read_state)


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a run folder's checkpoint, as `restore_checkpoint` takes them.

    Raises:
        SentimentError: if the checkpoint is missing or damaged.
    """

    def read(archive):
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        return {name: _read_array(archive, name) for name in names if name != "state"}

    return _open(folder, read)


def restore_checkpoint(
    model: keras.Model, arrays: dict[str, np.ndarray]
) -> list[np.ndarray] | None:
    """Set a model and its optimizer to a checkpoint, and return the weights to restore at the end.

    Raises:
        ValueError: if the checkpoint is of another network, or has weights that are NaN.
    """
    variables = _name_variables(model)
    best = {f"best_{number}": weight for number, weight in enumerate(model.weights)}
    expected = {**variables, **(best if "best_0" in arrays else {})}
    if _describe(arrays) != _describe(expected):
        raise ValueError("it was started with another network")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError(f"{CHECKPOINT} has weights that are NaN or infinite; train again")
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return [arrays[name] for name in best] if "best_0" in arrays else None


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
        if exists(folder / RECORD):
            raise SentimentError(f"{folder} is already finished; there is nothing to resume")
        state = read_state(folder)
        if state["script"] != script:
            raise SentimentError(f"{folder} was started by {state['script']}, not by {script}")
        return folder, state
    found = []
    for path in models_folder().glob(f"*/{CHECKPOINT}"):
        with contextlib.suppress(OSError):  # its run may have ended just now
            found.append((path.stat().st_mtime, str(path.parent)))
    for _, folder_name in sorted(found, reverse=True):
        try:
            state = read_state(Path(folder_name))
        except SentimentError as error:
            print(f"Skipped: {format_message(error)}")
            continue
        if state["script"] == script and not exists(Path(folder_name, RECORD)):
            return Path(folder_name), state
    raise SentimentError(f"there is no unfinished run of {script} in {models_folder()}/")


def _open(folder: Path, read: Callable[[zipfile.ZipFile], Any]) -> Any:
    path = folder / CHECKPOINT
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            # What is not compressed takes no more memory than the file takes space.
            is_compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
            size = sum(member.file_size for member in members)
            if is_compressed or size > path.stat().st_size:
                raise ValueError("it is compressed, or larger than its file")
            return read(archive)
    except FileNotFoundError:
        raise SentimentError(
            f"{folder} can't be resumed because it has no checkpoint; train again without --resume"
        ) from None
    except PermissionError as error:
        raise SentimentError(f"{folder} can't be resumed: {error.strerror}") from None
    except Exception as error:  # a damaged file can fail in any way
        raise SentimentError(
            f"{folder} can't be resumed, {CHECKPOINT} is damaged: {error}"
        ) from None


def _read_state(archive: zipfile.ZipFile) -> dict:
    if archive.getinfo("state.npy").file_size > MAXIMUM_BYTES:
        raise ValueError("its state is too large")
    state = parse_json(_read_array(archive, "state").tobytes().decode())
    check(state, State, Metrics)
    history, best, refit = state["history"], state["best"], state["refit"]
    _check_history(history, state["constants"].get("EPOCHS", 0))
    # As text, because NaN does not equal itself.
    rows = [json.dumps(row) for row in history]
    if json.dumps(best) not in (rows or ["null"]):
        raise ValueError("its best epoch is not in its history")
    if refit is not None:
        check(refit, Metrics)
        has_sentences = ("sentences" in refit, "sentences" in state["data"])
        if not (best and state["constants"].get("REFIT")) or len(set(has_sentences)) > 1:
            raise ValueError("its refit can't be one of this run")
        history = refit["history"]
        _check_history(history, best["epoch"])
    if ("best_0.npy" in archive.namelist()) != bool(history):
        raise ValueError("it lacks the weights of its best epoch")
    return state


def _check_history(history: list[dict], most: int):
    """Raise a ValueError unless a history has each epoch, and no more than this number of them."""
    if [row["epoch"] for row in history] != list(range(1, len(history) + 1)):
        raise ValueError("its history lacks an epoch")
    if len(history) > most:
        raise ValueError(f"its history has more than {most} epochs")
    if any(row.keys() != history[0].keys() for row in history):
        raise ValueError("the epochs of its history have different metrics")


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _describe(arrays: dict) -> dict[str, tuple]:
    """Return the shape and the type of each array or variable."""
    return {name: (tuple(array.shape), str(array.dtype)) for name, array in arrays.items()}


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

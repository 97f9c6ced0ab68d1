"""Whether a repeated training reproduced an earlier run."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sentiment.console import strip_control_characters
from sentiment.distribution import without_distribution
from sentiment.runs.checkpoint import CONDITIONS
from sentiment.runs.folder import MODEL
from sentiment.runs.record import read_record
from sentiment.runs.saved_model import load_model


def find_differences(then: dict, now: dict) -> list[str]:
    """Say in which conditions a training differs from an earlier one.

    Args:
        then, now: the states or records of the two trainings.
    """
    differences = []
    for kind in (*CONDITIONS, "device"):
        for name, value in now.get(kind, {}).items():
            earlier = then.get(kind, {}).get(name)
            # A constant that the script did not have then had no effect.
            is_new = kind == "constants" and name not in then.get(kind, {})
            if earlier != value and not is_new:
                text = f"{name} was {earlier} and is {value}"
                if kind == "sha256":
                    text = "the reviews have changed" if name == "data" else f"{name} has changed"
                differences.append(strip_control_characters(text))
    return differences


def compare_with(
    folder: Path,
    own_folder: Path,
    now: dict,
    history: list[dict],
    layers: Iterable[type] = (),
) -> str:
    """Say whether a training has the history and saved weights of an earlier run, in one line.

    Args:
        folder: the folder of the earlier run.
        own_folder: the folder of this training.
        now: the state of this training, with its conditions, its device, and its best epoch.
        history: one dictionary per epoch.
        layers: the layer classes of this network that are neither of Keras nor of this project; the
            earlier one may have them, too.
    """
    try:
        earlier = read_record(folder)
        if not earlier.metadata:
            raise ValueError("it has only a history")
        with without_distribution():
            earlier_weights, weights = (
                load_model(run / MODEL, layers).get_weights() for run in (folder, own_folder)
            )
    except ValueError as error:  # a folder can have lost its model, or hold a damaged one
        reason = strip_control_characters(str(error))
        return f"Not compared       {folder}: {reason}"
    has_same_history = all(
        [row[name] for row in history] == earlier.history[name] for name in earlier.history
    )
    has_same_weights = len(weights) == len(earlier_weights) and all(
        np.array_equal(*pair) for pair in zip(weights, earlier_weights, strict=True)
    )
    if has_same_history and has_same_weights:
        return f"Reproduced         {folder}: same history and weights"
    then = {**earlier.metadata, "device": {"device": earlier.metadata.get("device")}}
    differences = find_differences(then, now) or ["nothing else differs"]
    accuracy = earlier.metadata["validation"]["accuracy"]
    return (
        f"Not reproduced     {folder}: validation accuracy was {accuracy:.2%} and is "
        f"{now['best']['val_accuracy']:.2%}; {'; '.join(differences)}"
    )

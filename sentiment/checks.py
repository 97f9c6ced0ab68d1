"""What is wrong with a training although it runs, in one line each."""

from pathlib import Path

from sentiment.data import Data
from sentiment.reviews import choose_evenly

import keras

CHANCE = 0.55  # share of right answers that guessing may reach
LARGEST_LOSS = 3.0  # a network that guesses has 0.69
LOOKED_AT = 200_000  # reviews of a part, where there are more
SHARED = 0.1  # share of the validation reviews that may stand among the training reviews


def check_data(data: Data) -> list[str]:
    """Say whether the validation reviews are the training reviews."""
    trained = {sequence.tobytes() for sequence in choose_evenly(data.x_train, LOOKED_AT)}
    shared = sum(sequence.tobytes() in trained for sequence in data.x_validation)
    if shared <= SHARED * len(data.x_validation):
        return []
    return [
        f"{shared:,} of the {len(data.x_validation):,} validation reviews, cut as they are, are "
        "training reviews too: the validation says little"
    ]


def check_device(device: str) -> list[str]:
    """Say whether there is a GPU that is not used."""
    if "CPU: " not in device or not any(Path("/proc/driver/nvidia").glob("gpus/*")):
        return []
    return [f"there is an NVIDIA GPU, but {keras.backend.backend()} sees none"]


def check_network(model: keras.Model, data: Data):
    """Raise SystemExit if the data have word ids that the network's Embedding has no room for."""
    largest = max(
        int(sequence.max())
        for part in (data.x_train, data.x_validation, data.x_test)
        for sequence in choose_evenly(part, LOOKED_AT)
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.Embedding) and layer.input_dim <= largest:
            raise SystemExit(
                f"The reviews have word ids up to {largest:,}, but the layer {layer.name} has room "
                f"for ids below {layer.input_dim:,}: make it VOCABULARY_SIZE"
            )


def check_loss(loss: float) -> list[str]:
    """Say whether the loss is no number, or exploding."""
    if loss <= LARGEST_LOSS:
        return []
    return [f"the loss is {loss:.3g}: try a lower LEARNING_RATE"]


def check_epoch(row: dict) -> list[str]:
    """Say what is wrong with an epoch's row of the history."""
    if row["val_accuracy"] < 1 - CHANCE:
        return [
            f"only {row['val_accuracy']:.1%} of the validation reviews are right, fewer than by "
            "guessing: are their labels turned round?"
        ]
    if max(row["accuracy"], row["val_accuracy"]) < CHANCE:
        return [
            f"the network does no better than guessing, {row['val_accuracy']:.1%}: if more epochs "
            "don't help, try another LEARNING_RATE, and look at the labels"
        ]
    return []

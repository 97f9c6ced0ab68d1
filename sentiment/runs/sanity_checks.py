"""Checks that a training makes sense: each problem is described in one line."""

from pathlib import Path

import keras

from sentiment.data.dataset import Dataset
from sentiment.data.sequences import subsample
from sentiment.errors import SentimentError

CHANCE = 0.55  # accuracy that guessing may reach
DIVERGED_LOSS = 3.0  # a network that guesses has a loss of 0.69
REVIEWS = 200_000  # reviews of a set that are checked, if there are more
DUPLICATES = 0.1  # share of the validation reviews that may be training reviews


def check_data(data: Dataset) -> list[str]:
    """Report validation reviews that are training reviews, too."""
    trained = {sequence.tobytes() for sequence in subsample(data.x_train, REVIEWS)}
    shared = sum(sequence.tobytes() in trained for sequence in data.x_validation)
    if shared <= DUPLICATES * len(data.x_validation):
        return []
    return [
        f"{shared:,} of the {len(data.x_validation):,} validation reviews, as truncated, are "
        "training reviews too, so the validation accuracy means little"
    ]


def check_device(device: str) -> list[str]:
    """Report a GPU that is not used."""
    if "CPU: " not in device or not any(Path("/proc/driver/nvidia").glob("gpus/*")):
        return []
    return [f"there is an NVIDIA GPU, but {keras.backend.backend()} doesn't see it"]


def check_vocabulary(model: keras.Model, data: Dataset):
    """Check that the Embedding layers of a model have a vector for each word id.

    Raises:
        SentimentError: if one of them has too few.
    """
    largest = max(
        int(sequence.max())
        for sequences in (data.x_train, data.x_validation, data.x_test)
        for sequence in subsample(sequences, REVIEWS)
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.Embedding) and layer.input_dim <= largest:
            raise SentimentError(
                f"the reviews have word ids up to {largest:,}, but the layer {layer.name} has "
                f"input_dim={layer.input_dim:,}; set it to VOCABULARY_SIZE"
            )


def check_loss(loss: float) -> list[str]:
    """Report a loss that is NaN or diverges."""
    if loss <= DIVERGED_LOSS:
        return []
    return [f"the loss diverges ({loss:.3g}); try a lower LEARNING_RATE"]


def check_epoch(row: dict) -> list[str]:
    """Report an accuracy that is no better than chance.

    Args:
        row: the epoch's row of the history.
    """
    if row["val_accuracy"] < 1 - CHANCE:
        return [
            f"the validation accuracy is {row['val_accuracy']:.1%}, worse than guessing; "
            "are the labels of the validation reviews swapped?"
        ]
    if max(row["accuracy"], row["val_accuracy"]) < CHANCE:
        return [
            f"the validation accuracy is {row['val_accuracy']:.1%}, no better than guessing; "
            "if more epochs don't help, try another LEARNING_RATE and check the labels"
        ]
    return []

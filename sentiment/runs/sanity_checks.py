"""Checks that a training makes sense: each problem is described in one line."""

from pathlib import Path

import keras
import numpy as np

from sentiment.data.dataset import Dataset
from sentiment.data.sequences import subsample
from sentiment.errors import SentimentError

MARGIN = 0.1  # share of the mistakes of a constant prediction that must be avoided
DEVIATIONS = 2  # standard deviations by which guessing may be worse than a half
DIVERGED = 2.3  # increase of the loss; a network that guesses has a loss of 0.69
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


def check_loss(loss: float, first_loss: float) -> list[str]:
    """Report a loss that is NaN or diverges.

    Args:
        loss: the mean loss of the epoch so far.
        first_loss: that of the first training step, which includes penalties on the weights.
    """
    if loss <= first_loss + DIVERGED:
        return []
    return [f"the loss diverges ({loss:.3g}); try a lower LEARNING_RATE"]


def check_metrics(metrics: dict, is_refit: bool):
    """Check that an epoch has the metrics that are recorded.

    Args:
        metrics: the metrics by name.
        is_refit: whether this is the second training of a run with ``REFIT``, which has no
            validation set.

    Raises:
        SentimentError: if it has not.
    """
    if is_refit and "val_loss" in metrics:
        raise SentimentError(
            "with REFIT the second training has no validation set: use settings.is_refit in main "
            "as train_lstm.py does"
        )
    validated = set() if is_refit else {"val_accuracy", "val_loss"}
    if not metrics.keys() >= {"accuracy", *validated}:
        raise SentimentError(
            "training or validation accuracy is missing: pass validation_data=validation to "
            'fit and weighted_metrics=["accuracy"] to compile'
        )


def check_epoch(row: dict, labels: np.ndarray) -> list[str]:
    """Report an accuracy that is no better than chance.

    Args:
        row: the epoch's row of the history.
        labels: those of the validation reviews, shape ``(reviews,)``.
    """
    accuracy, positive = row["val_accuracy"], float(np.mean(labels))
    majority = max(positive, 1 - positive)
    chance = majority + MARGIN * (1 - majority)
    # Of few reviews, more than half may be wrong by chance.
    by_chance = min(1 - chance, 0.5 - DEVIATIONS * 0.5 / len(labels) ** 0.5)
    if accuracy < by_chance:
        return [
            f"the validation accuracy is {accuracy:.1%}, worse than guessing; "
            "are the labels of the validation reviews swapped?"
        ]
    if max(row["accuracy"], accuracy) < chance:
        label = "positive" if positive > 0.5 else "negative"
        return [
            f"the validation accuracy is {accuracy:.1%}, and always predicting {label} has "
            f"{majority:.1%}; if more epochs don't help, try another LEARNING_RATE and check the "
            "labels"
        ]
    return []

"""Event files for TensorBoard, in the run folder."""

import importlib.util
from pathlib import Path

from sentiment.errors import SentimentError

SETS = {"": "training", "val_": "validation"}


def check_tensorboard():
    """Check that the package is installed.

    Raises:
        SentimentError: if it isn't.
    """
    if not importlib.util.find_spec("tensorboard"):
        raise SentimentError(
            "TENSORBOARD needs the package tensorboard: pip install -r requirements/tensorboard.txt"
        )


def write_events(folder: Path, row: dict):
    """Add an epoch to the event files in ``tensorboard/training`` and ``tensorboard/validation``.

    TensorBoard draws the two as one curve each, in the same plot.

    Args:
        folder: the run folder.
        row: the epoch's row of the history.

    Raises:
        SentimentError: if they can't be written.
    """
    from tensorboard.summary import Writer

    try:
        for prefix, name in SETS.items():
            writer = Writer(str(folder / "tensorboard" / name))
            for key in ("accuracy", "loss"):
                writer.add_scalar(key, row[prefix + key], row["epoch"])
            writer.close()
    except OSError as error:
        raise SentimentError(f"can't write the events for TensorBoard: {error}") from None

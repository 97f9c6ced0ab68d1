"""The state of a training while it runs, and how it is printed."""

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sentiment.console import is_notebook, strip_control_characters
from sentiment.data.dataset import Dataset
from sentiment.data.tables import count
from sentiment.data.word_vectors import WORD_VECTORS
from sentiment.errors import SentimentError
from sentiment.runs.atomic import hash_file
from sentiment.runs.record import read_versions
from sentiment.settings import Settings

REQUIRED_CONSTANTS = ("NAME", "SEED", "EPOCHS")


def make_state(script: str, settings: Settings, data: Dataset) -> dict:
    """Return the state of a training that begins; a checkpoint holds it as JSON.

    Args:
        script: path of the training script.
        settings: what the training is started with.
        data: what it reads.

    Raises:
        SentimentError: if a constant is missing, or if a file of word vectors can't be read.
    """
    if missing := [name for name in REQUIRED_CONSTANTS if name not in settings.constants]:
        raise SentimentError(f"a training script needs the constants {', '.join(missing)}")
    hashes = {Path(script).name: settings.script_hash, "data": data.fingerprint}
    word_vectors = settings.constants.get("WORD_VECTORS", "none")
    if word_vectors not in WORD_VECTORS:
        try:
            hashes["word_vectors"] = hash_file(Path(word_vectors))
        except OSError as error:
            raise SentimentError(f"can't read {word_vectors}: {error.strerror}") from None
    return {
        "script": Path(script).name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        # Read back from JSON, as those of a checkpoint are: a tuple becomes a list.
        "constants": json.loads(json.dumps(settings.constants)),
        "options": settings.options,
        "evaluate_test": settings.evaluate_test,
        "like": str(settings.like.absolute()) if settings.like else None,
        "data": {
            "source": data.source,
            **_count_reviews(data),
            "test_name": data.test_name,
            **({"sentences": _count_reviews(data.sentences)} if data.sentences else {}),
        },
        "versions": read_versions(),
        "sha256": hashes,
        "history": [],
        "best": None,  # the row of the history whose weights are restored
        "refit": None,  # the second training, once the first one has ended
    }


def _count_reviews(data: Dataset) -> dict[str, int]:
    """Return the number of reviews of each set, without the sentences that were added to it."""
    added = len(data.sentences.x_train) if data.sentences else 0
    return {
        "training": len(data.x_train) - added,
        "validation": len(data.x_validation),
        "test": len(data.x_test),
    }


def keep_numbers(metrics: dict) -> dict[str, float]:
    """Return the metrics that are a number; a user may measure others, such as one per class."""
    return {name: float(value) for name, value in metrics.items() if np.ndim(value) == 0}


def format_data(data: dict) -> str:
    """Return the numbers of reviews in a state, a line for each kind."""
    line = "{training:,} for training, {validation:,} for validation, {test:,} for testing"
    text = f"Reviews: {line.format(**data)}, from {strip_control_characters(data['source'])}"
    if sentences := data.get("sentences"):
        text += f"\nOne-sentence reviews: {line.format(**sentences)}"
    return text


def format_refit(data: dict, epochs: int) -> str:
    """Return the line with which a second training begins."""
    counts = [(data, "reviews"), (data.get("sentences"), "one-sentence reviews")]
    reviews = [f"{part['training'] + part['validation']:,} {name}" for part, name in counts if part]
    both = f"{' and '.join(reviews)} for training and validation together"
    return f"Refit: {both}, {count(epochs, 'epoch')}"


def format_command(script: str, *arguments: str) -> str:
    """Return how a script is called with these arguments, in a shell or in a notebook."""
    if is_notebook():
        return f"{Path(script).stem}.main({list(arguments)})"
    return f"python {script} {shlex.join(arguments)}"


def format_epoch(row: dict, epochs: int) -> str:
    """Return the line of an epoch, where there is no progress bar."""
    metrics = [f"accuracy {row['accuracy']:.2%}", f"loss {row['loss']:.4f}"]
    if "val_loss" in row:
        metrics += [f"val_accuracy {row['val_accuracy']:.2%}", f"val_loss {row['val_loss']:.4f}"]
    return f"Epoch {row['epoch']} of {epochs}: {', '.join(metrics)}, {row['seconds']:.1f} s"

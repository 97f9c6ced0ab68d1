"""What a training is and becomes: its state while it runs, its record, and how both are printed."""

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np

from sentiment.console import is_notebook, strip_control_characters
from sentiment.constants import Settings
from sentiment.data.dataset import Dataset
from sentiment.data.word_vectors import WORD_VECTORS
from sentiment.errors import SentimentError
from sentiment.runs.atomic import hash_file
from sentiment.runs.checkpoint import CONDITIONS
from sentiment.runs.folder import HASHED_FILES
from sentiment.runs.record import read_versions


def make_state(script: str, settings: Settings, data: Dataset) -> dict:
    """Return the state of a training that begins; a checkpoint holds it as JSON.

    Args:
        script: path of the training script.
        settings: what the training is started with.
        data: what it reads.

    Raises:
        SentimentError: if a file of word vectors can't be read.
    """
    hashes = {Path(script).name: hash_file(Path(script)), "data": data.fingerprint()}
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
    }


def make_record(
    state: dict,
    network: list,
    model: keras.Model,
    folder: Path,
    device: str,
    test: dict | None,
    measured: dict,
) -> dict:
    """Return what ``run.json`` holds of a training that has ended.

    Args:
        state: its state.
        network: its layers, a line each.
        model: the network.
        folder: the run folder.
        device: the name of the device.
        test: accuracy and loss on the test set, if it was evaluated.
        measured: what `sentiment.runs.measurement.measure` returned.
    """
    history, best = state["history"], state["best"]
    seconds = sum(row["seconds"] for row in history) / len(history)
    hashes = {name: hash_file(folder / name) for name in HASHED_FILES}
    return {
        **{key: state[key] for key in ("script", "started", *CONDITIONS)},
        "sha256": {**state["sha256"], **hashes},
        "device": device,
        "network": network,
        "parameters": model.count_params(),
        "seconds_per_epoch": round(seconds, 2),
        "epochs": len(history),
        "best_epoch": min(history, key=lambda row: row["val_loss"])["epoch"],
        "restored_epoch": best["epoch"],
        "validation": {"accuracy": best["val_accuracy"], "loss": best["val_loss"]},
        "test": test and keep_numbers(test),
        **measured,
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


def format_command(script: str, *arguments: str) -> str:
    """Return how a script is called with these arguments, in a shell or in a notebook."""
    if is_notebook():
        return f"{Path(script).stem}.main({list(arguments)})"
    return f"python {script} {shlex.join(arguments)}"


def format_epoch(row: dict, epochs: int) -> str:
    """Return the line of an epoch, where there is no progress bar."""
    return (
        f"Epoch {row['epoch']} of {epochs}: accuracy {row['accuracy']:.2%}, "
        f"loss {row['loss']:.4f}, val_accuracy {row['val_accuracy']:.2%}, "
        f"val_loss {row['val_loss']:.4f}, {row['seconds']:.1f} s"
    )


def format_test(test: dict | None, data: Dataset) -> str:
    """Return the test accuracy in words."""
    if not test:
        return "not evaluated"
    return f"{test['accuracy']:.2%} on {len(data.x_test):,} {data.test_name}"


def format_summary(record: dict, test_accuracy: str, folder: Path) -> str:
    """Return the lines that are printed at the end of a training."""
    epochs = f"{record['epochs']}"
    if record["epochs"] < record["constants"]["EPOCHS"]:
        patience = record["constants"].get("PATIENCE")
        epochs += f" (stopped early, PATIENCE is {patience})" if patience else " (stopped early)"
    sentences = ""
    if "sentences" in record:
        split, counts = "validation", record["data"]["sentences"]
        if record["sentences"]["test"]:
            split = "test"
        accuracy = record["sentences"][split]["accuracy"]
        kind = "" if split == "test" else f" for {split}"
        sentences = (
            f"\nSentence accuracy  {accuracy:.2%} on {counts[split]:,} one-sentence reviews{kind}"
        )
    return (
        f"\nTest accuracy      {test_accuracy}{sentences}"
        f"\nBest epoch         {record['best_epoch']} of {epochs}"
        f"\nSaved weights      epoch {record['restored_epoch']}, validation accuracy "
        f"{record['validation']['accuracy']:.2%}"
        f"\nSeconds per epoch  {record['seconds_per_epoch']:.1f} ({record['device']})"
        f"\nRun folder         {strip_control_characters(str(folder))}"
    )

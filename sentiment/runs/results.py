"""The results of a training that has ended: its record, and what is printed."""

from pathlib import Path

import keras

from sentiment.console import format_message, show_in_notebook, strip_control_characters
from sentiment.data.dataset import Dataset
from sentiment.runs.atomic import hash_file
from sentiment.runs.checkpoint import CONDITIONS
from sentiment.runs.folder import HASHED_FILES, PLOT
from sentiment.runs.network import find_own_layers
from sentiment.runs.reproduction import compare_with
from sentiment.runs.state import keep_numbers


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
    refit = {}
    if state["refit"]:
        *_, last = state["refit"]["history"]
        refit = {
            "training": state["data"]["training"] + state["data"]["validation"],
            "epochs": last["epoch"],
            "accuracy": last["accuracy"],
            "loss": last["loss"],
        }
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
        **({"refit": refit} if refit else {}),
    }


def format_test(test: dict | None, data: Dataset, is_refit: bool) -> str:
    """Return the test accuracy in words."""
    if not test:
        return "not evaluated"
    after = ", after the refit" if is_refit else ""
    return f"{test['accuracy']:.2%} on {len(data.x_test):,} {data.test_name}{after}"


def report(record: dict, test_accuracy: str, state: dict, model: keras.Model, folder: Path):
    """Print the summary of a training that has ended, and whether it reproduced another run.

    Args:
        record: its record.
        test_accuracy: what `format_test` returned.
        state: its state.
        model: the network.
        folder: the run folder.
    """
    print(_format_summary(record, test_accuracy, folder))
    if state["like"]:
        now = {**state, "device": {"device": record["device"]}}
        layers = find_own_layers(model)
        line = compare_with(Path(state["like"]), folder, now, state["history"], layers)
        print(format_message(line))
    show_in_notebook(folder / PLOT)


def _format_summary(record: dict, test_accuracy: str, folder: Path) -> str:
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
        before = " before the refit" if "refit" in record else ""
        kind = "" if split == "test" else f" for {split}{before}"
        sentences = (
            f"\nSentence accuracy  {accuracy:.2%} on {counts[split]:,} one-sentence reviews{kind}"
        )
    saved = f"epoch {record['restored_epoch']}, validation accuracy"
    if refit := record.get("refit"):
        saved = f"refit on {refit['training']:,} reviews; before it, validation accuracy"
    return (
        f"\nTest accuracy      {test_accuracy}{sentences}"
        f"\nBest epoch         {record['best_epoch']} of {epochs}"
        f"\nSaved weights      {saved} {record['validation']['accuracy']:.2%}"
        f"\nSeconds per epoch  {record['seconds_per_epoch']:.1f} ({record['device']})"
        f"\nRun folder         {strip_control_characters(str(folder))}"
    )

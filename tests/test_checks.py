"""What is wrong with a training is said in one line, and what is right in none."""

import dataclasses

import train_lstm
from sentiment import checks

import keras
import numpy as np
import pytest


def test_validation_reviews_that_are_training_reviews_are_counted(small_data):
    assert checks.check_data(small_data) == []
    mixed = [*small_data.x_validation[:80], *small_data.x_train[:16]]
    (said,) = checks.check_data(dataclasses.replace(small_data, x_validation=mixed))
    assert said.startswith("16 of the 96 validation reviews")


def test_a_gpu_that_the_backend_does_not_see_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(checks, "Path", lambda _: tmp_path)
    assert checks.check_device("CPU: some processor, 2 cores") == []
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    assert checks.check_device("gpu:0") == []
    (said,) = checks.check_device("CPU: some processor, 2 cores")
    assert said == f"there is an NVIDIA GPU, but {keras.backend.backend()} sees none"


def test_ids_that_the_embedding_has_no_room_for_stop_the_training(small_data, train, tmp_path):
    small_data.x_test[0] = np.full(20, 10_000, dtype=np.int32)
    with pytest.raises(SystemExit) as stopped:
        train(train_lstm)
    assert str(stopped.value).startswith("The reviews have word ids up to 10,000, but the layer ")
    assert "below 10,000: make it VOCABULARY_SIZE" in str(stopped.value)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("loss", "wrong"), [(0.7, False), (2.9, False), (3.1, True), (float("nan"), True)]
)
def test_a_loss_that_is_no_number_or_explodes_is_wrong(loss, wrong):
    assert bool(checks.check_loss(loss)) == wrong


@pytest.mark.parametrize(
    ("accuracy", "validation", "said"),
    [
        (0.9, 0.85, None),
        (0.56, 0.5, None),
        (0.54, 0.52, "no better than guessing, 52.0%"),
        (0.9, 0.2, "turned round"),
        (0.52, 0.4, "turned round"),
    ],
)
def test_chance_and_labels_that_are_turned_round(accuracy, validation, said):
    problems = checks.check_epoch({"accuracy": accuracy, "val_accuracy": validation})
    assert len(problems) == (said is not None)
    assert all(said in problem for problem in problems)


def test_labels_that_are_turned_round_are_said_in_a_training(small_data, train, capsys):
    small_data.x_validation[:] = small_data.x_train
    small_data.y_validation[:] = 1 - small_data.y_train
    train(train_lstm, "--epochs", "5", "--learning-rate", "0.01")
    said = capsys.readouterr().out
    assert "Careful: 96 of the 96 validation reviews" in said
    assert "Careful: only " in said and "turned round" in said

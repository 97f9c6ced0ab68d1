"""Mistakes that a training survives are reported in one line each, and nothing else is."""

import dataclasses

import keras
import numpy as np
import pytest

import train_lstm
from sentiment.errors import SentimentError
from sentiment.runs import sanity_checks
from tests.conftest import assert_one_line
from tests.test_training import OVERFIT


def test_validation_reviews_that_are_training_reviews_are_counted(small_data):
    assert sanity_checks.check_data(small_data) == []
    mixed = [*small_data.x_validation[:80], *small_data.x_train[:16]]
    (problem,) = sanity_checks.check_data(dataclasses.replace(small_data, x_validation=mixed))
    assert problem.startswith("16 of the 96 validation reviews")


def test_an_unused_gpu_is_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(sanity_checks, "Path", lambda _: tmp_path)
    assert sanity_checks.check_device("CPU: a processor, 2 cores") == []
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    assert sanity_checks.check_device("gpu:0") == []
    (problem,) = sanity_checks.check_device("CPU: a processor, 2 cores")
    assert "GPU" in problem and keras.backend.backend() in problem


def test_word_ids_beyond_the_vocabulary_are_an_error(small_data, train, tmp_path):
    vars(small_data)["vocabulary"] = [*small_data.vocabulary, "another"]
    with pytest.raises(SentimentError, match="VOCABULARY_SIZE") as raised:
        train(train_lstm, "--vocabulary-size=10000")
    assert_one_line(raised.value)
    assert str(raised.value).count("10,000") == 2  # the largest id and the size
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("first", "loss", "is_wrong"),
    [
        (0.7, 0.7, False),
        (0.7, 2.9, False),
        (0.7, 3.1, True),
        (0.7, float("nan"), True),
        (float("nan"), float("nan"), True),
        (40.7, 41.5, False),  # with a penalty on the weights
        (40.7, 44.5, True),
    ],
)
def test_a_loss_that_is_nan_or_diverges_is_reported(first, loss, is_wrong):
    assert bool(sanity_checks.check_loss(loss, first)) == is_wrong


@pytest.mark.parametrize(
    ("positive", "accuracy", "validation", "reported"),
    [
        (0.5, 0.9, 0.85, None),
        (0.5, 0.56, 0.5, None),
        (0.5, 0.54, 0.52, "52.0%"),
        (0.5, 0.9, 0.2, "swapped"),
        (0.5, 0.52, 0.4, "swapped"),
        # A network that always predicts the more frequent label.
        (0.75, 0.75, 0.75, "always predicting positive"),
        (0.25, 0.74, 0.75, "always predicting negative"),
        (0.75, 0.85, 0.82, None),
        (0.05, 0.96, 0.96, None),
    ],
)
def test_accuracy_at_chance_level_and_swapped_labels_are_reported(
    positive, accuracy, validation, reported
):
    labels = np.arange(2_000) < 2_000 * positive
    row = {"accuracy": accuracy, "val_accuracy": validation}
    problems = sanity_checks.check_epoch(row, labels)
    assert len(problems) == (reported is not None)
    assert all(reported in problem for problem in problems)


def test_few_validation_reviews_may_be_wrong_by_chance():
    row = {"accuracy": 0.7, "val_accuracy": 0.4}
    assert sanity_checks.check_epoch(row, np.arange(20) % 2) == []
    assert sanity_checks.check_epoch({**row, "val_accuracy": 0.1}, np.arange(20) % 2)


@pytest.mark.slow
def test_warnings_appear_in_the_output_of_a_training(small_data, train, capsys):
    small_data.x_validation.tokens[:] = small_data.x_train.tokens
    small_data.x_validation.offsets[:] = small_data.x_train.offsets
    small_data.y_validation[:] = 1 - small_data.y_train
    train(train_lstm, *OVERFIT)
    lines = capsys.readouterr().out.splitlines()
    warnings = [line for line in lines if line.startswith("Warning: ")]
    assert "96 of the 96 validation reviews" in warnings[0]
    assert "swapped" in warnings[-1]

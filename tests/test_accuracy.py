"""Recipes are compared on training reviews alone."""

import sys

import numpy as np
import pytest

import train_lstm
from benchmarks import accuracy


def test_folds_are_disjoint_and_hold_training_reviews_only(data, monkeypatch):
    monkeypatch.setattr(accuracy, "load_data", lambda *_: data)
    # Reviews are told apart by their positions: some have the same text.
    place_of = {position: i for i, position in enumerate(data.x_train.positions)}
    tested = []
    for fold in range(accuracy.FOLDS):
        part = accuracy.load_fold(fold, "imdb-package", 10_000, 500)
        train = [place_of[position] for position in part.x_train.positions]
        test = [place_of[position] for position in part.x_test.positions]
        assert sorted(train + test) == list(range(len(data.x_train)))
        assert np.array_equal(part.y_train, data.y_train[train])
        assert np.array_equal(part.y_test, data.y_train[test])
        assert part.x_validation is data.x_validation
        tested += test
    assert len(set(tested)) == len(tested) == accuracy.FOLDS * accuracy.LEFT_OUT_REVIEWS


@pytest.mark.parametrize("runs", [3, 5])
def test_each_run_has_its_own_seed_and_the_next_fold(runs, monkeypatch, tmp_path):
    started = []
    monkeypatch.setenv("SENTIMENT_MODELS", str(tmp_path))
    monkeypatch.setattr(accuracy, "load_fold", lambda fold, *_: fold)
    monkeypatch.setattr(train_lstm, "load_data", None)
    monkeypatch.setattr(
        train_lstm, "main", lambda options: started.append((train_lstm.load_data(), options))
    )
    command = ["accuracy.py", "train_lstm.py", f"--runs={runs}", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", command)
    accuracy.main()
    folds, commands = zip(*started, strict=True)
    assert folds == tuple(i % accuracy.FOLDS for i in range(runs))
    seeds = [command[command.index("--seed") + 1] for command in commands]
    assert len(set(seeds)) == runs
    assert all(command[:2] == ["--epochs", "1"] for command in commands)

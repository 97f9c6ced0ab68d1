"""Recipes are compared on training reviews alone."""

from benchmarks import accuracy

import numpy as np


def test_folds_are_trained_and_tested_on_training_reviews_each_on_its_own(data, monkeypatch):
    monkeypatch.setattr(accuracy, "load_data", lambda *_: data)
    # Reviews are told apart by where they stand: some are worth the same.
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

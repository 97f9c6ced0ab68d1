"""The pairs of benchmarks/negations.csv are complete, and no text counts twice."""

import csv
from collections import Counter

import numpy as np
import pandas
import pytest

from benchmarks.short_texts import PAIRS, measure_negations


def test_every_kind_has_enough_pairs_of_unique_texts():
    with PAIRS.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["kind", "positive", "negative"]
    assert all(len(row) == 3 for row in rows)
    assert len(rows) >= 200
    counts = Counter(kind for kind, _, _ in rows)
    assert min(counts.values()) >= 20, counts
    texts = [text.strip().lower() for _, *pair in rows for text in pair]
    assert all(texts)
    assert len(set(texts)) == len(texts)


def test_shares_are_of_correct_predictions():
    pairs = pandas.DataFrame(
        {"kind": ["a", "a", "b"], "positive": ["p"] * 3, "negative": ["p", "n", "n"]}
    )
    table = measure_negations(lambda texts: np.array([text == "p" for text in texts], float), pairs)
    assert table["pairs"].to_dict() == {"a": 2, "b": 1, "all": 3}
    assert table["positive"].to_dict() == {"a": 1, "b": 1, "all": 1}
    assert table["negative"].to_dict() == pytest.approx({"a": 1 / 2, "b": 1, "all": 2 / 3})
    assert table["both"].to_dict() == pytest.approx({"a": 1 / 2, "b": 1, "all": 2 / 3})

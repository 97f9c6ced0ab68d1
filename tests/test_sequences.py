"""Many reviews in one array are the sequences that they were made of, padded as Keras pads."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from sentiment.data.batches import Batches
from sentiment.data.sequences import concatenate, subsample
from sentiment.data.tokenizer import PADDING_ID

SEQUENCES = [np.arange(i % 7 + 1, dtype=np.int32) + i + 1 for i in range(50)]


def test_concatenated_sequences_are_the_original_ones():
    reviews = concatenate(SEQUENCES)
    chosen = reviews.take(np.array([3, 30, 4]))
    for found, position in zip(chosen, (3, 30, 4), strict=True):
        np.testing.assert_array_equal(found, SEQUENCES[position], strict=True)
    assert chosen.lengths.tolist() == [4, 3, 5]
    assert len(np.unique(reviews.hashes)) == 50 and reviews[10:12].hashes is reviews.hashes
    for batches in zip(Batches(reviews, None, 8), Batches(SEQUENCES, None, 8), strict=True):
        np.testing.assert_array_equal(*(x for (x,) in batches))


@pytest.mark.parametrize("padding", ["post", "pre"])
@pytest.mark.parametrize("maximum_tokens", [None, 4])
def test_reviews_are_padded_and_truncated_as_keras_does(padding, maximum_tokens):
    ids = np.random.default_rng(0).permutation(99).astype(np.int32) + 1
    ids[PADDING_ID] = PADDING_ID
    reviews = replace(concatenate(SEQUENCES), id_of_token=ids, maximum_tokens=maximum_tokens)
    chosen = np.array([6, 49, 3])
    for length in (3, 9):
        expected = keras.utils.pad_sequences(
            [ids[SEQUENCES[i]][-(maximum_tokens or 9) :] for i in chosen],
            maxlen=length,
            padding=padding,
        )
        found = reviews.pad(chosen, length, padding)
        np.testing.assert_array_equal(found, expected, strict=True)


def test_a_subsample_is_evenly_spaced():
    assert subsample("abc", 3) == ["a", "b", "c"]
    assert subsample(range(1_001), 3) == [0, 500, 1_000]

"""Each epoch has every review once, in batches that are padded no further than they need."""

import keras
import numpy as np
import pytest

from sentiment.data import make_batches
from sentiment.data.batches import Batches, predict_in_batches

SEQUENCES = [np.arange(1, length + 1, dtype=np.int32) for length in [3, 9, 1, 9, 4, 7, 2, 5, 9, 6]]
LABELS = np.arange(len(SEQUENCES))  # each label names its review


def read_epoch(batches):
    return [batches[i] for i in range(len(batches))]


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_every_review_comes_once_an_epoch_with_its_label(seed, batch_size):
    batches = Batches(SEQUENCES, LABELS, batch_size, seed)
    for _ in range(2):
        seen = []
        for x, y in read_epoch(batches):
            assert x.dtype == np.int32 and y.dtype == np.float32
            for ids, label in zip(x, y, strict=True):
                review = SEQUENCES[int(label)]
                np.testing.assert_array_equal(ids[: len(review)], review)
                assert not ids[len(review) :].any()
                seen.append(label)
        assert sorted(seen) == LABELS.tolist()
        batches.on_epoch_end()


def test_epochs_are_shuffled_by_seed_and_epoch():
    def orders(seed, initial_epoch=0):
        batches = Batches(SEQUENCES, LABELS, 2, seed, initial_epoch=initial_epoch)
        for _ in range(3):
            yield tuple(np.concatenate([y for _, y in read_epoch(batches)]))
            batches.on_epoch_end()

    assert list(orders(5)) == list(orders(5))
    assert len(set(orders(5))) == 3
    assert list(orders(5)) != list(orders(6))
    assert len(set(orders(None))) == 1
    assert list(orders(5, initial_epoch=1))[:2] == list(orders(5))[1:]  # so a run can be resumed


def test_reviews_of_similar_length_share_a_batch(data):
    batches = Batches(data.x_train, data.y_train, 64, shuffle_seed=0)
    positions = sum(x.size for x, _ in read_epoch(batches))
    most = 1.2 if keras.backend.backend() == "jax" else 1.05
    assert positions < most * sum(map(len, data.x_train))


def test_first_two_batches_differ_in_length():
    # On TensorFlow, Keras requires of every batch what these have in common.
    batches = Batches([np.ones(5, np.int32)] * 6 + [np.ones(2, np.int32)] * 2, np.zeros(8), 3)
    batches.batches = [np.arange(3), np.arange(3, 6), np.arange(6, 8)]
    assert [x.shape[1] for x, _ in read_epoch(batches)] == [6, 5, 2]


def test_a_backend_that_compiles_each_length_gets_few(data, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    batches = Batches(data.x_train, data.y_train, 64, shuffle_seed=0)
    for _ in range(2):
        shapes = [x.shape for x, _ in read_epoch(batches)]
        assert len({tokens for _, tokens in shapes}) <= 8
        assert sum(rows * tokens for rows, tokens in shapes) < 1.25 * sum(map(len, data.x_train))
        batches.on_epoch_end()
    lengths = set()
    for longest in range(129, 513, 16):
        sequences = [np.ones(length, np.int32) for length in range(1, longest + 1)]
        lengths |= {x.shape[1] for (x,) in Batches(sequences, None, 1)}
    assert len(lengths) <= 12


def test_predictions_are_in_the_order_of_the_reviews():
    word_ids = keras.Input((None,), dtype="int32")
    model = keras.Model(word_ids, keras.ops.sum(word_ids, axis=1, keepdims=True))
    for padded_length in (None, 12):
        sums = predict_in_batches(model.predict_on_batch, SEQUENCES, 3, padded_length)
        assert sums.tolist() == [[sequence.sum()] for sequence in SEQUENCES]


def test_pre_padding_gives_every_review_the_same_length():
    batches = Batches(SEQUENCES, LABELS, 4, shuffle_seed=1, padded_length=12)
    for x, y in read_epoch(batches):
        assert x.shape[1] == 12
        for ids, label in zip(x, y, strict=True):
            review = SEQUENCES[int(label)]
            np.testing.assert_array_equal(ids[-len(review) :], review)
            assert not ids[: -len(review)].any()


@pytest.mark.parametrize("padding", ["post", "pre"])
def test_make_batches_gives_each_set_its_batches(small_data, padding):
    sets = make_batches(small_data, 10, padding, seed=3, initial_epoch=1)
    for name, batches in zip(("train", "validation", "test"), sets, strict=True):
        x, y = getattr(small_data, f"x_{name}"), getattr(small_data, f"y_{name}")
        found = [pair for rows in read_epoch(batches) for pair in zip(*rows, strict=True)]
        found = [(ids[ids > 0].tolist(), label) for ids, label in found]
        assert sorted(found) == sorted(zip((ids.tolist() for ids in x), y, strict=True))
        lengths = {ids.shape[1] for ids, _ in read_epoch(batches)}
        assert (lengths == {small_data.maximum_tokens}) == (padding == "pre")
        first = batches.batches
        batches.on_epoch_end()
        is_same = all(map(np.array_equal, first, batches.batches))
        assert is_same == (name != "train")
    length = small_data.maximum_tokens if padding == "pre" else None
    expected = Batches(small_data.x_train, small_data.y_train, 10, 3, length, initial_epoch=2)
    assert all(map(np.array_equal, sets[0].batches, expected.batches))


@pytest.mark.parametrize("devices", [1, 3])
def test_each_review_keeps_its_sample_weight(devices, monkeypatch):
    monkeypatch.setattr("sentiment.data.batches.device_count", lambda: devices)
    own_weights = np.arange(1, len(SEQUENCES) + 1, dtype=np.float32)
    weighted = Batches(SEQUENCES, LABELS, 4, shuffle_seed=1, sample_weights=own_weights)
    plain = Batches(SEQUENCES, LABELS, 4, shuffle_seed=1)
    for index in range(len(weighted)):
        x, y, weights = weighted[index]
        assert weights.dtype == np.float32
        np.testing.assert_array_equal(x, plain[index][0])
        of_devices = plain[index][2] if devices > 1 else 1
        np.testing.assert_allclose(weights, own_weights[y.astype(int)] * of_devices)
    with pytest.raises(ValueError, match="weights"):
        Batches(SEQUENCES, LABELS, 4, sample_weights=own_weights[1:])

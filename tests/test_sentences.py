"""One-sentence reviews as a further source: their split, their ids, and how they are measured."""

import dataclasses
import json

import numpy as np
import pytest

import train_lstm
from sentiment.data import load_data
from sentiment.data.imdb import read_package
from sentiment.data.tokenizer import OOV_ID, encode, normalize, tokenize
from sentiment.errors import SentimentError
from sentiment.inference import load_predictor
from sentiment.runs.measurement import choose_unsure
from tests.conftest import assert_one_line
from tests.test_files import write_csv

SUBSETS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def with_sentences():
    return load_data("imdb-package", 10_000, 500, sentence_weight=3.0)


def find_texts(sentences, subset):
    texts, labels = read_package("sentences")
    positions = getattr(sentences, f"x_{subset}").positions
    # In data with sentences the training set begins with the other reviews.
    return [texts[i] for i in positions], labels[positions]


def test_sentences_have_fixed_sets_that_share_none(with_sentences):
    sentences = with_sentences.sentences
    assert [len(getattr(sentences, f"x_{subset}")) for subset in SUBSETS] == [6_530, 500, 1_500]
    sets = []
    for subset in SUBSETS:
        texts, labels = find_texts(sentences, subset)
        np.testing.assert_array_equal(getattr(sentences, f"y_{subset}"), labels)
        sets.append({" ".join(tokenize(normalize(text))) for text in texts})
    train, validation, test = sets
    assert not (train & validation or train & test or validation & test)
    assert sentences.y_validation.mean() == sentences.y_test.mean() == 0.5
    alone = load_data("sentences", 10_000, 500)
    for subset in SUBSETS:
        positions = getattr(sentences, f"x_{subset}").positions
        assert set(getattr(alone, f"x_{subset}").positions) == set(positions)


def test_sentences_are_added_to_the_training_set_only(data, with_sentences):
    assert with_sentences.vocabulary == data.vocabulary
    assert len(with_sentences.x_train) == 17_500 + 6_530
    for subset in SUBSETS:
        for i in (0, len(getattr(data, f"x_{subset}")) - 1):
            old, new = (getattr(those, f"x_{subset}")[i] for those in (data, with_sentences))
            np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(with_sentences.x_validation.lengths, data.x_validation.lengths)
    np.testing.assert_array_equal(with_sentences.x_test.lengths, data.x_test.lengths)
    assert data.fingerprint != with_sentences.fingerprint


def test_sentences_are_encoded_as_predictions_are(with_sentences):
    word_ids = {word: i for i, word in enumerate(with_sentences.vocabulary)}
    added = with_sentences.x_train[17_500:]
    texts, _ = find_texts(with_sentences.sentences, "train")
    for sequence, text in zip(added, texts, strict=True):
        assert sequence.tolist() == encode(text, word_ids).tolist()
    padded = with_sentences.x_train.pad(np.array([17_499, 17_500, 24_029]), 500)
    for row, i in zip(padded, (17_499, 17_500, 24_029), strict=True):
        sequence = with_sentences.x_train[i]
        assert row[: len(sequence)].tolist() == sequence.tolist()
        assert not row[len(sequence) :].any()


def test_sentences_are_added_to_a_users_own_reviews(tmp_path):
    texts, labels = read_package("sentences")
    # Some of these sentences are the user's own, too.
    path, own_texts = tmp_path / "own.csv", [*texts[:150], *texts[-150:]]
    write_csv(path, own_texts, [*labels[:150], *labels[-150:]])
    own = load_data(str(path), 500, 40)
    data = load_data(str(path), 500, 40, sentence_weight=3.0)
    assert data.vocabulary == own.vocabulary
    assert len(data.sentences.x_test) < 1_500
    seen = {" ".join(tokenize(normalize(text))) for text in own_texts}
    for subset in SUBSETS:
        found, _ = find_texts(data.sentences, subset)
        assert not seen & {" ".join(tokenize(normalize(text))) for text in found}
    word_ids = {word: i for i, word in enumerate(data.vocabulary)}
    found, _ = find_texts(data.sentences, "test")
    for sequence, text in zip(data.sentences.x_test, found, strict=True):
        assert sequence.tolist() == encode(text, word_ids)[-40:].tolist()
    assert any(OOV_ID in sequence for sequence in data.sentences.x_test)


def test_data_that_has_all_sentences_is_one_line(tmp_path):
    path = tmp_path / "own.csv"
    write_csv(path, *read_package("sentences"))
    with pytest.raises(SentimentError, match="SENTENCE_WEIGHT to 0") as error:
        load_data(str(path), 500, 40, sentence_weight=1.0)
    assert_one_line(error.value)


def test_sentences_need_the_words_of_the_data(tmp_path):
    rows = np.empty(40, dtype=object)
    rows[:] = [[1, i + 4] for i in range(40)]
    labels = np.arange(40) % 2
    path = tmp_path / "ids.npz"
    np.savez(path, x_train=rows, y_train=labels, x_test=rows[:0], y_test=labels[:0])
    for source in (str(path), "sentences"):
        with pytest.raises(SentimentError, match="SENTENCE_WEIGHT") as error:
            load_data(source, 100, 10, sentence_weight=3.0)
        assert_one_line(error.value)


def test_a_run_with_sentences_is_measured_on_them(train, averages, with_sentences):
    sentences = with_sentences.sentences
    few = dataclasses.replace(
        sentences,
        **{f"x_{name}": getattr(sentences, f"x_{name}")[::4] for name in SUBSETS},
        **{f"y_{name}": getattr(sentences, f"y_{name}")[::4] for name in SUBSETS},
    )
    data = train.data.__dict__
    data["x_train"] = train.data.x_train.join(few.x_train)
    data["y_train"] = np.append(train.data.y_train, few.y_train)
    data["sentences"] = few
    folder = train(train_lstm, "--sentence-weight=2", "--epochs=1") / "lstm"
    record = json.loads((folder / "run.json").read_text())
    predictor = load_predictor(folder)
    for name in ("validation", "test"):
        x, y = getattr(few, f"x_{name}"), getattr(few, f"y_{name}")
        probabilities = predictor.predict_sequences(x)
        expected = np.mean((probabilities > 0.5) == (y == 1))
        assert record["sentences"][name]["accuracy"] == pytest.approx(expected)
        losses = np.where(y == 1, probabilities, 1 - probabilities)
        assert record["sentences"][name]["loss"] == pytest.approx(-np.log(losses).mean(), rel=1e-4)
    assert record["data"]["sentences"]["validation"] == 125
    assert predictor.unsure == record["unsure"]
    folder = train(train_lstm, "--sentence-weight=2", "--epochs=1", "--no-test") / "lstm-2"
    assert json.loads((folder / "run.json").read_text())["sentences"]["test"] is None


def test_unsure_predictions_are_the_ones_that_are_often_wrong():
    generator = np.random.default_rng(0)
    probabilities = generator.random(10_000)
    labels = (generator.random(10_000) < probabilities).astype(float)  # perfectly calibrated
    lengths = generator.integers(4, 9, 10_000)
    unsure = choose_unsure(probabilities, labels, lengths)
    assert unsure["words"] == 3  # with the start token, the shortest review has 4 ids
    is_unsure = np.abs(probabilities - 0.5) < unsure["margin"]
    is_right = (probabilities > 0.5) == (labels == 1)
    assert is_right[is_unsure].mean() == pytest.approx(2 / 3, abs=0.01) or is_unsure.mean() > 0.27
    assert is_unsure.mean() <= 0.3
    perfect = choose_unsure(labels, labels, lengths)
    assert perfect["margin"] == 0
    few = choose_unsure(probabilities[:20], labels[:20], lengths[:20])
    assert 0 < few["margin"] < 0.5

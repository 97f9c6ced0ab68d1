"""A run is evaluated on its own reviews, or on others exactly as it would read them."""

import dataclasses
import functools
import json
import shutil

import numpy as np
import pytest

from sentiment.data import load_data
from sentiment.data.imdb import read_package
from sentiment.data.texts import read_texts
from sentiment.data.tokenizer import OOV_ID, encode_corpus, lookup, normalize, tokenize
from sentiment.errors import SentimentError
from sentiment.evaluation import find_mistakes, have_same_reviews, load_reviews
from sentiment.inference import load_predictor
from tests.conftest import PROJECT, assert_one_line
from tests.test_files import write_csv, write_folder

BUNDLED = PROJECT / "models"
NEW = [
    f"Seen {i} times, and {'wonderful' if i % 2 else 'awful'} again! Qwertzuiop {'word ' * 9 * i}"
    for i in range(60)
]
LABELS = np.arange(60) % 2


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch, loaded_package):
    monkeypatch.chdir(tmp_path)


load_once = functools.cache(load_predictor)


@pytest.fixture
def lstm(_in_empty_folder):
    return load_once(BUNDLED / "lstm")


@pytest.fixture
def edit_run(tmp_path):
    """A function that copies a bundled run, changes its record, and loads it."""

    def edit(constants=None, **changes):
        folder = shutil.copytree(BUNDLED / "lstm", tmp_path / "models" / "edited")
        record = json.loads((folder / "run.json").read_text())
        record["constants"] |= constants or {}
        for name, values in changes.items():
            record[name] = {**record.get(name, {}), **values}
        (folder / "run.json").write_text(json.dumps(record))
        return load_predictor("edited")

    return edit


def assert_fails(predictor, *arguments, match):
    with pytest.raises(SentimentError, match=match) as raised:
        load_reviews(predictor, *arguments)
    assert_one_line(raised.value)


def is_encoded_as_typed(text, predictor):
    """Return whether a review of IMDB has Keras' ids in a prediction, too."""
    words = tokenize(text)
    ids = predictor.word_ids
    return tokenize(normalize(text)) == words and all(
        lookup(word, ids) == ids.get(word, OOV_ID) for word in words
    )


def write_npz(path, texts, labels):
    sequences, vocabulary = encode_corpus(texts)
    ranks = np.empty(len(texts), dtype=object)
    ranks[:] = [(sequence[1:] - 3).tolist() for sequence in sequences]
    nothing = np.empty(0, dtype=object)
    np.savez(path, x_train=ranks, y_train=labels, x_test=nothing, y_test=np.empty(0, dtype=int))
    return {word: rank for rank, word in enumerate(vocabulary[4:], 1)}


def test_the_run_has_its_recorded_accuracy_on_its_own_validation_set(lstm, data):
    reviews = load_reviews(lstm)
    assert len(reviews.sequences) == len(reviews.labels) == len(data.x_validation)
    probabilities = lstm.predict_sequences(reviews.sequences)
    recorded = json.loads((BUNDLED / "lstm" / "run.json").read_text())["validation"]["accuracy"]
    accuracy = np.mean((probabilities > 0.5) == reviews.labels)
    assert accuracy == pytest.approx(recorded, abs=1e-3)

    mistakes = find_mistakes(reviews, probabilities)
    assert len(mistakes) == round((1 - accuracy) * len(reviews.labels))
    confidence = (mistakes["probability"] - 0.5).abs()
    assert confidence.is_monotonic_decreasing
    assert ((mistakes["probability"] > 0.5) == (mistakes["label"] == "negative")).all()
    texts, labels = read_package()
    label_of = dict(zip(texts, labels, strict=True))
    checked = 0
    for row in mistakes[:50].itertuples():
        assert label_of[row.text] == (row.label == "positive")
        if is_encoded_as_typed(row.text, lstm):
            encoded = lstm.encode(row.text)
            assert row.tokens >= len(encoded) and (row.tokens > 500 or row.tokens == len(encoded))
            assert lstm.predict([row.text])[0] == pytest.approx(row.probability, abs=1e-4)
            checked += 1
    assert checked > 20


def test_the_test_set_is_the_one_of_the_training(lstm, data):
    reviews = load_reviews(lstm, "test")
    np.testing.assert_array_equal(reviews.labels, data.y_test)
    assert all(map(np.array_equal, reviews.sequences, data.x_test))
    assert not have_same_reviews(reviews, load_reviews(lstm))
    assert have_same_reviews(reviews, load_reviews(lstm, "test"))


def test_auto_is_what_was_loaded_then(edit_run, data):
    reviews = load_reviews(edit_run({"DATA": "auto"}))
    assert reviews.source == "imdb-package"
    assert all(map(np.array_equal, reviews.sequences, data.x_validation))


def test_reviews_that_are_not_those_of_the_training_are_refused(edit_run, tmp_path):
    assert_fails(edit_run(sha256={"data": "0" * 64}), match="not the ones that the run .*edited")
    shutil.rmtree(tmp_path / "models")
    write_csv(tmp_path / "own.csv", NEW, LABELS)
    edited = edit_run({"DATA": "own.csv"}, data={"source": "own.csv"}, sha256={"data": ""})
    assert_fails(edited, match="not the ones that the run .*edited")
    (tmp_path / "own.csv").unlink()
    assert_fails(edited, "test", match="own.csv.*No such file")


@pytest.mark.parametrize(
    "kind", ["csv", "folder", "npz", pytest.param("imdb-package", marks=pytest.mark.extended)]
)
def test_other_reviews_are_encoded_as_a_prediction_encodes_them(lstm, tmp_path, kind):
    source = {"csv": "own.csv", "folder": "own", "npz": "own.npz"}.get(kind, kind)
    if kind == "csv":
        rows = [row for text in NEW for row in (text, " ")]
        write_csv(tmp_path / source, rows, np.repeat(LABELS, 2))
    elif kind == "folder":
        write_folder(tmp_path / source, NEW, LABELS)
    elif kind == "npz":
        words = write_npz(tmp_path / source, NEW, LABELS)
        (tmp_path / "imdb_word_index.json").write_text(json.dumps(words))
    reviews = load_reviews(lstm, "all", source)
    texts = read_texts(source, reviews.sequences)
    if kind != "imdb-package":
        assert len(texts) == len(NEW)
        positive = ["wonderful" in text for text in texts]
        np.testing.assert_array_equal(reviews.labels, positive)
    for text, sequence in zip(texts[::9], reviews.sequences[::9], strict=True):
        if kind != "imdb-package" or is_encoded_as_typed(text, lstm):
            np.testing.assert_array_equal(sequence, lstm.encode(text))
    assert (reviews.tokens >= reviews.sequences.lengths).all() and reviews.tokens.max() > 500


def test_reviews_that_the_run_was_trained_on_are_left_out(lstm, data, tmp_path, capsys):
    texts = read_package()[0]
    chosen = slice(None, None, 440)  # 40 of them
    trained, labels = [texts[i] for i in data.x_train.positions[chosen]], data.y_train[chosen]
    write_csv(tmp_path / "both.csv", [*NEW, *trained], [*LABELS, *labels])
    reviews = load_reviews(lstm, "all", "both.csv")
    assert read_texts("both.csv", reviews.sequences) == NEW
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "left out" in line)
    assert "40 reviews" in line
    write_csv(tmp_path / "trained.csv", trained, labels)
    assert_fails(lstm, "all", "trained.csv", match="trained on all reviews of trained.csv")


def test_a_validation_set_that_the_run_was_trained_on_is_refused(edit_run, data, tmp_path, capsys):
    texts = read_package()[0]
    chosen = data.x_validation.positions[::50]  # 50 of them
    labels = data.y_validation[::50]
    write_csv(tmp_path / "both.csv", [*NEW, *(texts[i] for i in chosen)], [*LABELS, *labels])
    refit = edit_run(refit={"training": 20_000, "epochs": 2, "accuracy": 0.9, "loss": 0.3})
    assert_fails(refit, match="validation set.*--split test")
    np.testing.assert_array_equal(load_reviews(refit, "test").labels, data.y_test)
    reviews = load_reviews(refit, "all", "both.csv")
    assert read_texts("both.csv", reviews.sequences) == NEW
    assert_fails(refit, "validation", "imdb-package", match="trained on all reviews")


def train_on_file(edit_run, vocabulary_size, maximum_tokens):
    """Return a run as if it had been trained on own.csv, and its data."""
    data = load_data("own.csv", vocabulary_size, maximum_tokens)
    edited = edit_run(
        {"DATA": "own.csv", "SENTENCE_WEIGHT": 0},
        data={"source": "own.csv"},
        sha256={"data": data.fingerprint},
    )
    word_ids = {word: i for i, word in enumerate(data.vocabulary)}
    return dataclasses.replace(edited, word_ids=word_ids, maximum_tokens=maximum_tokens), data


def test_reviews_of_its_own_source_are_left_out_whatever_else_looks_the_same(
    edit_run, tmp_path, capsys
):
    """With a few tokens and words, most reviews look the same to a network."""
    texts, labels = [f"{text} It was good." for text in NEW * 2], np.tile(LABELS, 2)
    texts = [f"{i} {text}" for i, text in enumerate(texts)]
    write_csv(tmp_path / "own.csv", texts, labels)
    predictor, data = train_on_file(edit_run, 20, 4)
    assert len(load_reviews(predictor, "all", "own.csv").labels) == len(texts) - len(data.x_train)


@pytest.mark.extended
def test_reviews_of_imdb_that_were_in_a_file_are_left_out(edit_run, tmp_path, capsys):
    write_csv(tmp_path / "own.csv", *(column[::100] for column in read_package()))
    predictor, data = train_on_file(edit_run, 10_000, 500)
    reviews = load_reviews(predictor, "all", "imdb-package")
    trained = {*read_texts("own.csv", data.x_train)}
    assert trained.isdisjoint(read_texts("imdb-package", reviews.sequences))
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "left out" in line)
    assert f"{len(trained)} reviews" in line


def test_training_reviews_that_can_not_be_left_out_are_refused(edit_run, monkeypatch, data):
    def load(source, *_, **__):
        if source == "imdb":
            raise SentimentError("no connection")
        return data

    monkeypatch.setattr("sentiment.evaluation.load_data", load)
    edited = edit_run(data={"source": "keras.datasets.imdb"})
    assert_fails(edited, "all", "imdb-package", match="trained on some of these reviews")


def test_a_few_reviews_of_one_label_are_enough(lstm, tmp_path):
    write_csv(tmp_path / "own.csv", ["A good film.", "A dull film."], [1, 1])
    reviews = load_reviews(lstm, "all", "own.csv")
    assert list(reviews.labels) == [1, 1]


def test_a_line_says_that_it_cannot_be_checked(edit_run, tmp_path, capsys):
    write_csv(tmp_path / "own.csv", NEW, LABELS)
    edited = edit_run({"DATA": "gone.csv"}, data={"source": "gone.csv"})
    assert len(load_reviews(edited, "all", "own.csv").labels) == len(NEW)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "can't check" in line)
    assert "gone.csv" in line


def test_a_split_of_other_reviews_is_that_of_a_training_on_them(lstm, tmp_path):
    write_csv(tmp_path / "own.csv", NEW, LABELS)
    data = load_data("own.csv", 1_000, 100)
    for split, x in (("validation", data.x_validation), ("test", data.x_test)):
        reviews = load_reviews(lstm, split, "own.csv")
        np.testing.assert_array_equal(reviews.sequences.positions, x.positions)


def test_ids_without_words_are_one_line(lstm, tmp_path):
    write_npz(tmp_path / "ids.npz", NEW, LABELS)
    assert_fails(lstm, "all", "ids.npz", match="ids.npz.*imdb_word_index.json")


def test_no_mistakes(lstm, tmp_path):
    write_csv(tmp_path / "own.csv", NEW, LABELS)
    reviews = load_reviews(lstm, "all", "own.csv")
    mistakes = find_mistakes(reviews, reviews.labels)
    assert list(mistakes) == ["text", "label", "probability", "tokens"] and not len(mistakes)

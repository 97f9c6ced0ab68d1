"""Initial weights are as the docstrings describe them."""

import gzip
from dataclasses import dataclass

import keras
import numpy as np
import pytest

from sentiment.data.tokenizer import SPECIAL_TOKENS
from sentiment.errors import SentimentError
from sentiment.layers import LSTM, initializers, set_chrono_bias, set_word_vectors
from sentiment.layers.initializers import ppmi_word_vectors
from tests.conftest import assert_one_line


def make_reviews(count=40, longest=30, vocabulary_size=25):
    generator = np.random.default_rng(0)
    return [
        generator.integers(1, vocabulary_size, generator.integers(1, longest)).astype(np.int32)
        for _ in range(count)
    ]


def compute_ppmi(sequences, vocabulary_size):
    """Positive pointwise mutual information, pair by pair."""
    counts = np.zeros((vocabulary_size, vocabulary_size))
    for sequence in sequences:
        for i, word in enumerate(sequence):
            for j, context in enumerate(sequence):
                if 0 < abs(i - j) <= initializers.WINDOW and min(word, context) > 3:
                    counts[word, context] += 1 / abs(i - j)
    frequencies = counts.sum(axis=0) ** initializers.SMOOTHING
    frequencies /= frequencies.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(counts / (counts.sum(axis=1, keepdims=True) * frequencies))
    return np.where(counts > 0, np.maximum(information, 0), 0)


def test_word_vectors_are_singular_vectors_of_the_ppmi():
    reviews = make_reviews()
    left, values, _ = np.linalg.svd(compute_ppmi(reviews, 25))
    expected = left[:, :6] * np.sqrt(values[:6])
    expected *= initializers.SCALE / np.sqrt(np.mean(expected**2))
    vectors = ppmi_word_vectors(reviews, 25, 6)
    # A singular vector may point either way, so products of words are compared.
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-4)


def test_word_vectors_are_computed_once_for_the_same_data(monkeypatch, tmp_path):
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "cache"))
    computed = []

    def compute(sequences, *sizes):
        computed.append(sizes)
        return ppmi_word_vectors(sequences, *sizes)

    monkeypatch.setattr(initializers, "ppmi_word_vectors", compute)

    def start(fingerprint, dimension=6):
        embedding = keras.layers.Embedding(30, dimension)
        model = keras.Sequential([keras.Input((None,), dtype="int32"), embedding])
        set_word_vectors(model, "ppmi", Reviews([], make_reviews(), fingerprint))
        return embedding.get_weights()[0]

    first = start("one")
    np.testing.assert_array_equal(start("one"), first)
    assert len(computed) == 1
    start("two")
    start("one", 4)
    assert len(computed) == 3
    for path in (tmp_path / "cache").glob("*/vectors.npy"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    np.testing.assert_array_equal(start("one"), first)
    assert len(computed) == 4


@pytest.mark.slow
def test_words_with_similar_contexts_get_similar_vectors(data):
    vectors = ppmi_word_vectors(data.x_train, 10_000, 32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-6)
    ids = {word: i for i, word in enumerate(data.vocabulary)}
    good, great, awful, terrible, monday, six = (
        vectors[ids[word]] for word in ("good", "great", "awful", "terrible", "monday", "six")
    )
    assert min(good @ great, awful @ terrible) > max(good @ monday, awful @ six) + 0.2


def test_ids_without_contexts_start_from_zeros(monkeypatch):
    monkeypatch.setattr(initializers, "WORDS", 20)
    vectors = ppmi_word_vectors(make_reviews(), 30, 40)
    assert not vectors[:4].any()  # padding, start, out of vocabulary, unused
    assert not vectors[20:].any()  # too rare
    assert not vectors[:, 20:].any()  # no more dimensions than words
    assert vectors[4:20].any(axis=1).all()
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("reviews", [[[1]], [[1, 4]], [[1, 2, 2]], [[1, 4], [1, 5]]])
def test_reviews_without_co_occurrences_give_zeros(reviews):
    vectors = ppmi_word_vectors([np.array(review, dtype=np.int32) for review in reviews], 6, 4)
    assert vectors.shape == (6, 4) and vectors.dtype == np.float32
    assert not vectors.any()


@dataclass
class Reviews:
    """What `set_word_vectors` reads of a data set."""

    vocabulary: list
    x_train: list
    fingerprint: str = "fingerprint"


def test_every_embedding_of_words_starts_from_word_vectors(capsys):
    word_ids = keras.Input((None,), dtype="int32")
    embeddings = [keras.layers.Embedding(30, 6), keras.layers.Embedding(30, 4, name="wide")]
    positions = keras.layers.Embedding(9, 2, name="positions")
    inner = keras.Sequential([keras.Input((None,), dtype="int32"), embeddings[1]])
    parts = [embeddings[0](word_ids), inner(word_ids), positions(keras.ops.minimum(word_ids, 8))]
    dense = keras.layers.Dense(1)
    model = keras.Model(word_ids, dense(keras.layers.Concatenate()(parts)))
    others = [*dense.get_weights(), *positions.get_weights()]
    set_word_vectors(model, "ppmi", Reviews([""] * 25, make_reviews()))
    for embedding in embeddings:
        expected = ppmi_word_vectors(make_reviews(), embedding.input_dim, embedding.output_dim)
        np.testing.assert_array_equal(embedding.get_weights()[0], expected)
    for weights, unchanged in zip(
        [*dense.get_weights(), *positions.get_weights()], others, strict=True
    ):
        np.testing.assert_array_equal(weights, unchanged)
    (line,) = capsys.readouterr().out.splitlines()
    assert "embedding" in line and "wide" in line and "positions" not in line


VECTORS = {
    "the": [1, 2, 3],
    "Film": [4, 5, 6],
    "film": [7, 8, 9],
    "BAD": [-1, 0, 0.5],
    "x": [0] * 3,
}
WORDS = [*SPECIAL_TOKENS, "the", "film", "bad", "unknown"]


def write_vectors(path, header=""):
    lines = [" ".join(map(str, [word, *vector])) for word, vector in VECTORS.items()]
    text = header + "\n".join(lines) + "\n"
    with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as file:
        file.write(text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "header"), [("glove.txt", ""), ("word2vec.txt", "5 3\n"), ("glove.txt.gz", "")]
)
def test_word_vectors_of_a_file(name, header, tmp_path, capsys):
    path = write_vectors(tmp_path / name, header)
    embedding = keras.layers.Embedding(8, 3)
    model = keras.Sequential([keras.Input((None,), dtype="int32"), embedding])
    (random,) = embedding.get_weights()
    set_word_vectors(model, str(path), Reviews(WORDS, []))
    (vectors,) = embedding.get_weights()
    np.testing.assert_array_equal(vectors[4:7], [[1, 2, 3], [7, 8, 9], [-1, 0, 0.5]])
    np.testing.assert_array_equal(vectors[[0, 1, 2, 3, 7]], random[[0, 1, 2, 3, 7]])
    printed = capsys.readouterr().out
    assert "3 of the 4 words" in printed and "75.0%" in printed


def test_no_word_vectors_leave_the_random_ones():
    model = keras.Sequential([keras.Input((None,), dtype="int32"), keras.layers.Embedding(8, 3)])
    before = model.get_weights()
    set_word_vectors(model, "none", Reviews(WORDS, []))
    np.testing.assert_array_equal(model.get_weights(), before)


@pytest.mark.parametrize(
    ("content", "words", "expected"),
    [
        (b"the 1 2 3 4\n", WORDS, "4 dimensions.* 3.*EMBEDDING_SIZE = 4"),
        (b"9 300\nthe 1 2 3\n", WORDS, "300 dimensions"),
        (b"the 1 2 three\nfilm 4 5 6\n", WORDS, "line 1.*three"),
        (b"the 1 2 nan\n", WORDS, "line 1"),
        (b"the 1 2 3\nfilm 4 5\n", WORDS, "line 2|2 dimensions"),
        (b"\x00\xff\xfe", WORDS, "dimensions"),
        (b"PK\x03\x04 \x00\x01 \xff", WORDS, "not a text file"),
        (b"le 1 2 3\n", WORDS, "no vector for any"),
        (b"the 1 2 3\n", SPECIAL_TOKENS, "no word index"),
        (None, WORDS, "No such file"),
    ],
)
def test_word_vectors_that_can_not_be_used_are_one_line(content, words, expected, tmp_path):
    path = tmp_path / "vectors.txt"
    if content is not None:
        path.write_bytes(content)
    model = keras.Sequential([keras.Input((None,), dtype="int32"), keras.layers.Embedding(8, 3)])
    with pytest.raises(SentimentError, match=expected) as raised:
        set_word_vectors(model, str(path), Reviews(list(words), []))
    assert_one_line(raised.value)


def test_chrono_initialization_finds_every_lstm_and_leaves_others(capsys):
    reviews = keras.Input((None, 4))
    cells = [keras.layers.LSTMCell(3), keras.layers.LSTMCell(3)]
    wrapped = keras.layers.Bidirectional(LSTM(3, return_sequences=True))
    stacked = keras.layers.RNN(cells, return_sequences=True)
    gru = keras.layers.GRU(3, return_sequences=True)
    without_bias = LSTM(3, use_bias=False)
    model = keras.Model(reviews, without_bias(gru(stacked(wrapped(reviews)))))
    unchanged = [*gru.get_weights(), *without_bias.get_weights()]
    set_chrono_bias(model, 50)
    for lstm in (wrapped.forward_layer.cell, wrapped.backward_layer.cell, *cells):
        bias = keras.ops.convert_to_numpy(lstm.bias)
        np.testing.assert_allclose(bias[:6], initializers.chrono_bias(3, 50), rtol=1e-6)
    for weights, before in zip(
        [*gru.get_weights(), *without_bias.get_weights()], unchanged, strict=True
    ):
        np.testing.assert_array_equal(weights, before)
    (line,) = capsys.readouterr().out.splitlines()
    assert "forward_lstm" in line and "backward_lstm" in line and "gru" not in line


@pytest.mark.parametrize("layer", [LSTM, keras.layers.LSTM])
def test_time_constants_of_the_units_are_2_to_timesteps(layer):
    timesteps, steps = 300, 50
    sequences = keras.Input((None, 4))
    lstm = layer(8, return_state=True)
    model = keras.Model(sequences, lstm(sequences))
    recurrent_kernel = lstm.get_weights()[1]
    set_chrono_bias(model, timesteps)
    kernel, unchanged, bias = lstm.get_weights()
    assert np.array_equal(recurrent_kernel, unchanged)
    lstm.set_weights([np.zeros_like(kernel), np.zeros_like(unchanged), bias])
    state = [np.zeros((1, 8), np.float32), np.ones((1, 8), np.float32)]
    cell = lstm(np.zeros((1, steps, 4), np.float32), initial_state=state)[2]
    # Without input, each unit keeps this share of its state with each time step.
    share = 1 - 1 / np.linspace(2, timesteps, 8)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(cell)[0], share**steps, rtol=1e-3)
    input_gate = 1 / (1 + np.exp(-bias[:8]))
    np.testing.assert_allclose(input_gate, 1 - share, rtol=1e-4)

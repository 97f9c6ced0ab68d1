"""Weights that a network starts from: word vectors, chrono initialization, n-grams.

Each function finds the layers that it is for, wherever they are in the network, prints
which ones they are, and leaves all others as they are.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sentiment.console import strip_control_characters
from sentiment.data.cache import build_once
from sentiment.data.dataset import Dataset
from sentiment.data.sequences import subsample
from sentiment.data.tokenizer import SPECIAL_TOKENS
from sentiment.data.word_vectors import read_word_vectors
from sentiment.errors import SentimentError
from sentiment.layers.ngrams import NgramClassifiers

WINDOW = 5  # words on each side that are context; one at distance d counts 1/d
CONTEXT_WORDS = 1_000  # the most frequent words, whose co-occurrences are counted
REVIEWS = 100_000  # reviews that are counted, if there are more
WORDS = 50_000  # words that get a vector: rarer ones have too few contexts
SMOOTHING = 0.75  # exponent of the context words' frequencies; below 1, rare ones weigh less
# Words that negate others; so do all that end in "n't".
NEGATIONS = ("not", "no", "never", "without", "nothing", "nobody", "neither", "nor", "hardly")
PPMI_VERSION = 1  # of what is computed from them; other versions in the cache are ignored
SCALE = 0.1  # root mean square of the vectors, small enough for training to move them


def set_word_vectors(model: keras.Model, source: str, data: Dataset):
    """Start the ``Embedding`` layers that read word ids from word vectors.

    These are the ones with the most ids. Others may be of positions.

    Args:
        model: a built model.
        source: ``"ppmi"``: `ppmi_word_vectors` of the training reviews; ``"none"``: the vectors
            stay random; or the path of a text file, as GloVe and word2vec write it. Words that it
            lacks keep their random vector.
        data: the reviews.

    Raises:
        SentimentError: if a file can't be read, or has vectors of another length.
    """
    if not isinstance(model, keras.Model):
        raise SentimentError(f"build_model() returns {model!r}; it must return a keras.Model")
    if source == "none":
        return
    embeddings = _find_layers(model, keras.layers.Embedding)
    most = max((layer.input_dim for layer in embeddings), default=0)
    layers = [layer for layer in embeddings if layer.input_dim == most]
    for layer in layers:
        if source == "ppmi":
            vectors = _load_ppmi_word_vectors(data, layer.input_dim, layer.output_dim)
        else:
            (vectors,) = layer.get_weights()
            found = read_word_vectors(Path(source), data.vocabulary, layer.output_dim)
            vectors[list(found)] = list(found.values())
        layer.set_weights([vectors])
    _report(f"Word vectors ({source})", layers, model, "WORD_VECTORS")


def _load_ppmi_word_vectors(data: Dataset, vocabulary_size: int, dimension: int) -> np.ndarray:
    """Return `ppmi_word_vectors` of the training reviews; ``cache/`` keeps them."""

    def build(folder: Path):
        np.save(folder / "vectors.npy", compute())

    compute = partial(ppmi_word_vectors, data.x_train, vocabulary_size, dimension)
    name = f"word-vectors-{vocabulary_size}x{dimension}-{data.fingerprint[:8]}"
    fingerprint = [PPMI_VERSION, data.fingerprint, vocabulary_size, dimension]
    try:
        return build_once(name, fingerprint, build, lambda folder: np.load(folder / "vectors.npy"))
    except OSError:
        return compute()


def ppmi_word_vectors(
    sequences: Sequence[np.ndarray], vocabulary_size: int, dimension: int
) -> np.ndarray:
    """Compute word vectors that are similar for words with similar contexts.

    They are the left singular vectors, times the square roots of the singular values, of the
    matrix of positive pointwise mutual information (PPMI) between words and context words (Levy,
    Goldberg and Dagan, 2015, "Improving distributional similarity with lessons learned from word
    embeddings"). Labels play no part in it.

    Args:
        sequences: one array of word ids per review.
        vocabulary_size: number of word ids.
        dimension: length of a vector.

    Returns:
        float32 ``(vocabulary_size, dimension)``. Special ids, words that are too rare or without
        context, and dimensions beyond the rank of the matrix are zero.
    """
    words, contexts = min(vocabulary_size, WORDS), min(vocabulary_size, CONTEXT_WORDS)
    gap = np.zeros(WINDOW, dtype=np.int32)  # the context of a word ends with its review
    chosen = subsample(sequences, REVIEWS)
    ids = np.concatenate([part for sequence in chosen for part in (sequence, gap)])
    counts = np.zeros((words, contexts), dtype=np.float32)
    for distance in range(1, WINDOW + 1):
        before, after = ids[:-distance], ids[distance:]
        for word, context in ((before, after), (after, before)):
            counted = (
                (np.minimum(word, context) >= len(SPECIAL_TOKENS))
                & (word < words)
                & (context < contexts)
            )
            cells = word[counted].astype(np.int64) * contexts + context[counted]
            counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape) / distance

    expected = counts.sum(axis=0) ** SMOOTHING
    expected = counts.sum(axis=1, keepdims=True) * (expected / max(expected.sum(), 1))
    # The logarithm of 1 where nothing was counted: there the PPMI is 0.
    ppmi = np.log(np.divide(counts, expected, out=np.ones_like(counts), where=counts > 0))
    ppmi = np.maximum(ppmi, 0)
    squares, directions = np.linalg.eigh(ppmi.T @ ppmi)
    strongest = [i for i in np.argsort(squares)[::-1][:dimension] if squares[i] > 1e-3]
    found = ppmi @ (directions[:, strongest] / squares[strongest] ** 0.25)

    vectors = np.zeros((vocabulary_size, dimension), dtype=np.float32)
    vectors[:words, : found.shape[1]] = found
    if found.any():
        vectors *= SCALE / np.sqrt(np.mean(found**2))
    return vectors


def set_chrono_bias(model: keras.Model, timesteps: int):
    """Start the LSTM cells of a model with `chrono_bias`, except for those without a bias.

    Args:
        model: a built model.
        timesteps: the longest time constant; 0: the layers stay as they are.
    """
    if not timesteps:
        return
    cells = [cell for cell in _find_layers(model, keras.layers.LSTMCell) if cell.use_bias]
    for cell in cells:
        kernel, recurrent_kernel, bias = cell.get_weights()
        bias[: 2 * cell.units] = chrono_bias(cell.units, timesteps)
        cell.set_weights([kernel, recurrent_kernel, bias])
    _report("Chrono initialization", cells, model, "CHRONO_TIMESTEPS")


def chrono_bias(units: int, timesteps: int) -> np.ndarray:
    """Compute gate biases with which an LSTM's units have time constants of 2 to many time steps.

    Without input, a unit with a time constant of 100 loses a hundredth of its state with each time
    step. Keras' own bias gives every unit about 4 time steps, so that little of a review's
    beginning reaches its end, and little of the gradient its beginning. (Tallec and Ollivier, 2018,
    "Can recurrent neural networks warp time?". There the time constants are drawn at random; here
    they are evenly spaced.)

    Args:
        units: number of hidden units.
        timesteps: the longest time constant; below 2 it counts as 2.

    Returns:
        The biases of the input gates, then those of the forget gates, ``(2 * units,)``.
    """
    forget_bias = np.log(np.linspace(1, max(timesteps - 1, 1), units))
    return np.concatenate([-forget_bias, forget_bias])


def fit_ngram_classifiers(model: keras.Model, data: Dataset):
    """Have the `NgramClassifiers` layers of a model compute their weights from the training set."""
    layers = _find_layers(model, NgramClassifiers)
    negations = [
        i for i, word in enumerate(data.vocabulary) if word in NEGATIONS or word.endswith("n't")
    ]
    for layer in layers:
        layer.adapt(data.x_train, data.y_train, data.sample_weights, negations)
    _report("N-gram classifiers", layers, model, "NGRAMS")


def _find_layers(model: keras.Model, kind: Any) -> list[Any]:
    """Return the layers of a kind, in wrappers and inner models, too.

    Raises:
        SentimentError: if one of them has no weights yet.
    """
    found = [layer for layer in model._flatten_layers() if isinstance(layer, kind)]
    for layer in found:
        if not layer.built:
            raise SentimentError(
                f"the layer {layer.name} has no weights yet; begin the network with "
                'keras.Input((None,), dtype="int32")'
            )
    return sorted(found, key=lambda layer: layer.path)


def _report(what: str, layers: list, model: keras.Model, constant: str):
    # The cell of an LSTM layer is called by the layer's name.
    paths = [layer.path.removeprefix(f"{model.name}/") for layer in layers]
    names = ", ".join(path.removesuffix("/lstm_cell") for path in paths)
    found = names or f"no layer found, {constant} has no effect"
    print(strip_control_characters(f"{what}: {found}"))

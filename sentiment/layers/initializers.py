"""Initial weights other than random ones: PPMI-SVD word vectors, chrono initialization."""

from collections.abc import Sequence

import keras
import numpy as np

from sentiment.data.sequences import subsample
from sentiment.data.tokenizer import SPECIAL_TOKENS

WINDOW = 5  # words on each side that are context; one at distance d counts 1/d
CONTEXT_WORDS = 1_000  # the most frequent words, whose co-occurrences are counted
REVIEWS = 100_000  # reviews that are counted, if there are more
WORDS = 50_000  # words that get a vector: rarer ones have too few contexts
SMOOTHING = 0.75  # exponent of the context words' frequencies; below 1, rare ones weigh less
SCALE = 0.1  # root mean square of the vectors, small enough for training to move them


def set_word_vectors(model: keras.Model, sequences: Sequence[np.ndarray]):
    """Start each Embedding of a model from PPMI-SVD word vectors of the training reviews.

    Args:
        model: its ``Embedding`` layers read word ids.
        sequences: one array of word ids per review.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Embedding):
            vectors = ppmi_word_vectors(sequences, layer.input_dim, layer.output_dim)
            layer.set_weights([vectors])


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
    """Start the LSTM layers of a model with `chrono_bias`.

    Layers without a bias, and those in a wrapper such as ``Bidirectional``, stay as they are.

    Args:
        model: a model with ``LSTM`` layers.
        timesteps: the longest time constant.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.LSTM) and layer.use_bias:
            kernel, recurrent_kernel, bias = layer.get_weights()
            bias[: 2 * layer.units] = chrono_bias(layer.units, timesteps)
            layer.set_weights([kernel, recurrent_kernel, bias])


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

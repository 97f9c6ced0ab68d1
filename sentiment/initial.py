"""Weights to start the training from that are better than random ones."""

from sentiment.reviews import choose_evenly
from sentiment.words import SPECIAL_WORDS

import numpy as np

WINDOW = 5  # a neighbour stands at most so many words away, and counts one over its distance
NEIGHBOURS = 1_000  # words that are told apart as neighbours: the most frequent ones
REVIEWS = 100_000  # reviews that are counted, where there are more
WORDS = 50_000  # words that get a vector: rarer ones have too few neighbours
SMOOTHING = 0.75  # power of the neighbours' frequencies, against the weight of rare ones
SCALE = 0.1  # root mean square of the vectors' numbers, small enough for training to move them


def set_word_vectors(embedding, sequences):
    """Start an Embedding with similar vectors for words that stand near the same words.

    They are the left singular vectors, times the square roots of the singular values, of the
    matrix of positive pointwise mutual information between words and neighbours (Levy, Goldberg
    and Dagan, 2015, "Improving distributional similarity with lessons learned from word
    embeddings"). Labels play no part in it. Ids that are no words, words too rare or without
    neighbours, and dimensions beyond what the reviews can tell get zeros.

    Args:
        embedding: a `keras.layers.Embedding` that has its weights.
        sequences: one array of word ids a review.
    """
    vocabulary_size, size = embedding.input_dim, embedding.output_dim
    words, neighbours = min(vocabulary_size, WORDS), min(vocabulary_size, NEIGHBOURS)
    gap = np.zeros(WINDOW, dtype=np.int32)  # no word is a neighbour of another review's
    chosen = choose_evenly(sequences, REVIEWS)
    ids = np.concatenate([part for sequence in chosen for part in (sequence, gap)])
    counts = np.zeros((words, neighbours), dtype=np.float32)
    for distance in range(1, WINDOW + 1):
        before, after = ids[:-distance], ids[distance:]
        for word, neighbour in ((before, after), (after, before)):
            counted = (
                (np.minimum(word, neighbour) >= len(SPECIAL_WORDS))
                & (word < words)
                & (neighbour < neighbours)
            )
            cells = word[counted].astype(np.int64) * neighbours + neighbour[counted]
            counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape) / distance

    expected = counts.sum(axis=0) ** SMOOTHING
    expected = counts.sum(axis=1, keepdims=True) * (expected / max(expected.sum(), 1))
    # Where nothing was counted the logarithm of 1 says that nothing is known.
    information = np.log(np.divide(counts, expected, out=np.ones_like(counts), where=counts > 0))
    information = np.maximum(information, 0)
    squares, directions = np.linalg.eigh(information.T @ information)
    strongest = [i for i in np.argsort(squares)[::-1][:size] if squares[i] > 1e-3]
    found = information @ (directions[:, strongest] / squares[strongest] ** 0.25)

    vectors = np.zeros((vocabulary_size, size), dtype=np.float32)
    vectors[:words, : found.shape[1]] = found
    if found.any():
        vectors *= SCALE / np.sqrt(np.mean(found**2))
    embedding.set_weights([vectors])


def spread_memory(lstm, span):
    """Start the units of an LSTM so that they remember for two words to ``span`` words.

    That is their time constant, evenly spread: without input, a unit of 100 words loses a
    hundredth of what it holds with each word. Keras' own start is 4 words for every unit, so that
    little of a review's beginning reaches its end, and little of the error its beginning (Tallec
    and Ollivier, 2018, "Can recurrent neural networks warp time?").

    Args:
        lstm: a `keras.layers.LSTM` that has its weights.
        span: in words; below 2 it counts as 2.
    """
    kernel, recurrent_kernel, bias = lstm.get_weights()
    forget_bias = np.log(np.linspace(1, max(span - 1, 1), lstm.units))
    # The gates stand in the order input, forget, cell, output.
    bias[: 2 * lstm.units] = np.concatenate([-forget_bias, forget_bias])
    lstm.set_weights([kernel, recurrent_kernel, bias])

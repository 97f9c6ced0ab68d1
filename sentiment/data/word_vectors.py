"""Pretrained word vectors: text files as GloVe and word2vec write them."""

import gzip
from pathlib import Path

import numpy as np

from sentiment.data.tokenizer import SPECIAL_TOKENS
from sentiment.errors import SentimentError

WORD_VECTORS = ("ppmi", "none")  # the sources that are no file


def read_word_vectors(path: Path, vocabulary: list[str], dimension: int) -> dict[int, np.ndarray]:
    """Read the vectors of the words in a vocabulary, and print how many of them the file has.

    Each line holds a word and its numbers, separated by spaces. A first line of two whole numbers,
    as word2vec writes it, is skipped. One line at a time is in memory.

    Args:
        path: the file, which may be compressed (``.gz``).
        vocabulary: the word of each id, the special tokens first.
        dimension: the length that the vectors must have.

    Returns:
        The vector of each word id that is found, float32 ``(dimension,)``. A word that the file has
        with capitals only gets that vector.

    Raises:
        SentimentError: if the file can't be used.
    """
    ids = {word: i for i, word in enumerate(vocabulary) if i >= len(SPECIAL_TOKENS)}
    if not ids:
        raise SentimentError(
            "the data set has no word index, so it can't use pretrained word vectors; set "
            "WORD_VECTORS to ppmi or none"
        )
    found: dict[int, np.ndarray] = {}
    exact = set()
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if number == 1 and len(line.split()) == 2:
                    _check_dimension(path, int(line.split()[1]), dimension)
                    continue
                word_bytes, *numbers = line.rstrip().rsplit(b" ", dimension)
                if number <= 2:
                    _check_dimension(path, len(line.split()) - 1, dimension)
                word = word_bytes.decode(errors="replace")
                i = ids.get(word, ids.get(word.lower()))
                if i is None or i in exact or (i in found and word not in ids):
                    continue
                if word in ids:
                    exact.add(i)
                vector = np.array(numbers, dtype=np.float32)
                if len(vector) != dimension or not np.isfinite(vector).all():
                    raise ValueError(f"line {number} doesn't hold a word and {dimension} numbers")
                found[i] = vector
    except (OSError, EOFError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SentimentError(f"the word vectors in {path} can't be used: {reason}") from None
    print(
        f"{path.name} has vectors for {len(found):,} of the {len(ids):,} words "
        f"in the vocabulary ({len(found) / len(ids):.1%})"
    )
    return found


def _check_dimension(path, found, dimension):
    if found != dimension:
        raise SentimentError(
            f"the word vectors in {path} have {found} dimensions, but the Embedding layer has "
            f"{dimension}: set EMBEDDING_SIZE = {found}"
        )

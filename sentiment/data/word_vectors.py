"""Pretrained word vectors: text files as GloVe and word2vec write them."""

import functools
import gzip
import zlib
from pathlib import Path

import numpy as np

from sentiment.console import strip_control_characters
from sentiment.data.tables import MAXIMUM_CHARACTERS, abbreviate
from sentiment.data.tokenizer import SPECIAL_TOKENS
from sentiment.errors import SentimentError
from sentiment.paths import check_regular

WORD_VECTORS = ("ppmi", "none")  # the sources that are no file
REASON_CHARACTERS = 200  # of an error that quotes the file


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
    number = 0
    try:
        check_regular(path)
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            lines = iter(functools.partial(file.readline, MAXIMUM_CHARACTERS + 1), b"")
            for number, line in enumerate(lines, 1):
                if len(line) > MAXIMUM_CHARACTERS:
                    raise ValueError(f"it has more than {MAXIMUM_CHARACTERS:,} bytes")
                cells = line.split()
                if number == 1 and len(cells) == 2 and cells[1].isdigit():
                    _check_dimension(path, int(cells[1]), dimension)
                    continue
                word_bytes, *numbers = line.rstrip().rsplit(b" ", dimension)
                if number <= 2:
                    np.array(cells[1:], dtype=np.float32)  # an error unless they are numbers
                    _check_dimension(path, len(cells) - 1, dimension)
                word = word_bytes.decode(errors="replace")
                i = ids.get(word, ids.get(word.lower()))
                if i is None or i in exact or (i in found and word not in ids):
                    continue
                if word in ids:
                    exact.add(i)
                vector = np.array(numbers, dtype=np.float32)
                if len(vector) != dimension or not np.isfinite(vector).all():
                    raise ValueError(f"it doesn't hold {dimension} numbers")
                found[i] = vector
    except (OSError, EOFError, ValueError, zlib.error) as error:
        place = f"line {number}: " if number else ""
        problem = place + abbreviate(str(error), REASON_CHARACTERS)
        reason = getattr(error, "strerror", None) or problem
        raise SentimentError(
            f"{path} is not a text file of word vectors, a word and its numbers per line ({reason})"
        ) from None
    if not found:
        raise SentimentError(f"{path} has no vector for any word of the reviews")
    name = strip_control_characters(path.name)
    print(
        f"{name} has vectors for {len(found):,} of the {len(ids):,} words in the vocabulary "
        f"({len(found) / len(ids):.1%})"
    )
    return found


def _check_dimension(path, found, dimension):
    if found != dimension:
        raise SentimentError(
            f"the word vectors in {path} have {found} dimensions, but the Embedding layer has "
            f"{dimension}: set EMBEDDING_SIZE = {found}"
        )

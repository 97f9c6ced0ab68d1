"""Text to word ids. Words are split exactly as those of ``keras.datasets.imdb``."""

import itertools
import re
from collections import defaultdict

import numpy as np

# The special ids of keras.datasets.imdb; the most frequent word has id 4.
PADDING_ID, START_ID, OOV_ID = 0, 1, 2
SPECIAL_TOKENS = ("<padding>", "<start>", "<unknown>", "<unused>")

# Keras' ids were made from bytes: ASCII capitals become lower case, these characters become spaces,
# and all other bytes, those of accented letters included, stay as they are.
SEPARATORS = b'!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
# The same words in text. A lone surrogate, which is no UTF-8, becomes "?" and so separates words.
_WORD = re.compile(f"[^ {re.escape(SEPARATORS.decode())}\ud800-\udfff]+")
_NORMALIZE = bytes.maketrans(
    SEPARATORS + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b" " * len(SEPARATORS) + b"abcdefghijklmnopqrstuvwxyz",
)


def tokenize(text: str) -> list[str]:
    """Split a review into lower-case words exactly as ``keras.datasets.imdb`` was made."""
    normalized = text.encode(errors="replace").translate(_NORMALIZE).decode()
    return list(filter(None, normalized.split(" ")))


def split_as_spelled(text: str) -> list[str]:
    """Return the words that `tokenize` finds, spelled as in the text."""
    return _WORD.findall(text)


def encode(text: str, word_ids: dict[str, int]) -> np.ndarray:
    """Return a review's word ids as int32: the start id, then each word's id or `OOV_ID`."""
    return np.array(
        [START_ID, *(word_ids.get(word, OOV_ID) for word in tokenize(text))], dtype=np.int32
    )


def encode_corpus(texts: list[str]) -> tuple[list[np.ndarray], list[str]]:
    """Build the vocabulary of reviews and encode them with it.

    Returns:
        One int32 array of word ids per review, and the vocabulary: the word of each id.
    """
    # Dictionary look-ups take most of the time, so each word is looked up once: for the number of
    # its first appearance. When all words are counted, the numbers are mapped to ids.
    numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    sequences = [
        np.array([numbers[word] for word in tokenize(text)], dtype=np.int32) for text in texts
    ]
    words = list(numbers)
    ids, vocabulary = build_vocabulary(words, np.bincount(np.concatenate(sequences)))
    return [np.append(np.int32(START_ID), ids[sequence]) for sequence in sequences], vocabulary


def build_vocabulary(words: list[str], counts: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Give each word an id: the more frequent the word, the lower its id.

    Words of equal frequency are in alphabetical order. (In Keras' own index their order can't be
    told from the text, so ids of rare words differ from Keras'.)

    Args:
        words: the words.
        counts: how often each occurs, shape ``(words,)``.

    Returns:
        The id of each word, int32 ``(words,)``, `OOV_ID` where the count is 0; and the vocabulary:
        the word of each id, the special tokens first.
    """
    ranked = sorted(np.flatnonzero(counts), key=lambda number: (-counts[number], words[number]))
    ids = np.full(len(words), OOV_ID, dtype=np.int32)
    ids[ranked] = np.arange(len(ranked)) + len(SPECIAL_TOKENS)
    return ids, [*SPECIAL_TOKENS, *(words[number] for number in ranked)]

"""Words, and the ids that stand for them, as ``keras.datasets.imdb`` has them."""

import itertools
import re
from collections import defaultdict

import numpy as np

# Ids that are no words, as keras.datasets.imdb has them; the word of rank 1 is id 4.
PADDING, START, UNKNOWN = 0, 1, 2
SPECIAL_WORDS = ("<padding>", "<start>", "<unknown>", "<unused>")

# Keras' ids come from bytes: ASCII capitals become small, these characters become spaces, and all
# else, letters with accents included, stays as it is.
SEPARATORS = b'!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
# The same words in text: what is no character of UTF-8 is a separator too, as it becomes "?".
_WORD = re.compile(f"[^ {re.escape(SEPARATORS.decode())}\ud800-\udfff]+")
_NORMALISE = bytes.maketrans(
    SEPARATORS + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b" " * len(SEPARATORS) + b"abcdefghijklmnopqrstuvwxyz",
)


def split_words(text: str) -> list[str]:
    """Split a review into words exactly as the ids of ``keras.datasets.imdb`` were made."""
    normalised = text.encode(errors="replace").translate(_NORMALISE).decode()
    return list(filter(None, normalised.split(" ")))


def find_words(text: str) -> list[str]:
    """Return the words that `split_words` finds as the text spells them."""
    return _WORD.findall(text)


def encode(text: str, ids: dict[str, int]) -> np.ndarray:
    """Return the int32 ids of a review's words after the start mark; unknown words are id 2."""
    return np.array(
        [START] + [ids.get(word, UNKNOWN) for word in split_words(text)], dtype=np.int32
    )


def encode_anew(texts: list[str]) -> tuple[list[np.ndarray], list[str]]:
    """Return the int32 ids of reviews, encoded with their own vocabulary, and that vocabulary.

    The more frequent a word is, the lower its id; words of equal frequency stand in alphabetical
    order. (In Keras' own index they stand in no order that the text could tell, so ids of rarer
    words differ from Keras'.)
    """
    # Looking words up takes most of the time, so each is looked up only once: as the number of
    # its first appearance, which becomes its id when all are counted.
    numbers = defaultdict(itertools.count().__next__)
    sequences = [
        np.array([numbers[word] for word in split_words(text)], dtype=np.int32) for text in texts
    ]
    words = list(numbers)
    ids, vocabulary = rank_words(words, np.bincount(np.concatenate(sequences)))
    return [np.append(np.int32(START), ids[sequence]) for sequence in sequences], vocabulary


def rank_words(words, counts):
    """Return the id of each word, unknown where its count is 0, and the word of each id."""
    ranked = sorted(np.flatnonzero(counts), key=lambda number: (-counts[number], words[number]))
    ids = np.full(len(words), UNKNOWN, dtype=np.int32)
    ids[ranked] = np.arange(len(ranked)) + len(SPECIAL_WORDS)
    return ids, [*SPECIAL_WORDS, *(words[number] for number in ranked)]

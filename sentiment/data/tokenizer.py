"""Text to word ids. Words are split exactly as those of ``keras.datasets.imdb``.

Typed text is normalized first: it has characters and spellings that IMDB lacks.
"""

import itertools
import re
import unicodedata
from collections import defaultdict

import numpy as np

# The special ids of keras.datasets.imdb; the most frequent word has id 4.
PADDING_ID, START_ID, OOV_ID = 0, 1, 2
SPECIAL_TOKENS = ("<padding>", "<start>", "<unknown>", "<unused>")

# Keras' ids were made from bytes: ASCII capitals become lower case, these characters become spaces,
# and all other bytes, those of accented letters included, stay as they are.
SEPARATORS = b'!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
_WORD = re.compile(f"[^ {re.escape(SEPARATORS.decode())}]+")
_LOWER_AND_SPLIT = bytes.maketrans(
    SEPARATORS + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b" " * len(SEPARATORS) + b"abcdefghijklmnopqrstuvwxyz",
)

# The space in "is n't" or "film 's", as tokenized corpora have it. Without another one after the
# clitic, an apostrophe may begin a quotation: 'M' or 're-enacted'. The word comes last in the
# pattern, because a search for the space is faster.
_SPACE_BEFORE_CLITIC = re.compile(
    r" (?=n't\b|'(s|re|ve|ll|d|m)(?!\S))(?<=\w )", flags=re.IGNORECASE
)
_UNPRINTABLE_OR_NO_ASCII = re.compile("[^ -~]+")
COMPOSED_CHARACTERS = 1_000  # of a word
_REMOVED = re.compile("VARIATION SELECTOR|EMOJI MODIFIER")


class _Spellings(dict[int, str]):
    """How `normalize` spells characters, by code point; each is worked out once."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if category == "Cf" or _REMOVED.search(unicodedata.name(character, "")):
            spelled = ""
        elif category[0] in "PZ" or category in ("Cc", "Cs"):
            spelled = " "
        elif category[0] in "LMN":
            spelled = character
        else:  # a symbol, or an emoji that is newer than the Unicode version of Python
            spelled = f" {character} "
        self[code] = spelled
        return spelled


_SPELLINGS = _Spellings(dict.fromkeys(map(ord, "\u2019\u2018\u02bc\u00b4\u0092"), "'"))


def normalize(text: str) -> str:
    """Spell typed text as IMDB is spelled, so that `tokenize` finds the same words.

    Typographic apostrophes become straight, other punctuation beyond ASCII and control characters
    become spaces, and each symbol, such as an emoji, a word of its own. Invisible characters are
    removed, and so are spaces before clitics: "is n't" becomes "isn't". ASCII punctuation stays.
    """
    if not text.isascii() or "\r" in text:  # ASCII needs this only for lines that end in "\r\n"
        text = _UNPRINTABLE_OR_NO_ASCII.sub(lambda match: match[0].translate(_SPELLINGS), text)
        words = text.split()
        text = " ".join(words)
        # Only now, because an invisible character may have been between a letter and its accent.
        # The time grows with the square of the accents in a word, so absurd ones are left alone.
        if max(map(len, words), default=0) <= COMPOSED_CHARACTERS:
            text = unicodedata.normalize("NFC", text)
    if " '" in text or " n'" in text or " N'" in text:  # the regular expression is slower
        text = _SPACE_BEFORE_CLITIC.sub("", text)
    return text


def tokenize(text: str) -> list[str]:
    """Split a review into lower-case words exactly as ``keras.datasets.imdb`` was made."""
    # A lone surrogate, which is no UTF-8, becomes "?" and so separates words.
    separated = text.encode(errors="replace").translate(_LOWER_AND_SPLIT).decode()
    return list(filter(None, separated.split(" ")))


def split_as_spelled(text: str) -> list[str]:
    """Return the words that `encode` finds, spelled as in the normalized text."""
    return _WORD.findall(normalize(text))


def lookup(word: str, word_ids: dict[str, int]) -> int:
    """Return the id of a word, or of the word without its quotation marks, or `OOV_ID`."""
    return word_ids.get(word) or word_ids.get(word.strip("'"), OOV_ID)


def encode(text: str, word_ids: dict[str, int]) -> np.ndarray:
    """Return a review's word ids as int32: the start id, then each word's id or `OOV_ID`."""
    words = tokenize(normalize(text))
    # A call for each word would take longer than the look-ups.
    ids = [word_ids.get(word) or lookup(word, word_ids) for word in words]
    return np.array([START_ID, *ids], dtype=np.int32)


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

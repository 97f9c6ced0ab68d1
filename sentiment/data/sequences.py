"""Many reviews as sequences of word ids, in memory or in a file that may be larger than memory."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np

from sentiment.data.tokenizer import PADDING_ID


@dataclass(frozen=True, eq=False)
class Sequences(Sequence[np.ndarray]):
    """A sequence of reviews, each an int32 array of word ids that is created on access.

    Attributes:
        tokens: the tokens of all reviews, one after another, int32; only slices of it are read.
        offsets: where in it each review begins and, last, where the last one ends.
        hashes: a uint64 per review; identical reviews have the same one.
        positions: which of the reviews are in the sequence.
        id_of_token: the word id of each token; None if the tokens are word ids.
        maximum_tokens: the last tokens that are kept of a longer review; None: all.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    hashes: np.ndarray
    positions: np.ndarray
    id_of_token: np.ndarray | None = None
    maximum_tokens: int | None = None

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequences": ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return replace(self, positions=self.positions[index])
        position = self.positions[index]
        begin, end = self.offsets[position], self.offsets[position + 1]
        if self.maximum_tokens:
            begin = max(begin, end - self.maximum_tokens)
        tokens = self.tokens[begin:end]
        return tokens if self.id_of_token is None else self.id_of_token[tokens]

    @property
    def lengths(self) -> np.ndarray:
        """The number of ids of each review."""
        lengths = self.offsets[self.positions + 1] - self.offsets[self.positions]
        return np.minimum(lengths, self.maximum_tokens) if self.maximum_tokens else lengths

    def take(self, positions: np.ndarray) -> "Sequences":
        """Return the reviews at some positions."""
        return replace(self, positions=self.positions[positions])

    def join(self, other: "Sequences") -> "Sequences":
        """Return these reviews and then others, which may be of another source."""
        if other.tokens is getattr(self.tokens, "first", self).tokens:  # of the same, or the first
            return replace(self, positions=np.append(self.positions, other.positions))
        return replace(
            self,
            tokens=_JoinedTokens(self, other),  # type: ignore[arg-type]
            offsets=np.append(self.offsets, self.offsets[-1] + other.offsets[1:]),
            hashes=np.append(self.hashes, other.hashes),
            positions=np.append(self.positions, len(self.offsets) - 1 + other.positions),
            id_of_token=None,
        )

    def pad(self, chosen: np.ndarray, length: int, padding: str = "post") -> np.ndarray:
        """Return some reviews, padded and truncated to a length, as int32 ``(reviews, length)``.

        The result is that of `keras.utils.pad_sequences`, but faster to compute. As there,
        truncation removes the beginning of a review.

        Args:
            chosen: positions of the reviews.
            length: number of ids of each row.
            padding: ``"post"`` pads after a review's last word, ``"pre"`` before its first one.
        """
        padded = np.full((len(chosen), length), PADDING_ID, dtype=np.int32)
        positions = self.positions[chosen]
        ends = self.offsets[positions + 1]
        kept = min(length, self.maximum_tokens or length)
        lengths = np.minimum(ends - self.offsets[positions], kept)
        for row, begin, end, tokens in zip(padded, ends - lengths, ends, lengths, strict=True):
            if padding == "pre":
                row[length - tokens :] = self.tokens[begin:end]
            else:
                row[:tokens] = self.tokens[begin:end]
        return padded if self.id_of_token is None else self.id_of_token[padded]


@dataclass(frozen=True)
class _JoinedTokens:
    """The word ids of two sets of reviews, read as one array. A copy might not fit into memory."""

    first: Sequences
    second: Sequences

    def __getitem__(self, part: slice) -> np.ndarray:
        sequences, end = self.first, self.first.offsets[-1]
        if part.start >= end:
            sequences, part = self.second, slice(part.start - end, part.stop - end)
        tokens, ids = sequences.tokens[part], sequences.id_of_token
        return tokens if ids is None else ids[tokens]


@dataclass(frozen=True)
class LabeledReviews:
    """Labeled reviews as a source has them, before they are split.

    Attributes:
        source: the name of the source.
        sequences: the reviews, not truncated.
        labels: float32 ``(reviews,)``, 1 for a positive review.
        is_test: bool ``(reviews,)``, whether a review is of the source's own test set.
        words: the word of each token, the special tokens first; these alone if the words are
            not known.
        empty: number of empty reviews that were left out.
        is_ranked: whether the tokens already are word ids in order of frequency.
    """

    source: str
    sequences: Sequences
    labels: np.ndarray
    is_test: np.ndarray
    words: list[str]
    empty: int = 0
    is_ranked: bool = False


def concatenate(sequences: Sequence[np.ndarray], hashed: bool = True) -> Sequences:
    """Return int32 arrays of word ids as `Sequences`, with their hashes or without."""
    offsets = np.cumsum([0, *(len(sequence) for sequence in sequences)])
    hashes = np.array([hash_tokens(sequence) for sequence in sequences if hashed], dtype=np.uint64)
    return Sequences(np.concatenate(sequences), offsets, hashes, np.arange(len(sequences)))


def subsample(sequence: Sequence, maximum: int) -> Sequence:
    """Return the elements of a sequence, at most ``maximum`` of them, evenly spaced."""
    positions = np.linspace(0, len(sequence) - 1, min(len(sequence), maximum)).round().astype(int)
    if isinstance(sequence, Sequences):  # the reviews may be larger than the memory
        return sequence.take(positions)
    return [sequence[position] for position in positions]


def find_distinct(hashes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the position of the first copy of each review whose copies have one label.

    Args:
        hashes: a number per review; identical reviews have the same one.
        labels: 0 or 1 per review.
    """
    both = np.intersect1d(hashes[labels == 0], hashes[labels == 1])
    first = np.unique(hashes, return_index=True)[1]
    return first[~np.isin(hashes[first], both)]


def hash_tokens(tokens: np.ndarray) -> int:
    """Return a 64-bit hash of a review's tokens."""
    return int.from_bytes(hashlib.blake2b(tokens.tobytes(), digest_size=8).digest(), "little")

"""Many reviews as word ids, in memory or in a file that may be larger than memory."""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import time
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sentiment.words import PADDING, SPECIAL_WORDS, START, split_words

import numpy as np
from rich.progress import Progress

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

CACHE = Path("cache")
FORMAT = 1  # of the cache: another one is not read
UNUSABLE = (OSError, EOFError, ValueError, KeyError, TypeError)  # how reading a cache may fail
SECONDS_BETWEEN_REPORTS = 0.2


@dataclass(frozen=True, eq=False)
class Reviews(Sequence):
    """A sequence of reviews, each an int32 array of word ids that is made when it is asked for.

    Attributes:
        tokens: what stands for the words of all reviews, one after another, int32.
        offsets: where in it each review begins and, last, where they end.
        hashes: a uint64 for each review, equal for equal ones.
        positions: which of the reviews are in the sequence.
        ids: the word id for each token; None where tokens are ids.
        maximum_tokens: how many tokens are kept of a review, its last ones; None for all.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    hashes: np.ndarray
    positions: np.ndarray
    ids: np.ndarray | None = None
    maximum_tokens: int | None = None

    def __len__(self):
        return len(self.positions)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return replace(self, positions=self.positions[index])
        position = self.positions[index]
        begin, end = self.offsets[position], self.offsets[position + 1]
        if self.maximum_tokens:
            begin = max(begin, end - self.maximum_tokens)
        tokens = self.tokens[begin:end]
        return tokens if self.ids is None else self.ids[tokens]

    @property
    def lengths(self) -> np.ndarray:
        """The number of ids of each review."""
        lengths = self.offsets[self.positions + 1] - self.offsets[self.positions]
        return np.minimum(lengths, self.maximum_tokens) if self.maximum_tokens else lengths

    def take(self, positions: np.ndarray) -> "Reviews":
        """Return some of the reviews."""
        return replace(self, positions=self.positions[positions])

    def pad(self, chosen: np.ndarray, width: int, in_front: bool = False) -> np.ndarray:
        """Return some of the reviews, padded or cut to a width, as int32 ``(reviews, width)``.

        As in `keras.utils.pad_sequences`, of which this is ten times as fast, what is cut off is
        a review's beginning.
        """
        padded = np.full((len(chosen), width), PADDING, dtype=np.int32)
        positions = self.positions[chosen]
        ends = self.offsets[positions + 1]
        kept = min(width, self.maximum_tokens or width)
        lengths = np.minimum(ends - self.offsets[positions], kept)
        for row, begin, end, length in zip(padded, ends - lengths, ends, lengths, strict=True):
            if in_front:
                row[width - length :] = self.tokens[begin:end]
            else:
                row[:length] = self.tokens[begin:end]
        return padded if self.ids is None else self.ids[padded]


def join(sequences: Sequence[np.ndarray], hashed: bool = True) -> Reviews:
    """Return int32 arrays of word ids as `Reviews`, with their hashes or without."""
    offsets = np.cumsum([0, *(len(sequence) for sequence in sequences)])
    hashes = np.array([_hash(sequence) for sequence in sequences if hashed], dtype=np.uint64)
    return Reviews(np.concatenate(sequences), offsets, hashes, np.arange(len(sequences)))


def choose_evenly(sequence: Sequence, most: int) -> list:
    """Return a sequence's elements or, where they are more, so many of them, evenly spaced."""
    positions = np.linspace(0, len(sequence) - 1, min(len(sequence), most)).round().astype(int)
    return [sequence[position] for position in positions]


@dataclass(frozen=True)
class Encoded:
    """Labelled reviews, whose tokens are numbers of words.

    Ids that are no words come first in ``words``, alone where the words are not known.
    """

    reviews: Reviews
    labels: np.ndarray  # float32, 1 for a positive review
    is_test: np.ndarray  # whether a review is of the test part
    words: list[str]  # the word of each number
    empty: int  # reviews that were left out


def encode_once(path: Path, fingerprint: list, texts: Iterator, size: int) -> Encoded:
    """Return labelled texts as word ids, which are kept in ``cache/`` and encoded only once.

    Of the texts, one at a time is in memory.

    Args:
        path: where they come from.
        fingerprint: what changes when they do.
        texts: for each one how far the reading is, the text, its label, and whether it is of the
            test part.
        size: how far the reading is at the end.

    Raises:
        SystemExit: with status 1 after one line, where the cache can't be written.
    """
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    folder = CACHE / f"{path.resolve().name}-{name}"
    unfinished = CACHE / f".unfinished-{folder.name}"
    fingerprint = [FORMAT, *fingerprint]
    try:
        with contextlib.suppress(*UNUSABLE):
            return _read(folder, fingerprint)
        CACHE.mkdir(exist_ok=True)
        with _lock(CACHE / f".lock-{folder.name}"):
            with contextlib.suppress(*UNUSABLE):  # another process may have written it
                return _read(folder, fingerprint)
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
            try:
                unfinished.mkdir()
                with Progress() as progress:
                    task = progress.add_task(f"Encoding {path.name}", total=size)
                    _write(unfinished, fingerprint, texts, partial(progress.update, task))
                shutil.rmtree(folder, ignore_errors=True)
                unfinished.replace(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            return _read(folder, fingerprint)
    except OSError as error:
        raise SystemExit(f"Can't write {folder}: {error.strerror}") from None


@contextlib.contextmanager
def _lock(path):
    """Have other processes wait, which may be about to write the same."""
    with path.open("w") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(folder, fingerprint, texts, report):
    numbers = defaultdict(itertools.count(len(SPECIAL_WORDS)).__next__)
    lengths, hashes, labels, tests = array("q", [0]), array("Q"), array("f"), array("b")
    at, empty, reported = 0, 0, time.monotonic()
    with (folder / "tokens").open("wb") as file:
        for at, text, label, is_test in texts:
            if time.monotonic() - reported > SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                report(completed=at)
            if not text.strip():
                empty += 1
                continue
            tokens = np.array([START, *map(numbers.__getitem__, split_words(text))], dtype=np.int32)
            file.write(tokens)
            lengths.append(len(tokens))
            hashes.append(_hash(tokens))
            labels.append(label)
            tests.append(is_test)
    report(completed=at)
    words = [*SPECIAL_WORDS, *numbers]
    (folder / "words").write_bytes("\n".join(words).encode())
    arrays = {"offsets": np.cumsum(lengths), "hashes": hashes, "labels": labels, "tests": tests}
    for name, values in arrays.items():
        np.save(folder / name, np.asarray(values))
    about = {"fingerprint": fingerprint, "words": len(words), "empty": empty}
    (folder / "about.json").write_text(json.dumps(about))
    for path in folder.iterdir():  # or after a power cut there may be nothing in them
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _read(folder, fingerprint):
    """Return what is in the cache.

    Raises:
        UNUSABLE: if that is nothing, or something else.
    """
    about = json.loads((folder / "about.json").read_text())
    words = (folder / "words").read_bytes().decode().split("\n")
    offsets, hashes, labels, tests = (
        np.load(folder / f"{name}.npy", mmap_mode="r")
        for name in ("offsets", "hashes", "labels", "tests")
    )
    tokens = np.memmap(folder / "tokens", np.int32, "r") if offsets[-1] else np.empty(0, np.int32)
    is_whole = (
        len(words) == about["words"]
        and len(tokens) == offsets[-1]
        and len(hashes) == len(labels) == len(tests) == len(offsets) - 1
    )
    if about["fingerprint"] != fingerprint or not is_whole:
        raise ValueError("it is not of these reviews")
    return Encoded(
        # As memory maps these would make a memory map of each review, which is slow.
        reviews=Reviews(*map(np.asarray, (tokens, offsets, hashes)), np.arange(len(labels))),
        labels=np.array(labels),
        is_test=np.array(tests, dtype=bool),
        words=words,
        empty=about["empty"],
    )


def _hash(tokens):
    return int.from_bytes(hashlib.blake2b(tokens.tobytes(), digest_size=8).digest(), "little")

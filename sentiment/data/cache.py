"""A user's reviews as word ids on disk: encoded once, then memory-mapped."""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import filelock
import numpy as np

from sentiment.console import progress_bar
from sentiment.data.sequences import LabeledReviews, Sequences, hash_tokens
from sentiment.data.tables import REPLACEMENT, describe_damaged
from sentiment.data.tokenizer import SPECIAL_TOKENS, START_ID, normalize, tokenize
from sentiment.errors import SentimentError
from sentiment.paths import cache_folder

FORMAT = 4  # version of the files in the cache; other versions are ignored
ARRAYS = ("offsets", "hashes", "labels", "tests")
FILES = ("about.json", "tokens", "words", *(f"{name}.npy" for name in ARRAYS))
HASHES = "SHA256SUMS"  # of these files
# What reading a missing, damaged or foreign cache raises.
UNUSABLE = (OSError, ValueError, LookupError, TypeError)
NAME_BYTES = 100  # of the name of the reviews in the names of files
SECONDS_BETWEEN_REPORTS = 0.2

Text = tuple[int, str, int, bool]  # progress, text, label, whether it is of the test set


@dataclass
class Texts:
    """Labeled texts that are read one at a time.

    Attributes:
        texts: for each text how far the reading has progressed, the text, its label, and whether it
            is of the test set.
        fingerprint: changes when the texts do.
        total: the progress at the end.
        notes: what the user should know about the texts; complete once all have been read.
    """

    texts: Iterator[Text]
    fingerprint: list
    total: int
    notes: list[str] = field(default_factory=list)


def encode_once(path: Path, texts: Texts) -> tuple[LabeledReviews, list[str]]:
    """Return labeled texts as sequences of tokens, and the notes on them; ``cache/`` keeps both.

    One text at a time is in memory.

    Args:
        path: where the texts come from.
        texts: the texts, which are read only if the cache doesn't have them.

    Raises:
        SentimentError: if the cache can't be written.
    """
    path = path.resolve()
    path_hash = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    name = os.fsencode(path.name)[:NAME_BYTES].decode(errors="ignore")
    cache = cache_folder()
    folder = cache / f"{name}-{path_hash}"
    unfinished = cache / f".unfinished-{folder.name}"
    fingerprint = [FORMAT, *texts.fingerprint]
    read = partial(_read, folder, path.name, fingerprint)
    try:
        with contextlib.suppress(*UNUSABLE):
            return read()
        cache.mkdir(parents=True, exist_ok=True)
        with _lock(cache / f".lock-{folder.name}"):
            with contextlib.suppress(*UNUSABLE):  # another process may have written it
                return read()
            _remove(unfinished)  # left by a process that was killed
            try:
                unfinished.mkdir()
                with progress_bar() as progress:
                    task = progress.add_task("Encoding reviews", total=texts.total)
                    report = partial(progress.update, task)
                    _write(unfinished, fingerprint, texts, report)
                _remove(folder)
                unfinished.replace(folder)
            finally:
                _remove(unfinished)
            return read()
    except OSError as error:
        raise SentimentError(
            f"can't write {error.filename or folder}: {error.strerror or error}; to use "
            "another folder, set the environment variable SENTIMENT_CACHE"
        ) from None


@contextlib.contextmanager
def _lock(path: Path):
    """Wait for other processes, which may be writing the same reviews."""
    lock = filelock.FileLock(path)
    with contextlib.suppress(NotImplementedError):  # some network file systems have no locks
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _remove(path: Path):
    """Delete whatever is there."""
    with contextlib.suppress(OSError):
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def _write(folder: Path, fingerprint: list, texts: Texts, report: Callable):
    numbers: defaultdict[str, int] = defaultdict(itertools.count(len(SPECIAL_TOKENS)).__next__)
    lengths, hashes, labels, tests = array("q", [0]), array("Q"), array("f"), array("b")
    progress, empty, damaged, reported = 0, 0, 0, time.monotonic()
    with (folder / "tokens").open("wb") as file:
        for progress, text, label, is_test in texts.texts:
            if time.monotonic() - reported > SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                report(completed=progress)
            damaged += REPLACEMENT in text
            if not text.strip():
                empty += 1
                continue
            words = tokenize(normalize(text))
            tokens = np.array([START_ID, *map(numbers.__getitem__, words)], dtype=np.int32)
            file.write(tokens.tobytes())
            lengths.append(len(tokens))
            hashes.append(hash_tokens(tokens))
            labels.append(label)
            tests.append(is_test)
    report(completed=progress)
    words = [*SPECIAL_TOKENS, *numbers]
    (folder / "words").write_bytes("\n".join(words).encode())
    for name, values in zip(ARRAYS, (np.cumsum(lengths), hashes, labels, tests), strict=True):
        np.save(folder / name, np.asarray(values))
    notes = texts.notes + ([describe_damaged(damaged)] if damaged else [])
    about = {"fingerprint": fingerprint, "empty": empty, "notes": notes}
    (folder / "about.json").write_text(json.dumps(about))
    (folder / HASHES).write_text(_hash_files(folder))
    for path in folder.iterdir():  # otherwise they may be empty after a power cut
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _hash_files(folder: Path) -> str:
    """Return what is in `HASHES`: the SHA-256 and the name of each file in a line, as sha256sum.

    Raises:
        ValueError: if one is missing, or not a regular file.
    """
    lines = []
    for name in FILES:
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing")
        with (folder / name).open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    return "".join(lines)


def _read(folder: Path, source: str, fingerprint: list) -> tuple[LabeledReviews, list[str]]:
    """Return the reviews in the cache and the notes on them.

    Raises:
        UNUSABLE: if it is missing, damaged, or of other reviews.
    """
    hashes_of_files = _hash_files(folder)
    if not (folder / HASHES).is_file() or (folder / HASHES).read_text() != hashes_of_files:
        raise ValueError("the cache is damaged")
    about = json.loads((folder / "about.json").read_text())
    if about["fingerprint"] != fingerprint:
        raise ValueError("the cache is of other reviews")
    words = (folder / "words").read_bytes().decode().split("\n")
    offsets, hashes, labels, tests = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS
    )
    tokens = np.memmap(folder / "tokens", np.int32, "r") if offsets[-1] else np.empty(0, np.int32)
    if len(tokens) != offsets[-1] or not (
        len(hashes) == len(labels) == len(tests) == len(offsets) - 1
    ):
        raise ValueError("the cache is damaged")
    # Slices of a memory map are memory maps, too, which are slow to make. Those of a plain array
    # on the same memory are not.
    tokens, offsets, hashes = map(np.asarray, (tokens, offsets, hashes))
    reviews = LabeledReviews(
        source=source,
        sequences=Sequences(tokens, offsets, hashes, np.arange(len(labels))),
        labels=np.array(labels),
        is_test=np.array(tests, dtype=bool),
        words=words,
        empty=about["empty"],
    )
    return reviews, about["notes"]

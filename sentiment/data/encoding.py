"""Labeled reviews as sequences of tokens: encoded once, then memory-mapped from ``cache/``."""

import hashlib
import itertools
import json
import os
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from sentiment.console import progress_bar
from sentiment.data.cache import build_once
from sentiment.data.sequences import LabeledReviews, Sequences, hash_tokens
from sentiment.data.tables import REPLACEMENT, describe_damaged
from sentiment.data.tokenizer import SPECIAL_TOKENS, START_ID, normalize, tokenize
from sentiment.errors import SentimentError
from sentiment.paths import cache_folder

FORMAT = 5  # version of the encoding and of the files; other versions in the cache are ignored
ARRAYS = ("offsets", "hashes", "labels", "tests")
FILES = ("about.json", "tokens", "words", *(f"{name}.npy" for name in ARRAYS))
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
    name = os.fsencode(path.name)[:NAME_BYTES].decode(errors="ignore") + f"-{path_hash}"
    build = partial(_encode, path.name, texts)
    try:
        return build_once(name, [FORMAT, *texts.fingerprint], build, _read)
    except OSError as error:
        raise SentimentError(
            f"can't write {error.filename or cache_folder() / name}: {error.strerror or error}; to "
            "use another folder, set the environment variable SENTIMENT_CACHE"
        ) from None


def keep_reviews(
    name: str, fingerprint: list, read_source: Callable[[], LabeledReviews]
) -> LabeledReviews:
    """Return reviews that fit into memory; ``cache/`` keeps them, unless it can't be written.

    Args:
        name: a name for them.
        fingerprint: changes when they do.
        read_source: reads them, if the cache doesn't have them.
    """

    def build(folder: Path):
        with progress_bar() as progress:
            progress.add_task("Encoding reviews", total=None)
            reviews = read_source()
        (folder / "tokens").write_bytes(reviews.sequences.tokens.tobytes())
        offsets, hashes = reviews.sequences.offsets, reviews.sequences.hashes
        about = {
            "source": reviews.source,
            "empty": reviews.empty,
            "notes": [],
            "is_ranked": reviews.is_ranked,
        }
        _write(folder, reviews.words, (offsets, hashes, reviews.labels, reviews.is_test), about)

    try:
        return build_once(name, [FORMAT, *fingerprint], build, _read)[0]
    except OSError:
        return read_source()


def _encode(source: str, texts: Texts, folder: Path):
    """Write encoded texts into a folder."""
    numbers: defaultdict[str, int] = defaultdict(itertools.count(len(SPECIAL_TOKENS)).__next__)
    lengths, hashes, labels, tests = array("q", [0]), array("Q"), array("f"), array("b")
    progress, empty, damaged, reported = 0, 0, 0, time.monotonic()
    with progress_bar() as bar, (folder / "tokens").open("wb") as file:
        task = bar.add_task("Encoding reviews", total=texts.total)
        for progress, text, label, is_test in texts.texts:
            if time.monotonic() - reported > SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                bar.update(task, completed=progress)
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
        bar.update(task, completed=progress)
    notes = texts.notes + ([describe_damaged(damaged)] if damaged else [])
    about = {"source": source, "empty": empty, "notes": notes, "is_ranked": False}
    arrays = (np.cumsum(lengths), hashes, labels, tests)
    _write(folder, [*SPECIAL_TOKENS, *numbers], arrays, about)


def _write(folder: Path, words: list[str], arrays: tuple, about: dict):
    """Write all but the tokens."""
    (folder / "words").write_bytes("\n".join(words).encode())
    for name, values in zip(ARRAYS, arrays, strict=True):
        np.save(folder / name, np.asarray(values))
    (folder / "about.json").write_text(json.dumps(about))


def _read(folder: Path) -> tuple[LabeledReviews, list[str]]:
    """Return the reviews in a folder and the notes on them.

    Raises:
        ValueError: if its files don't fit together.
    """
    about = json.loads((folder / "about.json").read_text())
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
        source=about["source"],
        sequences=Sequences(tokens, offsets, hashes, np.arange(len(labels))),
        labels=np.array(labels),
        is_test=np.array(tests, dtype=bool),
        words=words,
        empty=about["empty"],
        is_ranked=about["is_ranked"],
    )
    return reviews, about["notes"]

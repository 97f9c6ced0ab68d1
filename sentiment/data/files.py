"""A user's own labeled reviews: a folder of text files, a CSV file, or an .npz file.

The files may come from anywhere, so they are checked, and no code in them is run.
"""

import csv
import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np

from sentiment.data.cache import Text, encode_once
from sentiment.data.csv_files import LABEL_COLUMNS, TEXT_COLUMNS, find_column, open_csv
from sentiment.data.npz import read_npz
from sentiment.data.sequences import LabeledReviews
from sentiment.errors import SentimentError

POSITIVE_LABELS = ("positive", "pos", "1", "1.0", "true")
NEGATIVE_LABELS = ("negative", "neg", "0", "0.0", "false", "-1")
LABEL_FOLDERS = ("neg", "pos")
MINIMUM_REVIEWS, MINIMUM_OF_A_LABEL = 20, 5
FEW_REVIEWS = 1_000
UNBALANCED = 0.2


def read_files(source: str) -> LabeledReviews:
    """Read labeled reviews, leave out empty ones, and report what is unusual about them.

    Args:
        source: path of a folder with ``train/pos``, ``train/neg`` and perhaps ``test/pos`` and
            ``test/neg``, each full of ``.txt`` files, as in the Large Movie Review Dataset;
            of a ``.csv`` file whose columns and labels have usual names or are given after the
            path, as in ``reviews.csv?text=body&label=mood&positive=good&negative=bad``; or of an
            ``.npz`` file in the layout of Keras' ``imdb.npz``, with the ranks of its words in
            ``imdb_word_index.json`` in the same folder.

    Raises:
        SentimentError: if they can't be used.
    """
    name, _, options = source.partition("?")
    path = Path(name)
    try:
        if path.is_dir():
            reviews = _encode(path, *_list_folder(path))
        elif path.suffix.lower() == ".csv":
            parsed = dict(parse_qsl(options, keep_blank_values=True))
            reviews = _encode(path, *_list_csv(path, parsed))
        elif path.suffix.lower() == ".npz":
            reviews = read_npz(path)
        else:
            raise ValueError("it is not a folder, .csv or .npz file")
        if reviews.empty:
            print(f"Data: {reviews.empty:,} empty reviews are left out")
        for is_test in (False, True):
            if not is_test or reviews.is_test.any():
                chosen = reviews.is_test == is_test
                _check_set(reviews.sequences.hashes[chosen], reviews.labels[chosen])
        return reviews
    except (OSError, ValueError, KeyError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(map(str, error.args))
        raise SentimentError(f"the reviews in {name} can't be used: {reason}") from None


def _encode(path, fingerprint, texts, total):
    def read():
        try:
            yield from texts
        except OSError as error:  # an OSError of encode_once is about the cache
            raise ValueError(error.strerror) from None

    return encode_once(path, fingerprint, read(), total)


def _list_folder(path: Path):
    """Return the arguments of `encode_once` for a folder of text files."""
    names, digest = {}, hashlib.sha256()
    for subset, label in itertools.product(("train", "test"), LABEL_FOLDERS):
        folder = path / subset / label
        found = sorted(
            (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
            for entry in (os.scandir(folder) if folder.is_dir() else ())
            if entry.name.endswith(".txt")
        )
        for entry in found:
            digest.update(repr((subset, label, *entry)).encode())
        names[subset, label] = [name for name, *_ in found]
    if not any(names["train", label] for label in LABEL_FOLDERS):
        raise ValueError("there are no files train/pos/*.txt and train/neg/*.txt in it")

    def read() -> Iterator[Text]:
        number = itertools.count(1)
        for (subset, label), files in names.items():
            for name in files:
                text = (path / subset / label / name).read_text(encoding="utf-8", errors="replace")
                yield next(number), text, LABEL_FOLDERS.index(label), subset == "test"

    return [digest.hexdigest()], read(), sum(map(len, names.values()))


def _list_csv(path: Path, options: dict[str, str]):
    """Return the arguments of `encode_once` for a CSV file."""
    unknown = set(options) - {"text", "label", "positive", "negative"}
    if unknown:
        raise ValueError(
            f"unknown key {min(unknown)!r} after ?; use text, label, positive, negative"
        )
    positive = [options["positive"]] if "positive" in options else POSITIVE_LABELS
    negative = [options["negative"]] if "negative" in options else NEGATIVE_LABELS
    label_of = {
        word.strip().lower(): label
        for label, words in enumerate((negative, positive))
        for word in words
    }

    def read() -> Iterator[Text]:
        with open_csv(path) as (file, rows):
            remedy = f"name the columns, as in {path.name}?text=body&label=mood"
            text = find_column(rows, options.get("text"), TEXT_COLUMNS, remedy)
            label = find_column(rows, options.get("label"), LABEL_COLUMNS, remedy)
            if text == label:
                raise ValueError("it has one column; it needs reviews and labels, comma-separated")
            for row in rows:
                key = (row[label] or "").strip().lower()
                if key not in label_of:
                    found = f"the label {row[label]!r}" if key else "no label"
                    raise ValueError(
                        f"line {rows.line_num} has {found}; name the two labels, as in "
                        f"{path.name}?positive=good&negative=bad"
                    )
                yield file.buffer.tell(), row[text] or "", label_of[key], False

    status = path.stat()
    return [status.st_size, status.st_mtime_ns, options], read(), status.st_size


def _check_set(hashes: np.ndarray, labels: np.ndarray):
    """Report what is unusual about the reviews of one set.

    Raises:
        ValueError: if there are too few.
    """
    positive = int(labels.sum())
    rarer = min(positive, len(labels) - positive)
    counts = f"{positive:,} positive and {len(labels) - positive:,} negative reviews"
    if len(labels) < MINIMUM_REVIEWS or rarer < MINIMUM_OF_A_LABEL:
        raise ValueError(
            f"{counts} are too few; at least {MINIMUM_REVIEWS} are needed, "
            f"{MINIMUM_OF_A_LABEL} of each label"
        )
    different = len(np.unique(hashes))
    contradicting = sum(len(np.unique(hashes[labels == label])) for label in (0, 1)) - different
    if different < len(labels):
        print(f"Data: {len(labels) - different:,} reviews are duplicates")
    if contradicting:
        print(f"Data: {contradicting:,} reviews have both labels")
    if len(labels) < FEW_REVIEWS:
        print(f"Data: {len(labels):,} reviews are a small data set")
    if rarer / len(labels) < UNBALANCED:
        majority = 1 - rarer / len(labels)
        print(
            f"Data: {counts}; always predicting the more frequent label is {majority:.1%} accurate"
        )

"""A user's own labeled reviews: a folder of text files, a table, or an .npz file.

The files may come from anywhere, so they are checked, and no code in them is run.
"""

import contextlib
import csv
import hashlib
import io
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from sentiment.console import strip_control_characters
from sentiment.data.cache import Text, Texts, encode_once
from sentiment.data.labels import MAXIMUM_CLASSES, Labels, UnknownLabelError
from sentiment.data.npz import read_npz
from sentiment.data.sequences import LabeledReviews
from sentiment.data.tables import (
    LABEL_COLUMNS,
    TABLES,
    TEXT_COLUMNS,
    Table,
    count,
    find_encoding,
    find_suffix,
    open_table,
)
from sentiment.errors import SentimentError

LABEL_FOLDERS = ("neg", "pos")
OPTIONS = ("text", "label", "positive", "negative")
MINIMUM_REVIEWS, MINIMUM_OF_A_LABEL = 20, 5
FEW_REVIEWS = 1_000
UNBALANCED = 0.2
ROWS_SCANNED = 100_000  # to name all labels of a file


def read_files(source: str) -> LabeledReviews:
    """Read labeled reviews, leave out empty ones, and report what is unusual about them.

    Args:
        source: path of a folder with ``train/pos``, ``train/neg`` and perhaps ``test/pos`` and
            ``test/neg``, each full of ``.txt`` files, as in the Large Movie Review Dataset;
            of a table, that is, a CSV file or JSON lines, whose columns and labels have usual names
            or are given after the path, as in
            ``reviews.csv?text=body&label=stars&positive=4,5&negative=1,2``; or of an
            ``.npz`` file in the layout of Keras' ``imdb.npz``, with the ranks of its words in
            ``imdb_word_index.json`` in the same folder.

    Raises:
        SentimentError: if they can't be used.
    """
    name, _, options = source.partition("?")
    path = Path(name)
    notes: list[str] = []
    try:
        # Excel's "Unicode text" is a .txt.
        is_table = find_suffix(path) in (*TABLES, ".txt") and not path.is_dir()
        if options and not is_table:
            raise ValueError(f"only a table takes options, here {options}, after ?")
        if is_table:
            reviews, notes = encode_once(path, _list_table(path, _parse_options(options)))
        elif path.is_dir():
            reviews, notes = encode_once(path, _list_folder(path))
        elif path.suffix.lower() == ".npz":
            reviews = read_npz(path)
        else:
            raise ValueError(
                "it is not a folder, a table (.csv, .tsv, .jsonl, .ndjson, .json, also .gz) or an "
                ".npz file; save another table as CSV"
            )
        if reviews.empty:
            notes.append(f"{count(reviews.empty, 'empty review')} left out")
        for note in notes:
            print(f"Data: {strip_control_characters(note)}")
        has_test = reviews.is_test.any()
        for is_test in (False, True) if has_test else (False,):
            chosen = reviews.is_test == is_test
            kind = ("training ", "test ")[is_test] if has_test else ""
            _check_set(kind, reviews.sequences.hashes[chosen], reviews.labels[chosen])
        return reviews
    except (OSError, ValueError, KeyError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(map(str, error.args))
        raise SentimentError(f"the reviews in {name} can't be used: {reason}") from None


def _list_folder(path: Path) -> Texts:
    """Find the texts in a folder.

    Raises:
        ValueError: if there are none for training.
    """
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
                content = io.BytesIO((path / subset / label / name).read_bytes())
                text = io.TextIOWrapper(content, find_encoding(content.getvalue()), "replace")
                yield next(number), text.read(), LABEL_FOLDERS.index(label), subset == "test"

    total = sum(map(len, names.values()))
    return Texts(_without_os_errors(read()), [digest.hexdigest()], total)


def _list_table(path: Path, options: dict[str, str]) -> Texts:
    """Find the texts in a table."""
    lists = {
        name: [unquote(label) for label in options[name].split(",")] if name in options else None
        for name in ("positive", "negative")
    }
    labels = Labels(**lists)
    notes: list[str] = []

    def read() -> Iterator[Text]:
        with open_table(path) as table:
            remedy = f'name the columns, as in "{path.name}?text=body&label=mood"'
            columns = [
                table.find_column(unquote(options[key]) if key in options else None, usual, remedy)
                for key, usual in (("text", TEXT_COLUMNS), ("label", LABEL_COLUMNS))
            ]
            if columns[0] == columns[1]:
                problem = "it has only" if len(table.columns) == 1 else "text and label are both"
                raise ValueError(
                    f"{problem} one column, {columns[0]}; it needs reviews and labels, separated "
                    "by commas, semicolons, tabs or |"
                )
            try:
                for text, name in table.read(*columns):
                    label = labels.read(name)
                    if label is not None:
                        yield table.position(), text, label, False
            except UnknownLabelError as error:
                line = table.line
                remedy = _explain_labels(path, table, columns[1], labels, options)
                raise ValueError(f"line {line} {error}; {remedy}") from None
            if table.note:
                notes.append(table.note)
            notes.extend(labels.describe())

    status = path.stat()
    fingerprint = [status.st_size, status.st_mtime_ns, options]
    return Texts(_without_os_errors(read()), fingerprint, status.st_size, notes)


def _without_os_errors(texts):
    try:
        yield from texts
    except OSError as error:  # an OSError of encode_once is about the cache
        raise ValueError(error.strerror or str(error)) from None


def _parse_options(text: str) -> dict[str, str]:
    """Return what follows the path of a table, still quoted.

    Raises:
        ValueError: if there is an unknown option.
    """
    options = dict(part.partition("=")[::2] for part in text.split("&") if part)
    if unknown := set(options) - set(OPTIONS):
        raise ValueError(f"unknown option {min(unknown)!r} after ?; use {', '.join(OPTIONS)}")
    return options


def _explain_labels(
    path: Path, table: Table, column: str, labels: Labels, options: dict[str, str]
) -> str:
    """Say which labels there are, those of the following rows included, and what to do."""
    with contextlib.suppress(OSError, ValueError, csv.Error):  # those found so far are enough
        for (name,) in itertools.islice(table.read(column), ROWS_SCANNED):
            labels.count(name)
            if len(labels.counts) > MAXIMUM_CLASSES:
                return (
                    f"the column {column} has more than {MAXIMUM_CLASSES} different labels; name "
                    f'another one, as in --data "{path}?label=mood", or list labels, as in '
                    f'--data "{path}?positive=4,5&negative=1,2"'
                )
    if not any(labels.counts):
        return f'column {column} has no labels; name another one, as in --data "{path}?label=mood"'
    columns = [f"{key}={options[key]}&" for key in ("text", "label") if key in options]
    return (
        f"{labels.list_found(column)}; specify the positive and the negative labels (others are "
        "skipped), for example: "
        f'--data "{path}?{"".join(columns)}{labels.suggest()}"'
    )


def _check_set(kind: str, hashes: np.ndarray, labels: np.ndarray):
    """Report what is unusual about the reviews of one set.

    Args:
        kind: its name before the word review, with a space.

    Raises:
        ValueError: if there are too few.
    """
    positive = int(labels.sum())
    rarer = min(positive, len(labels) - positive)
    counts = f"{positive:,} positive and {len(labels) - positive:,} negative {kind}reviews"
    if len(labels) < MINIMUM_REVIEWS or rarer < MINIMUM_OF_A_LABEL:
        raise ValueError(
            f"{counts} are too few; at least {MINIMUM_REVIEWS} are needed, "
            f"{MINIMUM_OF_A_LABEL} of each label"
        )
    different = len(np.unique(hashes))
    contradicting = sum(len(np.unique(hashes[labels == label])) for label in (0, 1)) - different
    if different < len(labels):
        print(f"Data: {count(len(labels) - different, f'duplicate {kind}review')}")
    if contradicting:
        print(f"Data: {count(contradicting, f'{kind}review')} with both labels")
    if len(labels) < FEW_REVIEWS:
        print(f"Data: {len(labels):,} {kind}reviews are a small data set")
    if rarer / len(labels) < UNBALANCED:
        majority = 1 - rarer / len(labels)
        print(
            f"Data: {counts}; always predicting the more frequent label is {majority:.1%} accurate"
        )

"""A user's own labeled reviews: a folder of text files, a table, or an .npz file.

The files may come from anywhere, so they are checked, and no code in them is run.
"""

import contextlib
import hashlib
import io
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from sentiment.console import strip_control_characters
from sentiment.data.encoding import Text, Texts, encode_once
from sentiment.data.labels import MAXIMUM_CLASSES, Labels, UnknownLabelError
from sentiment.data.npz import WORD_INDEX, read_npz
from sentiment.data.sequences import LabeledReviews, find_distinct
from sentiment.data.tables import (
    LABEL_COLUMNS,
    MAXIMUM_CHARACTERS,
    TABLES,
    TEXT_COLUMNS,
    Table,
    abbreviate,
    count,
    find_encoding,
    find_suffix,
    open_table,
)
from sentiment.data.tokenizer import SPECIAL_TOKENS
from sentiment.errors import SentimentError
from sentiment.paths import check_regular

LABEL_FOLDERS = ("neg", "pos")
OPTION_CHARACTERS = 100  # of a column's name in a suggestion
OPTIONS = ("text", "label", "positive", "negative")
MINIMUM_REVIEWS, MINIMUM_OF_A_LABEL = 20, 5
FEW_REVIEWS = 1_000
UNBALANCED = 0.2
ROWS_SCANNED = 100_000  # to name all labels of a file


def read_files(
    source: str, report: Callable[[str], object] = print, for_training: bool = True
) -> LabeledReviews:
    """Read labeled reviews, leave out empty ones, and report what is unusual about them.

    Args:
        source: path of a folder with ``train/pos``, ``train/neg`` and perhaps ``test/pos`` and
            ``test/neg``, each full of ``.txt`` files, as in the Large Movie Review Dataset;
            of a table, that is, a CSV file or JSON lines, whose columns and labels have usual names
            or are given after it: ``reviews.csv?text=body&label=stars&positive=4,5&negative=1,2``;
            or of an ``.npz`` file in the layout of Keras' ``imdb.npz``, with the ranks of its words
            in ``imdb_word_index.json`` in the same folder.
        report: takes each line on what is unusual.
        for_training: whether there must be enough reviews of each label to train on.

    Raises:
        SentimentError: if they can't be used.
    """
    name, _, options = source.partition("?")
    path = Path(name)
    try:
        reviews, notes = _read(path, options)
    except (OSError, ValueError) as error:
        reason = _explain(error, path) if isinstance(error, OSError) else str(error)
        raise SentimentError(f"the reviews in {name} can't be used: {reason}") from None
    if reviews.empty:
        notes.append(f"{count(reviews.empty, 'empty review')} left out")
    for note in notes:
        report(f"Data: {strip_control_characters(note)}")
    if not for_training:
        return reviews
    hashes, is_test = reviews.sequences.hashes, reviews.is_test
    is_left = ~np.isin(hashes, hashes[is_test])
    if shared := int(np.sum(~is_left & ~is_test)):
        report(
            f"Data: {count(shared, 'training review')} left out because the test set has them, too"
        )
    subsets = {"training ": is_left, "test ": is_test} if is_test.any() else {"": is_left}
    try:
        for kind, chosen in subsets.items():
            _check_set(kind, hashes[chosen], reviews.labels[chosen], report)
    except ValueError as error:
        raise SentimentError(f"the reviews in {name} can't be used: {error}") from None
    return reviews


def _read(path: Path, options: str) -> tuple[LabeledReviews, list[str]]:
    """Return the reviews and the notes on them; raise OSError or ValueError if it can't."""
    texts = list_texts(path, options)
    if texts is not None:
        return encode_once(path, texts)
    reviews, notes = read_npz(path), []
    if len(reviews.words) == len(SPECIAL_TOKENS):
        problem = f"{WORD_INDEX} is not in the folder of the .npz file, so the words are not known"
        notes.append(f"{problem} and the trained network can't read text")
    return reviews, notes


def list_texts(path: Path, options: str) -> Texts | None:
    """Return the texts of a folder or a table, and None for an .npz file, which has word ids.

    Raises:
        OSError, ValueError: if they can't be read.
    """
    is_folder = path.is_dir()
    if not is_folder:
        check_regular(path)
    is_table = find_suffix(path) in (*TABLES, ".txt") and not is_folder  # Excel's "Unicode text"
    if options and not is_table:
        raise ValueError(f"only a table takes options after ?; remove {abbreviate(options)}")
    if is_table:
        return _list_table(path, _parse_options(options))
    if is_folder:
        return _list_folder(path)
    if path.suffix.lower() == ".npz":
        return None
    raise ValueError(
        "it is not a folder, a table (.csv, .tsv, .jsonl, .ndjson, .json, also .gz) or an .npz "
        "file; save another table as CSV"
    )


def _list_folder(path: Path) -> Texts:
    """Find the texts in a folder.

    Raises:
        ValueError: if there are none for training.
    """
    names, digest = {}, hashlib.sha256()
    for subset, label in itertools.product(("train", "test"), LABEL_FOLDERS):
        folder = path / subset / label
        found = sorted(_list_files(folder)) if folder.is_dir() else []
        for entry in found:
            digest.update(repr((subset, label, *entry)).encode())
        names[subset, label] = [name for name, *_ in found]
    if not any(names["train", label] for label in LABEL_FOLDERS):
        raise ValueError("it has no train/pos/*.txt and train/neg/*.txt; put its reviews there")

    def read() -> Iterator[Text]:
        number = itertools.count(1)
        for (subset, label), files in names.items():
            for name in files:
                content = io.BytesIO((path / subset / label / name).read_bytes())
                text = io.TextIOWrapper(content, find_encoding(content.getvalue()), "replace")
                yield next(number), text.read(), LABEL_FOLDERS.index(label), subset == "test"

    total = sum(map(len, names.values()))
    return Texts(_without_os_errors(read(), path), [digest.hexdigest()], total)


def _list_files(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, bytes, and time of change of each text file."""
    for entry in os.scandir(folder):
        if entry.name.endswith(".txt"):
            status = entry.stat()
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"{entry.path} is not a regular file")
            if status.st_size > MAXIMUM_CHARACTERS:
                raise ValueError(f"{entry.path} has more than {MAXIMUM_CHARACTERS:,} bytes")
            yield entry.name, status.st_size, status.st_mtime_ns


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
                    f"{problem} one column, {abbreviate(columns[0])}; it needs reviews and labels, "
                    "separated by commas, semicolons, tabs or |"
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
    return Texts(_without_os_errors(read(), path), fingerprint, status.st_size, notes)


def _without_os_errors(texts, path):
    try:
        yield from texts
    except OSError as error:  # an OSError of encode_once is about the cache
        raise ValueError(_explain(error, path)) from None


def _explain(error: OSError, path: Path) -> str:
    reason = error.strerror or str(error)
    is_path = error.filename is None or Path(error.filename) == path
    return reason if is_path else f"{reason}: {error.filename}"


def _parse_options(text: str) -> dict[str, str]:
    """Return what follows the path of a table, still quoted.

    Raises:
        ValueError: if there is an unknown option.
    """
    options = dict(part.partition("=")[::2] for part in text.split("&") if part)
    if unknown := set(options) - set(OPTIONS):
        name = abbreviate(min(unknown))
        raise ValueError(f"unknown option {name!r} after ?; use {', '.join(OPTIONS)}")
    return options


def _explain_labels(
    path: Path, table: Table, column: str, labels: Labels, options: dict[str, str]
) -> str:
    """Say which labels there are, those of the following rows included, and what to do."""
    with contextlib.suppress(OSError, ValueError):  # those found so far are enough
        for (name,) in itertools.islice(table.read(column), ROWS_SCANNED):
            if labels.are_classes():
                labels.add(name)
    shown = abbreviate(column)
    if not labels.are_classes():
        return (
            f"the column {shown} has more than {MAXIMUM_CLASSES} different labels, or long ones; "
            f'name another one, as in --data "{path}?label=mood", or list labels, as in '
            f'--data "{path}?positive=4,5&negative=1,2"'
        )
    if not any(labels.found):
        return f'column {shown} has no labels; name another one, as in --data "{path}?label=mood"'
    columns = [
        f"{key}={abbreviate(options[key], OPTION_CHARACTERS)}&"
        for key in ("text", "label")
        if key in options
    ]
    return (
        f"{labels.list_found(shown)}; specify the positive and the negative labels (others are "
        "skipped), for example: "
        f'--data "{path}?{"".join(columns)}{labels.suggest()}"'
    )


def _check_set(kind: str, hashes: np.ndarray, labels: np.ndarray, report: Callable):
    """Report what is unusual about the reviews of one set.

    Args:
        kind: its name before the word review, with a space.

    Raises:
        ValueError: if there are too few.
    """
    different = len(np.unique(hashes))
    contradicting = sum(len(np.unique(hashes[labels == label])) for label in (0, 1)) - different
    usable = labels[find_distinct(hashes, labels)]
    positive = np.count_nonzero(usable)
    if len(usable) < MINIMUM_REVIEWS or not (
        MINIMUM_OF_A_LABEL <= positive <= len(usable) - MINIMUM_OF_A_LABEL
    ):
        rule = " (a duplicate doesn't count, nor does a review with both labels)"
        raise ValueError(
            f"{positive:,} positive and {len(usable) - positive:,} negative {kind}reviews are too "
            f"few{rule * (len(usable) < len(labels))}; at least {MINIMUM_REVIEWS} are needed, "
            f"{MINIMUM_OF_A_LABEL} of each label"
        )
    positive = np.count_nonzero(labels)
    rarer = min(positive, len(labels) - positive)
    if different < len(labels):
        report(f"Data: {count(len(labels) - different, f'duplicate {kind}review')}")
    if contradicting:
        report(f"Data: {count(contradicting, f'{kind}review')} with both labels")
    if len(labels) < FEW_REVIEWS:
        report(f"Data: {len(labels):,} {kind}reviews are a small data set")
    if rarer / len(labels) < UNBALANCED:
        majority = 1 - rarer / len(labels)
        report(
            f"Data: {positive:,} positive and {len(labels) - positive:,} negative {kind}reviews; "
            f"always predicting the more frequent label is {majority:.1%} accurate"
        )

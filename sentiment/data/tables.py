"""Tables: CSV files with any delimiter and JSON lines, compressed or not, read row by row."""

import codecs
import contextlib
import csv
import functools
import gzip
import io
import itertools
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

TEXT_COLUMNS = ("review", "text", "sentence", "comment", "content", "body")
LABEL_COLUMNS = ("sentiment", "label", "class", "polarity", "target", "rating", "stars", "score")
JSON_LINES = (".jsonl", ".ndjson", ".json")
TABLES = (".csv", ".tsv", *JSON_LINES)  # each of them may end in .gz, too
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
NO_DELIMITER = "\ud800"  # a lone surrogate: no file can be decoded to it
MAXIMUM_CHARACTERS = 10_000_000  # of a line or row; more are no review, and might fill the memory
NAME_CHARACTERS, NAMES_SHOWN = 40, 10  # of the columns and labels in a message
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # what a byte becomes that is not in the file's encoding
BYTES_CHECKED = 8_000


@dataclass
class Table:
    """A table that is being read.

    Attributes:
        columns: the names of its columns; in JSON lines, the keys of the first object.
        note: what the user should know about the delimiter, if it is not the usual one.
        rows: the line number and the cells of each row.
        position: returns how many bytes of the file have been read.
        line: the number of the line that was read last.
    """

    columns: list[str]
    note: str | None
    rows: Iterator[tuple[int, list[str]]]
    position: Callable[[], int]
    line: int = 1

    def find_column(self, name: str | None, usual_names: tuple[str, ...], remedy: str) -> str:
        """Return the column with the given name, or else the first one with a usual name.

        Raises:
            ValueError: if there is none, with a text that ends in the remedy.
        """
        columns = ", ".join(map(abbreviate, self.columns[:NAMES_SHOWN]))
        columns += ", …" * (len(self.columns) > NAMES_SHOWN)
        if name is not None:
            if name in self.columns:
                return name
            raise ValueError(
                f"there is no column {abbreviate(name)!r}; the columns are {columns}; {remedy}"
            )
        by_name = {column.lower(): column for column in reversed(self.columns)}
        for usual_name in usual_names:
            if usual_name in by_name:
                return by_name[usual_name]
        if len(self.columns) == 1:
            return self.columns[0]
        usual = ", ".join(usual_names)
        raise ValueError(f"no column is called {usual}; the columns are {columns}; {remedy}")

    def read(self, *columns: str) -> Iterator[tuple[str, ...]]:
        """Yield the cells of each remaining row in these columns; one that is missing is empty.

        Raises:
            ValueError: for a line that is not a row, with its number.
        """
        places = [self.columns.index(column) for column in columns]
        for line, row in self.rows:
            self.line = line
            yield tuple(row[place] if place < len(row) else "" for place in places)


def find_suffix(path: str | Path) -> str:
    """Return a path's suffix in lower case, without ``.gz``."""
    return Path(str(path).lower().removesuffix(".gz")).suffix


@contextlib.contextmanager
def open_table(source: str | os.PathLike | int) -> Iterator[Table]:
    """Open a table whose first row has the names of the columns.

    Its encoding is that of `open_text`. The delimiter is the character that makes the most columns
    of the first row.

    Args:
        source: its path, or the file descriptor of a CSV file.

    Raises:
        ValueError: if it is not a table.
    """
    with open_text(source, newline="") as (text, raw):  # the csv module handles line ends itself
        suffix = ".csv" if isinstance(source, int) else find_suffix(os.fspath(source))
        lines = enumerate(text, 1)
        filled = ((number, line) for number, line in lines if line.strip())
        number, first = next(filled, (0, ""))
        if re.fullmatch(r"sep=.\s*", first) and suffix not in JSON_LINES:  # for Excel
            number, first = next(filled, (0, ""))
        if not first:
            raise ValueError("it is empty")
        if suffix in JSON_LINES:
            columns = list(_parse_json(number, first))
            rows = _read_json(itertools.chain([(number, first)], filled), columns)
            yield Table(columns, None, rows, raw.tell)
        else:
            csv.field_size_limit(MAXIMUM_CHARACTERS)
            delimiter = _find_delimiter(first, suffix)
            rows = _read_csv(itertools.chain([(number, first)], lines), delimiter)
            columns = [name.strip() for name in next(rows)[1]]
            is_usual = delimiter == "," or suffix == ".tsv" or len(columns) == 1
            note = None if is_usual else f"the columns are separated by {DELIMITERS[delimiter]}"
            yield Table(columns, note, rows, raw.tell)


@contextlib.contextmanager
def open_text(
    source: str | os.PathLike | int, newline: str | None = None
) -> Iterator[tuple[Iterator[str], BinaryIO]]:
    """Open a text file by its path, which may end in ``.gz``, or by its file descriptor.

    It is UTF-16 if a byte order mark says so, as Excel's "Unicode text" is; otherwise UTF-8. Bytes
    that are not in this encoding become replacement characters.

    Args:
        source: the path or descriptor.
        newline: as for `open`.

    Yields:
        The lines, and the file as it is on disk, whose position shows the progress.

    Raises:
        ValueError: if it is not a text file, if its compression is damaged, or if a line is longer
            than `MAXIMUM_CHARACTERS`.
    """
    try:
        with open(source, "rb") as raw:  # noqa: PTH123, it may be a descriptor
            is_compressed = not isinstance(source, int) and str(source).lower().endswith(".gz")
            file = gzip.GzipFile(fileobj=raw) if is_compressed else raw
            beginning = file.peek(BYTES_CHECKED)[:BYTES_CHECKED]
            encoding = find_encoding(beginning)
            if encoding != "utf-16" and b"\0" in beginning:
                raise ValueError("it is not a text file; save it as CSV or text in UTF-8")
            with io.TextIOWrapper(file, encoding, "replace", newline) as text:
                yield _read_lines(text), raw
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ValueError("it is not a complete .gz file") from None


def find_encoding(beginning: bytes) -> str:
    """Return the encoding of a text file, which its first bytes say."""
    is_utf_16 = beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if is_utf_16 else "utf-8-sig"


def abbreviate(text: str, characters: int = NAME_CHARACTERS) -> str:
    """Return a text, or its beginning if it has more than some characters."""
    return text if len(text) <= characters else f"{text[:characters]}…"


def count(number: int, kind: str) -> str:
    """Return a number with a noun, for example ``1 review`` or ``2 reviews``."""
    return f"{number:,} {kind}" + ("" if number == 1 else "s")


def describe_damaged(number: int) -> str:
    """Return the note on texts with replacement characters."""
    return f"{count(number, 'review')} with bytes that are not UTF-8"


def _find_delimiter(header: str, suffix: str) -> str:
    delimiters = "\t,;|" if suffix == ".tsv" else ",;\t|"
    columns = [len(next(csv.reader([header], delimiter=delimiter))) for delimiter in delimiters]
    # Where the header has one column, the commas in the rows belong to the text.
    return delimiters[columns.index(max(columns))] if max(columns) > 1 else NO_DELIMITER


def _read_lines(text: TextIO):
    lines = iter(functools.partial(text.readline, MAXIMUM_CHARACTERS + 1), "")
    for number, line in enumerate(lines, 1):
        if len(line) > MAXIMUM_CHARACTERS:
            raise ValueError(
                f"line {number} has more than {MAXIMUM_CHARACTERS:,} characters; shorten it"
            )
        yield line


def _read_csv(lines, delimiter):
    """Yield the number of its first line and the cells of each row, the header's included."""
    header: list[str] = []
    begin, characters, is_last = 0, 0, False

    def feed():
        nonlocal begin, characters, is_last
        for number, line in lines:
            begin = begin if characters else number
            characters += len(line)
            if characters > MAXIMUM_CHARACTERS:
                raise ValueError(
                    f"the row that begins in line {begin} has more than {MAXIMUM_CHARACTERS:,} "
                    "characters; check that its quotes are closed"
                )
            yield line
        is_last = True
        yield "\n"  # a row of its own, unless a quote is open

    for row in csv.reader(feed(), delimiter=delimiter):
        if row and is_last:
            raise ValueError(f"the row that begins in line {begin} has a quote that is not closed")
        characters = 0
        header = header or row
        if any(cell.strip() for cell in row[len(header) :]):
            raise ValueError(
                f"line {begin} has {count(len(row), 'cell')}, but the header has {len(header)}; "
                "put quotes around a text that contains the delimiter"
            )
        if row:
            yield begin, row


def _read_json(lines, columns):
    for number, line in lines:
        yield number, list(_parse_json(number, line, columns).values())


def _parse_json(number, line, columns=None):
    """Return the cells of an object in some columns, or else in all, by column."""
    with contextlib.suppress(ValueError, RecursionError):
        # As text, a number may have any number of digits.
        if isinstance(parsed := json.loads(line, parse_int=str), dict):
            return {column: _to_text(parsed.get(column)) for column in columns or parsed}
    raise ValueError(
        f"line {number} is not a JSON object; write each review as an object on a line of its own"
    )


def _to_text(value):
    """Return a value of JSON as a cell of text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)

"""CSV files: the one place that opens them and finds their columns."""

import contextlib
import csv
import os
from collections.abc import Iterator
from typing import TextIO

TEXT_COLUMNS = ("review", "text", "sentence", "comment", "content", "body")
LABEL_COLUMNS = ("sentiment", "label", "class", "polarity", "target")


@contextlib.contextmanager
def open_csv(source: str | os.PathLike | int) -> Iterator[tuple[TextIO, csv.DictReader]]:
    """Open a CSV file with a header, by its path or file descriptor.

    A byte order mark is skipped. Bytes that are not UTF-8 become replacement characters.

    Yields:
        The file, and a reader of its rows as dictionaries.
    """
    csv.field_size_limit(2**31 - 1)
    # The csv module handles line ends itself.
    with open(source, encoding="utf-8-sig", errors="replace", newline="") as file:  # noqa: PTH123
        yield file, csv.DictReader(file)


def find_column(
    reader: csv.DictReader, name: str | None, usual_names: tuple[str, ...], remedy: str
) -> str:
    """Return the column with the given name, or else the first one with a usual name.

    Raises:
        ValueError: if there is none, with a text that ends in the remedy.
    """
    columns = list(reader.fieldnames or ())
    if not columns:
        raise ValueError("it is empty")
    if name is not None:
        if name in columns:
            return name
        raise ValueError(f"it has no column {name!r}, only {', '.join(columns)}; {remedy}")
    by_name = {column.strip().lower(): column for column in reversed(columns)}
    for usual_name in usual_names:
        if usual_name in by_name:
            return by_name[usual_name]
    if len(columns) == 1:
        return columns[0]
    usual = " or ".join(usual_names)
    raise ValueError(f"none of its columns {', '.join(columns)} is called {usual}; {remedy}")

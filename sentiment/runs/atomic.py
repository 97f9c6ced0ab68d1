"""Files that are never half-written."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from sentiment.errors import SentimentError


def write_atomically(path: Path, write: Callable[[Path], object]):
    """Write a file that gets its name only once it is complete on disk.

    Args:
        path: the file.
        write: takes the path of a temporary file and writes it.

    Raises:
        SentimentError: if it can't be written. What was there before is still there.
    """
    temporary = path.with_name(f".unfinished-{path.name}")
    try:
        temporary.unlink(missing_ok=True)  # it may be a link to another file
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        reason = getattr(error, "strerror", None) or str(error)
        raise SentimentError(
            f"can't write {path}: {reason}; what was saved before is intact"
        ) from None


def write_text(path: Path, text: str):
    """Write text as UTF-8, atomically, with its line ends as they are."""
    write_atomically(path, lambda temporary: temporary.write_bytes(text.encode()))


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

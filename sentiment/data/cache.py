"""Folders in ``cache/`` with what takes long to compute, such as encoded reviews."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import filelock

from sentiment.paths import cache_folder

FINGERPRINT = "fingerprint.json"
HASHES = "SHA256SUMS"  # of all other files
# What reading a missing, damaged or foreign folder raises.
UNUSABLE = (OSError, ValueError, LookupError, TypeError)

Result = TypeVar("Result")


def build_once(
    name: str,
    fingerprint: list,
    build: Callable[[Path], object],
    read: Callable[[Path], Result],
) -> Result:
    """Return the content of a folder in the cache, which is built if it isn't there.

    A folder that was damaged, or that has another fingerprint, is built again.

    Args:
        name: the name of the folder.
        fingerprint: JSON values that change when the content has to.
        build: writes files into the new folder.
        read: returns the content of the folder.

    Raises:
        OSError: if it can't be written.
    """
    cache = cache_folder()
    folder, unfinished = cache / name, cache / f".unfinished-{name}"

    def load() -> Result:
        _check(folder, fingerprint)
        return read(folder)

    with contextlib.suppress(*UNUSABLE):
        return load()
    cache.mkdir(parents=True, exist_ok=True)
    with _lock(cache / f".lock-{name}"):
        with contextlib.suppress(*UNUSABLE):  # another process may have built it
            return load()
        _remove(unfinished)  # left by a process that was killed
        try:
            unfinished.mkdir()
            build(unfinished)
            _complete(unfinished, fingerprint)
            _remove(folder)
            unfinished.replace(folder)
        finally:
            _remove(unfinished)
        return load()


@contextlib.contextmanager
def _lock(path: Path):
    """Wait for other processes, which may be building the same folder."""
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


def _complete(folder: Path, fingerprint: list):
    (folder / FINGERPRINT).write_text(json.dumps(fingerprint))
    (folder / HASHES).write_text(_hash_files(folder))
    for path in folder.iterdir():  # otherwise they may be empty after a power cut
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _check(folder: Path, fingerprint: list):
    """Raise one of `UNUSABLE` if a folder is missing, damaged or of another fingerprint."""
    hashes = _hash_files(folder)  # first, because it doesn't open a pipe
    if (folder / HASHES).read_text() != hashes:
        raise ValueError("the cache is damaged")
    if json.loads((folder / FINGERPRINT).read_text()) != json.loads(json.dumps(fingerprint)):
        raise ValueError("the cache is of another fingerprint")


def _hash_files(folder: Path) -> str:
    """Return what is in `HASHES`: the SHA-256 and the name of each file in a line, as sha256sum.

    Raises:
        ValueError: if something in the folder is not a regular file.
    """
    lines = []
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            raise ValueError(f"{path.name} is not a file")
        if path.name != HASHES:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            lines.append(f"{digest}  {path.name}\n")
    return "".join(lines)

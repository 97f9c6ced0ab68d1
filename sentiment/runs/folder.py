"""The run folder: where it is, the names of its files, and its lock."""

import contextlib
import difflib
import itertools
from pathlib import Path

import filelock

from sentiment.errors import SentimentError
from sentiment.paths import BUNDLED_MODELS, models_folder

MODEL, VOCABULARY, HISTORY = "model.keras", "vocabulary.txt", "history.csv"
RECORD, CHECKPOINT, PLOT, LOCK = "run.json", "checkpoint.npz", "history.png", ".lock"
STUDY = "study.md"  # in the folder of a study of tune.py, which holds runs
RESERVED_NAMES = ("newest", "best")  # what --run takes beside the name of a run
HASHED_FILES = (MODEL, VOCABULARY, HISTORY)


def create_run_folder(name: str) -> Path:
    """Create the first folder of ``name``, ``name-2``, ``name-3`` … that does not exist yet.

    Raises:
        SentimentError: if none can be created.
    """
    models = models_folder()
    try:
        models.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = models / (name if number == 1 else f"{name}-{number}")
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                continue
        raise AssertionError("there is always a next number")
    except OSError as error:
        raise SentimentError(
            f"can't create a run folder in {models.absolute()}: {error.strerror or error}"
        ) from None


def find_run_folder(name: str) -> Path:
    """Return the folder of a run, by its name in ``models/``, that of a bundled one, or its path.

    Raises:
        SentimentError: if it doesn't exist, with the closest name that does.
    """
    models = models_folder()
    for folder in (models / name, BUNDLED_MODELS / name, Path(name)):
        if exists(folder) and folder.is_dir():
            return folder
    parents = (models, BUNDLED_MODELS, Path(name).parent)
    found = {path for parent in parents if exists(parent) for path in parent.glob("*")}
    names = {path.name for path in found} | {str(path) for path in found}
    close = difflib.get_close_matches(name, sorted(names), n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise SentimentError(f"there is no run {name!r} in {models}/, and no run folder {name!r}{hint}")


def exists(path: Path) -> bool:
    """Return whether there is a file or folder, which is not so for a name that is too long."""
    try:
        return path.exists()
    except OSError:
        return False


def lock_run_folder(folder: Path) -> filelock.BaseFileLock:
    """Lock a run folder, so that no other process trains the same run.

    Raises:
        SentimentError: if another process trains it.
    """
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise SentimentError(f"{folder} is being trained by another process") from None
    except NotImplementedError:  # some network file systems have no locks
        pass
    except OSError as error:
        raise SentimentError(f"can't write {folder / LOCK}: {error.strerror or error}") from None
    return lock


def unlock_run_folder(folder: Path, lock: filelock.BaseFileLock):
    """Unlock a run folder that is finished."""
    lock.release()
    with contextlib.suppress(OSError):  # on Windows another process may have it open
        (folder / LOCK).unlink()

"""Where the runs and the cache are, in the project or where environment variables say."""

import os
import stat
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
BUNDLED_MODELS = PROJECT / "models"


def models_folder() -> Path:
    """Return the folder of all runs, ``models/`` in the project unless SENTIMENT_MODELS names one.

    The path is relative if the folder is in the current directory.
    """
    return _shorten(os.environ.get("SENTIMENT_MODELS") or BUNDLED_MODELS)


def cache_folder() -> Path:
    """Return the folder of what is computed once, ``cache/`` or SENTIMENT_CACHE, likewise."""
    return _shorten(os.environ.get("SENTIMENT_CACHE") or PROJECT / "cache")


def check_regular(path: Path):
    """Check that a path is a regular file: to read a pipe or a device may never end.

    Raises:
        OSError: if there is nothing.
        ValueError: if it is a folder, a pipe or a device.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path.name} is not a regular file")


def _shorten(path: str | Path) -> Path:
    path = Path(path).absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path

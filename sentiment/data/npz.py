"""An .npz file in the layout of Keras' ``imdb.npz``. It may hold pickled code, which is not run."""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np

from sentiment.data.sequences import LabeledReviews, concatenate
from sentiment.data.tokenizer import SPECIAL_TOKENS, START_ID

WORD_INDEX = "imdb_word_index.json"
MAXIMUM_RANK = 2**30


def read_npz(path: Path) -> LabeledReviews:
    """Read labeled reviews, whose words have ranks from 1, and leave out empty ones.

    Args:
        path: the file. The ranks of words are read from ``imdb_word_index.json`` in its folder;
            without it the words are not known.

    Raises:
        ValueError: if it is damaged or would run code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {
                name: _read_array(archive, name)
                for name in ("x_train", "y_train", "x_test", "y_test")
            }
    except OSError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(f"it is not a complete .npz file: {error}") from None
    (x, y), (x_test, y_test) = (
        _check_arrays(arrays[f"x_{subset}"], arrays[f"y_{subset}"], subset)
        for subset in ("train", "test")
    )
    ranks = [*x, *x_test]
    words = _read_word_index(path)
    if words and max(max(review, default=0) for review in ranks) > len(words):
        raise ValueError(f"it holds ranks of words that are not in {WORD_INDEX}")
    kept = [i for i, review in enumerate(ranks) if len(review)]
    if not kept:
        raise ValueError("all its reviews are empty")
    shift = len(SPECIAL_TOKENS) - 1  # ranks begin with 1
    return LabeledReviews(
        source=path.resolve().name,
        sequences=concatenate(
            [np.concatenate([[START_ID], ranks[i] + shift]).astype(np.int32) for i in kept]
        ),
        labels=np.append(y, y_test)[kept],
        is_test=np.arange(len(ranks))[kept] >= len(x),
        words=[*SPECIAL_TOKENS, *words],
        empty=len(ranks) - len(kept),
    )


def _check_arrays(x, y, subset):
    """Return one array of ranks per review, and the labels as float32."""
    if x.ndim < 1 or y.ndim != 1 or len(x) != len(y):
        raise ValueError(f"x_{subset} and y_{subset} are not lists of the same length")
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"y_{subset} holds labels other than 0 and 1")
    try:
        ranks = [np.asarray(sequence, dtype=np.int64) for sequence in x]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"x_{subset} does not hold lists of whole numbers") from None
    if any(r.ndim != 1 or (r < 0).any() or (r > MAXIMUM_RANK).any() for r in ranks):
        raise ValueError(f"x_{subset} does not hold lists of ranks of words")
    return ranks, y.astype(np.float32)


def _read_word_index(path: Path) -> list[str]:
    """Return the words in order of rank; none if the file isn't there."""
    index = path.with_name(WORD_INDEX)
    if not index.exists():
        print(
            f"Data: {WORD_INDEX} is not in the folder of {path.name}, so the words are not known "
            "and the trained network can't read text"
        )
        return []
    try:
        ranks = json.loads(index.read_text(encoding="utf-8"))
        if sorted(ranks.values()) == list(range(1, len(ranks) + 1)):
            return sorted(ranks, key=ranks.get)
    except (ValueError, AttributeError, TypeError, RecursionError):  # it is of another kind
        pass
    raise ValueError(f"{WORD_INDEX} in its folder does not number words from 1")


class _ArrayUnpickler(pickle.Unpickler):
    """Rebuilds NumPy arrays of lists and numbers, and refuses everything else."""

    def find_class(self, module, name):
        if (module, name) in (
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        ):
            return super().find_class(module, name)
        raise ValueError(f"it would run {module}.{name}, which is refused")


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    formats = np.lib.format
    with archive.open(f"{name}.npy") as file:
        version = formats.read_magic(file)
        read_header = (
            formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
        )
        if read_header(file)[2].hasobject:
            return np.asarray(_ArrayUnpickler(file).load())
    with archive.open(f"{name}.npy") as file:
        return formats.read_array(file, allow_pickle=False)

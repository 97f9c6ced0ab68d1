"""An .npz file in the layout of Keras' ``imdb.npz``. It may hold pickled code, which is not run."""

import json
import math
import re
import reprlib
import warnings
import zipfile
from operator import itemgetter
from pathlib import Path

import numpy as np

from sentiment.data.object_arrays import (
    MAXIMUM_NUMBERS,
    MAXIMUM_REVIEWS,
    NOT_LISTS,
    TOO_LARGE,
    parse_reviews,
)
from sentiment.data.sequences import LabeledReviews, concatenate
from sentiment.data.tokenizer import SPECIAL_TOKENS, START_ID

WORD_INDEX = "imdb_word_index.json"
MAXIMUM_RANK = 2**30
MAXIMUM_ARRAY_BYTES = 8 * MAXIMUM_NUMBERS + 10_000  # with its header
MAXIMUM_WORD_INDEX_BYTES = 20_000_000
NOT_IN_WORDS = re.compile("[\n\ud800-\udfff]")  # a run stores a word per line, as UTF-8
RANK_SHIFT = len(SPECIAL_TOKENS) - 1  # ranks begin with 1


def read_npz(path: Path) -> LabeledReviews:
    """Read labeled reviews, whose words have ranks from 1, and leave out empty ones.

    Args:
        path: the file. The ranks of words are read from ``imdb_word_index.json`` in its folder;
            without it the words are not known.

    Raises:
        ValueError: if it is damaged, is too large, holds anything else, or would run code.
    """
    try:
        archive = zipfile.ZipFile(path)
    except OSError:
        raise
    except Exception:  # a damaged file can fail in any way
        raise ValueError("it is not a complete .npz file") from None
    with archive:
        (x, y), (x_test, y_test) = (
            (_read_reviews(archive, f"x_{subset}"), _read_labels(archive, f"y_{subset}"))
            for subset in ("train", "test")
        )
    for subset, reviews, labels in (("train", x, y), ("test", x_test, y_test)):
        if len(reviews) != len(labels):
            raise ValueError(f"x_{subset} and y_{subset} are not of the same length")
    sequences = [*x, *x_test]
    words = _read_word_index(path)
    if words and any(sequence.max() > len(words) + RANK_SHIFT for sequence in sequences):
        raise ValueError(f"it holds ranks of words that are not in {WORD_INDEX}")
    kept = [i for i, sequence in enumerate(sequences) if len(sequence) > 1]
    if not kept:
        raise ValueError("all its reviews are empty")
    return LabeledReviews(
        source=path.resolve().name,
        sequences=concatenate([sequences[i] for i in kept]),
        labels=np.append(y, y_test)[kept],
        is_test=np.arange(len(sequences))[kept] >= len(x),
        words=[*SPECIAL_TOKENS, *words],
        empty=len(sequences) - len(kept),
    )


def _read_reviews(archive: zipfile.ZipFile, name: str) -> list[np.ndarray]:
    """Return an int32 array per review: the start id, then Keras' word ids."""
    content, shape, is_fortran, dtype = _read_member(archive, name)
    if shape and not math.prod(shape):  # a file without test reviews has an empty list of any type
        return [_to_ids(np.empty(0, dtype=np.int32))] * shape[0]
    try:
        if dtype.kind == "O":
            return [_to_ids(ranks) for ranks in parse_reviews(content, shape)]
        if dtype.kind not in "iu":
            raise ValueError(f"it holds {_describe(dtype)}, not whole numbers")
        if len(shape) != 2:
            raise ValueError(NOT_LISTS)
        array = np.frombuffer(content, dtype=dtype)
        array = array.reshape(shape, order="F" if is_fortran else "C")
        return [_to_ids(ranks) for ranks in array]
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _to_ids(ranks: np.ndarray) -> np.ndarray:
    if ranks.min(initial=1) < 1 or ranks.max(initial=1) > MAXIMUM_RANK:
        raise ValueError(
            f"it holds numbers that are not ranks of words, 1 to {MAXIMUM_RANK:,}; if the reviews "
            "are padded with zeros, remove the padding"
        )
    ids = np.full(len(ranks) + 1, START_ID, dtype=np.int32)
    ids[1:] = ranks
    ids[1:] += RANK_SHIFT
    return ids


def _read_labels(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Return the labels as float32."""
    content, shape, _, dtype = _read_member(archive, name)
    if dtype.kind not in "biuf" or len(shape) != 1:
        raise ValueError(
            f"{name}: it holds {_describe(dtype)} in {len(shape)} dimensions, not a list of 0 and 1"
        )
    labels = np.frombuffer(content, dtype=dtype)
    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError(f"{name}: it holds labels other than 0 and 1")
    return labels.astype(np.float32)


def _describe(dtype: np.dtype) -> str:
    return dtype.type.__name__.rstrip("_")


def _read_member(
    archive: zipfile.ZipFile, name: str
) -> tuple[bytes, tuple[int, ...], bool, np.dtype]:
    """Return an array's content, shape, whether it is in Fortran order, and its type."""
    members = [info for info in archive.infolist() if info.filename == f"{name}.npy"]
    if len(members) != 1:
        raise ValueError(f"{name} is {'in it more than once' if members else 'missing'}")
    (member,) = members
    if member.file_size > MAXIMUM_ARRAY_BYTES:
        raise ValueError(f"{name}: {TOO_LARGE}")
    if member.flag_bits & 1:
        raise ValueError(f"{name}: it is encrypted")
    # Others, which NumPy doesn't use, may take much memory.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(
            f"{name}: its compression is not supported; save it with numpy.savez_compressed"
        )
    formats = np.lib.format
    try:
        with archive.open(member) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header from Python 2 is read, too
            version = formats.read_magic(file)
            read_header = (
                formats.read_array_header_1_0
                if version == (1, 0)
                else formats.read_array_header_2_0
            )
            shape, is_fortran, dtype = read_header(file)
            content = file.read(member.file_size)
            size = len(content) if dtype.hasobject else math.prod(shape) * dtype.itemsize
            if file.tell() != member.file_size or size != len(content) or min(shape, default=0) < 0:
                raise ValueError
    except OSError:
        raise
    except Exception:  # it can fail in any way
        raise ValueError(f"{name}: it is damaged") from None
    if (
        max(shape, default=0) > MAXIMUM_NUMBERS
        or math.prod(shape) > MAXIMUM_NUMBERS
        or shape[:1] > (MAXIMUM_REVIEWS,)
    ):
        raise ValueError(f"{name}: {TOO_LARGE}")
    return content, shape, is_fortran, dtype


def _read_word_index(path: Path) -> list[str]:
    """Return the words in order of rank; none if the file isn't there."""
    index = path.with_name(WORD_INDEX)
    if not index.exists():
        return []
    where = f"{WORD_INDEX} in its folder"
    if not index.is_file():
        raise ValueError(f"{where} is not a file")
    if index.stat().st_size > MAXIMUM_WORD_INDEX_BYTES:
        raise ValueError(f"{where} has more than {MAXIMUM_WORD_INDEX_BYTES:,} bytes")
    try:
        pairs = json.loads(index.read_text(encoding="utf-8"), object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        raise ValueError(f"{where} is not valid JSON") from None
    if (
        not isinstance(pairs, tuple)  # a list stays a list
        or not pairs
        or not all(type(rank) is int for _, rank in pairs)
        or sorted(rank for _, rank in pairs) != list(range(1, len(pairs) + 1))
    ):
        raise ValueError(f"{where} must number the words: 1, 2, 3 and so on")
    words = [word for word, _ in sorted(pairs, key=itemgetter(1))]
    seen: set[str] = set()
    for word in words:
        if word in seen or NOT_IN_WORDS.search(word):
            problem = (
                "is in it more than once"
                if word in seen
                else "contains a line break or a surrogate"
            )
            raise ValueError(f"{where}: the word {reprlib.repr(word)} {problem}")
        seen.add(word)
    return words

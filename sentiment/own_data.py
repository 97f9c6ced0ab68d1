"""One's own labelled reviews: a folder of text files, a CSV file, or a Keras-layout .npz file.

Everything here may come from anywhere, so it is checked, and no code in it is run.
"""

import csv
import hashlib
import itertools
import json
import os
import pickle
import zipfile
from pathlib import Path
from urllib.parse import parse_qsl

from sentiment.reviews import Encoded, encode_once, join
from sentiment.terminal import make_printable
from sentiment.words import SPECIAL_WORDS, START

import numpy as np

TEXT_COLUMNS = ("review", "text", "sentence", "comment", "content", "body")
LABEL_COLUMNS = ("sentiment", "label", "class", "polarity", "target")
POSITIVE_LABELS = ("positive", "pos", "1", "1.0", "true")
NEGATIVE_LABELS = ("negative", "neg", "0", "0.0", "false", "-1")
LABEL_FOLDERS = ("neg", "pos")
FEWEST_REVIEWS, FEWEST_OF_A_LABEL = 20, 5
FEW_REVIEWS = 1_000
RARE_LABEL = 0.2


def read(source: str) -> Encoded:
    """Read labelled reviews, say what is odd about them, and leave out the empty ones.

    Args:
        source: path of a folder with ``train/pos``, ``train/neg`` and perhaps ``test/pos`` and
            ``test/neg``, each full of ``.txt`` files, as the Large Movie Review Dataset has them;
            of a ``.csv`` file, whose columns and labels are known by usual names or named behind
            it, as in ``reviews.csv?text=body&label=mood&positive=glad&negative=sad``; or of an
            ``.npz`` file in the layout of Keras' own ``imdb.npz``, with the words' ranks in
            ``imdb_word_index.json`` beside it.

    Raises:
        SystemExit: with status 1 after one line, where they can't be used.
    """
    name, _, options = source.partition("?")
    path = Path(name)
    try:
        if path.is_dir():
            data = _encode(path, *_list_folder(path))
        elif path.suffix.lower() == ".csv":
            data = _encode(path, *_open_csv(path, dict(parse_qsl(options, keep_blank_values=True))))
        elif path.suffix.lower() == ".npz":
            data = _read_npz(path)
        else:
            raise ValueError("it is no folder, .csv or .npz file")
        if data.empty:
            print(f"Data: {data.empty:,} empty reviews are left out")
        for part in (False, True):
            if not part or data.is_test.any():
                chosen = data.is_test == part
                _check(data.reviews.hashes[chosen], data.labels[chosen])
        return data
    except (OSError, ValueError, KeyError, csv.Error, pickle.UnpicklingError) as error:
        reason = getattr(error, "strerror", None) or " ".join(map(str, error.args))
        message = f"The reviews in {name} can't be used: {reason}"
        raise SystemExit(make_printable(message)) from None


def find_column(columns: list[str] | None, wanted: str | None, usual: tuple[str, ...]) -> str:
    """Return the column of that name, or else the first of a usual name.

    Raises:
        ValueError: where there is none.
    """
    if not columns:
        raise ValueError("it is empty")
    if wanted is not None:
        if wanted in columns:
            return wanted
        raise ValueError(f"it has no column {wanted!r}, but {', '.join(columns)}")
    by_name = {column.strip().lower(): column for column in reversed(columns)}
    for name in usual:
        if name in by_name:
            return by_name[name]
    if len(columns) == 1:
        return columns[0]
    raise ValueError(f"none of its columns {', '.join(columns)} is called {' or '.join(usual)}")


def _encode(path, fingerprint, texts, size):
    def read():
        try:
            yield from texts
        except OSError as error:  # the others are of the cache
            raise ValueError(error.strerror) from None

    return encode_once(path, fingerprint, read(), size)


def _list_folder(path):
    """Return the arguments of `encode_once` for a folder of text files."""
    names, digest = {}, hashlib.sha256()
    for part, kind in itertools.product(("train", "test"), LABEL_FOLDERS):
        folder = path / part / kind
        entries = os.scandir(folder) if folder.is_dir() else ()
        found = sorted(
            (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
            for entry in entries
            if entry.name.endswith(".txt")
        )
        for entry in found:
            digest.update(repr((part, kind, *entry)).encode())
        names[part, kind] = [name for name, *_ in found]
    if not any(names["train", kind] for kind in LABEL_FOLDERS):
        raise ValueError("there are no files train/pos/*.txt and train/neg/*.txt in it")

    def read():
        number = itertools.count(1)
        for (part, kind), there in names.items():
            for name in there:
                text = (path / part / kind / name).read_text(encoding="utf-8", errors="replace")
                yield next(number), text, LABEL_FOLDERS.index(kind), part == "test"

    return [digest.hexdigest()], read(), sum(map(len, names.values()))


def _open_csv(path, options):
    """Return the arguments of `encode_once` for a CSV file."""
    unknown = set(options) - {"text", "label", "positive", "negative"}
    if unknown:
        raise ValueError(f"behind ? it says {min(unknown)}, not text, label, positive or negative")
    positive = [options["positive"]] if "positive" in options else POSITIVE_LABELS
    negative = [options["negative"]] if "negative" in options else NEGATIVE_LABELS
    spelled = {
        word.strip().lower(): label
        for label, words in enumerate((negative, positive))
        for word in words
    }
    csv.field_size_limit(2**31 - 1)

    def read():
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = csv.DictReader(file)
            text = find_column(rows.fieldnames, options.get("text"), TEXT_COLUMNS)
            label = find_column(rows.fieldnames, options.get("label"), LABEL_COLUMNS)
            if text == label:
                raise ValueError("it has only one column, it needs reviews and their labels")
            for row in rows:
                key = (row[label] or "").strip().lower()
                if key not in spelled:
                    raise ValueError(
                        f"line {rows.line_num} has the label {row[label]!r}; say which labels are "
                        f"meant, as in {path.name}?positive=good&negative=bad"
                    )
                yield file.buffer.tell(), row[text] or "", spelled[key], False

    status = path.stat()
    return [status.st_size, status.st_mtime_ns, options], read(), status.st_size


def _read_npz(path):
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {
                name: _read_array(archive, name)
                for name in ("x_train", "y_train", "x_test", "y_test")
            }
    except OSError:
        raise
    except Exception as error:  # a damaged file fails in any way, a dangerous one is refused
        raise ValueError(f"it is no whole .npz file: {error}") from None

    def check_part(part):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if len(x) != len(y) or y.ndim != 1:
            raise ValueError(f"x_{part} and y_{part} don't belong together")
        if not np.isin(y, (0, 1)).all():
            raise ValueError(f"y_{part} holds labels other than 0 and 1")
        try:
            ranks = [np.asarray(sequence, dtype=np.int64) for sequence in x]
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"x_{part} holds other things than lists of whole numbers") from None
        if any(r.ndim != 1 or (r < 0).any() or (r > 2**30).any() for r in ranks):
            raise ValueError(f"x_{part} holds other things than lists of ranks of words")
        return ranks, y.astype(np.float32)

    index = path.with_name("imdb_word_index.json")
    words = None
    if index.exists():
        ranks = json.loads(index.read_text(encoding="utf-8"))
        words = sorted(ranks, key=ranks.get)
        if sorted(ranks.values()) != list(range(1, len(ranks) + 1)):
            raise ValueError(f"{index.name} beside it does not number words from 1 on")
    else:
        print(
            f"Data: without {index.name} beside {path.name} its words are not known, and the "
            "trained network can't read text"
        )
    (x, y), (x_test, y_test) = check_part("train"), check_part("test")
    shift = len(SPECIAL_WORDS) - 1  # ranks begin with 1
    if words and max(max(ranks, default=0) for ranks in [*x, *x_test]) > len(words):
        raise ValueError(f"it holds ranks of words that {index.name} beside it doesn't know")
    kept = [i for i, ranks in enumerate([*x, *x_test]) if len(ranks)]
    if not kept:
        raise ValueError("all its reviews are empty")
    sequences = [np.concatenate([[START], r + shift]).astype(np.int32) for r in [*x, *x_test]]
    return Encoded(
        reviews=join([sequences[i] for i in kept]),
        labels=np.append(y, y_test)[kept],
        is_test=np.arange(len(sequences))[kept] >= len(x),
        words=[*SPECIAL_WORDS, *(words or ())],
        empty=len(sequences) - len(kept),
    )


class _ArrayUnpickler(pickle.Unpickler):
    """Rebuilds numpy arrays of lists and numbers, and refuses everything else."""

    def find_class(self, module, name):
        if (module, name) in (
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        ):
            return super().find_class(module, name)
        raise ValueError(f"it is refused, for it would run {module}.{name}")


def _read_array(archive, name):
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


def _check(hashes, labels):
    """Say what is odd about a part of the reviews.

    Raises:
        ValueError: if they are too few.
    """
    positive = int(labels.sum())
    counts = f"{positive:,} positive and {len(labels) - positive:,} negative reviews"
    if len(labels) < FEWEST_REVIEWS or min(positive, len(labels) - positive) < FEWEST_OF_A_LABEL:
        raise ValueError(
            f"{counts} are too few, {FEWEST_REVIEWS} and {FEWEST_OF_A_LABEL} of each are the least"
        )
    different = len(np.unique(hashes))
    labelled = sum(len(np.unique(hashes[labels == label])) for label in (0, 1))
    rarer = min(positive, len(labels) - positive) / len(labels)
    odd = {
        f"{len(labels) - different:,} reviews stand more than once": different < len(labels),
        f"{labelled - different:,} reviews stand there as positive and as negative": labelled
        > different,
        f"{len(labels):,} reviews are few to learn from": len(labels) < FEW_REVIEWS,
        f"{counts}: always giving the same answer would be right for {1 - rarer:.1%}": rarer
        < RARE_LABEL,
    }
    for warning, applies in odd.items():
        if applies:
            print(f"Data: {warning}")

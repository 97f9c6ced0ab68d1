"""An .npz file in the layout of Keras' imdb.npz gives Keras' word ids; others are rejected."""

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from sentiment.data import object_arrays
from sentiment.data.dataset import load_data
from sentiment.data.files import read_files
from sentiment.data.npz import read_npz
from sentiment.data.tokenizer import OOV_ID, SPECIAL_TOKENS, START_ID
from sentiment.errors import SentimentError
from tests.conftest import assert_one_line
from tests.test_files import describe

FEW = [[1]] * 4
FEW_LABELS = [0, 1, 0, 1]
MATRIX = [[i + 1, 2, 300, 70_000 - i] for i in range(20)]
LABELS = np.arange(20) % 2
WORDS = {f"word{rank}": rank for rank in range(1, 101)}


def as_objects(elements):
    """Return a one-dimensional array of objects."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def save(array):
    """Return an array, or a pickle in the place of an array of objects, as an .npy file."""
    file = io.BytesIO()
    if isinstance(array, bytes):
        header = {"descr": "|O", "fortran_order": False, "shape": (20,)}
        np.lib.format.write_array_header_1_0(file, header)
        return file.getvalue() + array
    np.save(file, array)
    return file.getvalue()


def save_header(descr, shape, content):
    """Return an .npy file whose header may not describe its content."""
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + content


def write(path, compression=zipfile.ZIP_DEFLATED, **changed):
    """Write a usable file, of which some .npy files are others, or missing if they are None."""
    few = as_objects([[i + 1] for i in range(20)])
    members = {"x_train": few, "y_train": LABELS, "x_test": as_objects(MATRIX), "y_test": LABELS}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in (members | changed).items():
            if content is not None:
                is_file = isinstance(content, bytes) and content[:1] == b"\x93"
                archive.writestr(f"{name}.npy", content if is_file else save(content))


def pickle_in_python_2(rows):
    """Return what Python 2 makes of an array of lists, half of them of ints, half of longs."""
    text = b"U\x01b"
    lists = b"".join(
        b"]("
        + b"".join(
            b"J" + struct.pack("<i", n) if i % 2 else b"\x8a\x03" + n.to_bytes(3, "little")
            for n in row
        )
        + b"e"
        for i, row in enumerate(rows)
    )
    dtype = b"cnumpy\ndtype\nq\x08U\x02O8q\tK\x00K\x01\x87q\nRq\x0b(K\x03U\x01|q\x0cNNN"
    return (
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85q\x03")
        + (text + b"q\x04\x87q\x05Rq\x06(K\x01K" + bytes([len(rows)]) + b"\x85q\x07" + dtype)
        + (b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK?tq\rb\x89](" + lists + b"etb.")
    )


# NumPy would take the bytes of this array for pointers to objects, as its data type says.
POINTERS = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01K\x14\x85"
    b"cnumpy\ndtype\n(X\x02\x00\x00\x00V8\x89\x88tR(K\x03X\x01\x00\x00\x00|N(X\x01\x00\x00\x00ft}X\x01\x00\x00\x00f("
    b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8\x89\x88tRK\x00tsK\x08K\x01K\x00tb\x89B"
) + (struct.pack("<I", 160) + b"A" * 160 + b"tb.")


def assert_refused(path, *expected):
    with pytest.raises(SentimentError) as raised:
        read_files(str(path))
    assert_one_line(raised.value)
    for word in (str(path), *expected):
        assert word in str(raised.value)


@pytest.fixture
def ranks():
    """100 different reviews as ranks of words."""
    generator = np.random.default_rng(0)
    return [[*generator.integers(1, 50, 6).tolist(), 50 + i] for i in range(100)]


@pytest.fixture
def path(ranks, tmp_path):
    x, y = np.empty(len(ranks), dtype=object), np.arange(len(ranks)) % 2
    x[:] = ranks
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:40], y_test=y[:40])
    return tmp_path / "own.npz"


def test_ranks_become_the_ids_of_keras(ranks, path, capsys):
    data = load_data(str(path), 60, 100)
    assert len(data.x_test) == 40 and data.vocabulary == list(SPECIAL_TOKENS)
    expected = {(START_ID, *(r + 3 if r + 3 < 60 else OOV_ID for r in review)) for review in ranks}
    assert {tuple(sequence) for sequence in [*data.x_train, *data.x_test]} <= expected
    assert "imdb_word_index.json" in capsys.readouterr().out  # so its words are not known


def test_the_words_are_those_of_the_word_index(ranks, path):
    words = {f"word{rank}": rank for rank in range(1, 150)}
    path.with_name("imdb_word_index.json").write_text(json.dumps(words))
    train, *_ = describe(load_data(str(path), 1_000, 100))
    texts = {" ".join(f"word{rank}" for rank in review) for review in ranks}
    assert {text.removeprefix("<start> ") for text, _ in train} <= texts


def replace_word(word):
    words = dict(WORDS)
    del words["word7"]
    return json.dumps({**words, word: 7})


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (replace_word("two\nlines"), r"'two\nlines'"),
        (replace_word("\ud800half"), r"'\ud800half'"),
        (json.dumps({word: float(rank) for word, rank in WORDS.items()}), "number"),
        (json.dumps({**WORDS, "word1": True}), "number"),
        (json.dumps({**WORDS, "word1": "1"}), "number"),
        (json.dumps({**WORDS, "word1": 2}), "number"),
        (json.dumps({**WORDS, "word1": None}), "number"),
        (json.dumps(list(WORDS.items())), "number"),
        (json.dumps(WORDS)[:-1] + ', "word1": 101}', "'word1'"),
        (json.dumps(WORDS)[:-1] + ', "word1": 1}', "number"),
        ("{}", "number"),
        ("null", "number"),
        ("7", "number"),
        ('{"word1": 1e999}', "number"),
        ("[" * 100_000, "JSON"),
        ('{"word1": ' + "[" * 100_000, "JSON"),
        ('{"word1": ' + "9" * 10_000 + "}", "JSON"),
    ],
)
def test_an_unusable_word_index_is_one_line(path, index, expected):
    path.with_name("imdb_word_index.json").write_text(index)
    assert_refused(path, "imdb_word_index.json", expected)


@pytest.mark.parametrize("make", [os.mkdir, getattr(os, "mkfifo", os.mkdir)])
def test_a_word_index_that_is_no_file_is_one_line(path, make):
    make(path.with_name("imdb_word_index.json"))
    assert_refused(path, "imdb_word_index.json", "file")


def test_a_word_index_that_is_too_large_is_not_read(path):
    with path.with_name("imdb_word_index.json").open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    assert_refused(path, "imdb_word_index.json", "bytes")


@pytest.mark.parametrize("index", ['{"word1": 1}', '{"word1": 7}', "[1]", "{"])
def test_a_word_index_of_other_reviews_is_one_line(path, index):
    path.with_name("imdb_word_index.json").write_text(index)
    with pytest.raises(SentimentError, match=r"own\.npz") as raised:
        load_data(str(path), 1_000, 100)
    assert_one_line(raised.value)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (None, "own.npz"),
        ({"x_train": FEW, "y_train": FEW_LABELS}, "x_test"),
        ({"x_train": FEW, "y_train": [0]}, "y_train"),
        ({"x_train": FEW, "y_train": [0, 1, 2, 3]}, "y_train"),
        ({"x_train": [["a"]], "y_train": [0]}, "x_train"),
        ({"x_train": [[-1]], "y_train": [0]}, "x_train"),
        ({"x_train": FEW, "y_train": FEW_LABELS, "x_test": [[]], "y_test": [0]}, "few"),
    ],
)
def test_an_unusable_file_is_one_line(tmp_path, arrays, expected):
    path = tmp_path / "own.npz"
    if arrays is None:
        path.write_bytes(b"PK no")
    elif expected == "x_test":
        np.savez(path, **arrays)
    else:
        np.savez(path, **{"x_test": FEW, "y_test": FEW_LABELS, **arrays})
    with pytest.raises(SentimentError) as raised:
        load_data(str(path), 100, 100)
    assert_one_line(raised.value)
    assert expected in str(raised.value) and str(path) in str(raised.value)


@pytest.mark.parametrize(
    "x_train",
    [
        *(save(pickle.dumps(as_objects(MATRIX), protocol)) for protocol in (2, 3, 4, 5)),
        *(
            save(pickle.dumps(as_objects([np.array(row) for row in MATRIX]), protocol))
            for protocol in (2, 3, 4)
        ),
        save(pickle_in_python_2(MATRIX)),
        np.array(MATRIX, dtype=object),
        np.array(MATRIX),
        np.asfortranarray(MATRIX),
        np.array(MATRIX, dtype=">i4"),
        np.array(MATRIX, dtype=np.uint64),
    ],
)
def test_ranks_are_read(tmp_path, x_train):
    write(tmp_path / "own.npz", x_train=x_train)
    read = read_npz(tmp_path / "own.npz")
    assert [[i - 3 for i in ids[1:]] for ids in read.sequences[:20]] == MATRIX


def test_long_and_shared_lists_are_read(tmp_path):
    long = [1, 300, 70_000] * 1_000
    rows = [long, [5], *MATRIX[2:19], long]
    write(tmp_path / "own.npz", x_train=as_objects(rows))
    read = read_npz(tmp_path / "own.npz")
    assert [[i - 3 for i in ids[1:]] for ids in read.sequences[:20]] == rows


def test_a_file_without_test_reviews_is_read(tmp_path):
    write(tmp_path / "own.npz", x_test=np.array([]), y_test=np.array([]))
    assert not read_npz(tmp_path / "own.npz").is_test.any()


@pytest.mark.parametrize("dtype", [bool, np.float32, ">u2", np.longdouble])
def test_labels_of_any_type_of_number_are_read(tmp_path, dtype):
    write(tmp_path / "own.npz", y_train=LABELS.astype(dtype))
    assert read_npz(tmp_path / "own.npz").labels[:20].tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    "element",
    [
        [1.7],
        ["1"],
        [True],
        [1j],
        [None],
        [[1]],
        [0],
        [-1],
        [2**31],
        [2**64],
        [2**5_000],
        [np.int64(1)],
        (1, 2),
        "12",
        1,
        None,
        {},
        np.array([1.0]),
        np.array([True]),
        np.array([[1]]),
    ],
)
def test_a_review_that_is_no_list_of_ranks_is_one_line(tmp_path, element):
    write(tmp_path / "own.npz", x_train=as_objects([*MATRIX[:19], element]))
    assert_refused(tmp_path / "own.npz", "x_train")


@pytest.mark.parametrize(
    "x_train",
    [
        np.array(MATRIX) + 0.7,
        np.array(MATRIX) + 0j,
        np.array(MATRIX).astype(str),
        np.array(MATRIX).astype("M8[s]"),
        np.array(MATRIX).astype("m8[s]"),
        np.array(MATRIX) > 0,
        np.zeros((20, 2), dtype=[("rank", int)]),
        np.zeros((20, 2), dtype=[("rank", object)]),
        np.array(MATRIX) * 0,
        np.array(MATRIX, dtype=np.uint64) + np.uint64(2**63),
        np.array(1),
        np.array(None),
        np.arange(20) + 1,
        np.ones((20, 2, 2), dtype=int),
        save_header("<i8", (20, 3), np.array(MATRIX).tobytes()),
        save_header("<i8", (20, 5), np.array(MATRIX).tobytes()),
        save_header("<i8", (-20, -4), np.array(MATRIX).tobytes()),
        save_header("|i1", (10**9, 10**9), b""),
        save_header("|i1", (10**30, 0), b""),
        save_header("|i1", (0, 10**30), b""),
    ],
)
def test_other_arrays_in_the_place_of_reviews_are_one_line(tmp_path, x_train):
    write(tmp_path / "own.npz", x_train=x_train)
    assert_refused(tmp_path / "own.npz", "x_train")


@pytest.mark.parametrize(
    "y_train",
    [
        LABELS * 0.5,
        np.where(LABELS, 1, np.nan),
        LABELS + 0j,
        LABELS.astype(str),
        LABELS.astype("M8[D]"),
        LABELS.astype("m8[D]"),
        LABELS.astype(object),
        np.zeros(20, dtype=[("label", int)]),
        LABELS[:, np.newaxis],
        LABELS[:10],
        np.array(1),
    ],
)
def test_other_labels_are_one_line(tmp_path, y_train):
    write(tmp_path / "own.npz", y_train=y_train)
    assert_refused(tmp_path / "own.npz", "y_train")


@pytest.mark.parametrize(
    ("pickled", "expected"),
    [
        (POINTERS, "x_train"),
        (b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.", "os.system"),
        (b"(X\x02\x00\x00\x00idios\nsystem\n.", "os.system"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"Pname\n.", "PERSID"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x.", "x_train"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b"x.", "x_train"),
        (b"\x80\x02N" + b"\x85" * 100_000 + b".", "x_train"),
        (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "x_train"),
        (b"\x80\x02a.", "x_train"),
        (b"\x80\x02", "x_train"),
        (pickle.dumps(as_objects(MATRIX))[:-9], "x_train"),
        (pickle.dumps(as_objects(MATRIX)) + b"more", "x_train"),
        (pickle.dumps(as_objects(MATRIX[:19])), "x_train"),
        (pickle.dumps(MATRIX), "x_train"),
        # A list in itself.
        (pickle.dumps(as_objects([[]] * 20), 3).replace(b"]q\x0d(", b"]q\x0d(h\x0d"), "x_train"),
    ],
)
def test_a_pickle_of_anything_else_is_one_line(tmp_path, pickled, expected):
    write(tmp_path / "own.npz", x_train=save(pickled))
    assert_refused(tmp_path / "own.npz", expected)


@pytest.mark.parametrize(
    ("limit", "x_train"),
    [
        ("MAXIMUM_NUMBERS", as_objects([[1] * 100] * 20)),
        ("MAXIMUM_NUMBERS", as_objects([np.ones(100, dtype=np.int8)] * 20)),
        ("MAXIMUM_OPCODES", save(b"]" * 10_000)),
        ("MAXIMUM_OPCODES", save(b"N" + b"\x94" * 10_000)),
    ],
)
def test_a_pickle_that_is_too_large_is_one_line(tmp_path, monkeypatch, limit, x_train):
    monkeypatch.setattr(object_arrays, limit, 1_000)
    write(tmp_path / "own.npz", x_train=x_train)
    assert_refused(tmp_path / "own.npz", "x_train", "too large")


@pytest.mark.parametrize("size", [10, 10_000, 2**32 - 2])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wrong_size_in_the_zip_directory_is_one_line(tmp_path, compression, size):
    write(tmp_path / "own.npz", compression)
    change_zip_directory(tmp_path / "own.npz", 24, struct.pack("<I", size))
    assert_refused(tmp_path / "own.npz", "x_train")


def test_an_encrypted_array_is_one_line(tmp_path):
    write(tmp_path / "own.npz")
    change_zip_directory(tmp_path / "own.npz", 8, struct.pack("<H", 1))
    assert_refused(tmp_path / "own.npz", "x_train", "encrypted")


def change_zip_directory(path, offset, value):
    """Write over a field of the entry of x_train, the first one."""
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + offset
    content[at : at + len(value)] = value
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
def test_a_missing_array_is_named(tmp_path, name):
    write(tmp_path / "own.npz", **{name: None})
    assert_refused(tmp_path / "own.npz", name, "missing")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_there_twice_is_one_line(tmp_path):
    write(tmp_path / "own.npz")
    with zipfile.ZipFile(tmp_path / "own.npz", "a") as archive:
        archive.writestr("y_test.npy", save(1 - LABELS))
    assert_refused(tmp_path / "own.npz", "y_test", "more than once")


def test_a_compression_that_numpy_does_not_use_is_one_line(tmp_path):
    write(tmp_path / "own.npz", zipfile.ZIP_LZMA)
    assert_refused(tmp_path / "own.npz", "x_train", "compressed")


@pytest.mark.filterwarnings("error")
def test_a_header_that_python_warns_about_is_one_line(tmp_path):
    text = b'{"\\d": 1if 1else 2}'
    write(tmp_path / "own.npz", x_train=b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
    assert_refused(tmp_path / "own.npz", "x_train", "damaged")

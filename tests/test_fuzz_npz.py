"""Files in the layout of imdb.npz, and word indexes, are read or rejected in one line."""

import io
import json
import pickle
import pickletools
import zipfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentiment.data.files import read_files
from sentiment.data.object_arrays import parse_reviews
from sentiment.errors import SentimentError
from tests.fuzzing import JSON, damage, fuzz, make_folder, read_or_reject, write_npz

pytestmark = pytest.mark.slow

LISTS = np.array([[i + 1, 2] for i in range(20)] + [[5]], dtype=object)
FEW = np.array([[i + 1, 3] for i in range(20)] + [[7]], dtype=object)
LABELS = np.arange(21) % 2
NPZ = write_npz(x_train=LISTS, y_train=LABELS, x_test=FEW, y_test=LABELS)
WORDS = {f"word{rank}": rank for rank in range(1, 21)}


def split_opcodes(pickled):
    """Return the bytes of each opcode, with its argument."""
    starts = [position for *_, position in pickletools.genops(pickled)]
    return [pickled[i:j] for i, j in zip(starts, [*starts[1:], len(pickled)], strict=True)]


REPEATED = [[1, 2], [3], [2**20, 5, 300]]
ARRAYS = [
    np.array([[1, 300, 70_000], [], [1], [2**31 - 1]], dtype=object),
    np.array([[1, 2], [3, 4]], dtype=object),
    np.array(REPEATED * 2, dtype=object),  # of the same lists
    np.array([np.array([1, 2]), np.array([], dtype=">i2"), np.uint8([3])], dtype=object),
]
VALID = [
    (split_opcodes(pickle.dumps(array, protocol)), array.shape)
    for array in ARRAYS
    for protocol in (2, 3, 4, 5)
]
WITHOUT_ARGUMENT = [
    opcode.code.encode("latin1") for opcode in pickletools.opcodes if opcode.arg is None
]
BYTES_OF_ARGUMENT = {
    1: "KqhUC\x82\x8a\x8c",
    2: "M\x83",
    4: "JrjBTX\x84\x8b",
    8: "G\x8d\x8e\x95\x96",
}
OPCODES = st.one_of(
    st.sampled_from(sorted({opcode for opcodes, _ in VALID for opcode in opcodes})),
    st.sampled_from(WITHOUT_ARGUMENT),
    *(
        st.builds(
            bytes.__add__,
            st.sampled_from([code.encode("latin1") for code in codes]),
            st.binary(min_size=size, max_size=size)
            | st.integers(0, 3).map(lambda number, size=size: number.to_bytes(size, "little")),
        )
        for size, codes in BYTES_OF_ARGUMENT.items()
    ),
    st.sampled_from(
        [
            *(b"cos\nsystem\n", b"ibuiltins\neval\n", b"\x8c\x02os", b"\x8c\x06system", b"Pname\n"),
            *(b"U\x02V8", b"U\x02O8", b"U\x02i8", b"U\x01<", b"U\x01>", b"C\x01b"),
            *(b"I01\n", b"I5\n", b"L5L\n", b"F0.5\n", b"S'b'\n", b"Vb\n"),
            *(b"(K\x01K\x02e", b"(M\x01\x01J\x01\x00\x00\x00e", b"](K\x01e", b"h\x00\x85R", b"K?"),
        ]
    ),
)


@given(st.one_of(st.binary(), damage(NPZ)))
@example(NPZ)
@fuzz()
def test_npz_files(content):
    path = make_folder("npz") / "own.npz"
    path.write_bytes(content)
    read_or_reject(read_files, str(path))


@given(st.data())
@fuzz()
def test_npz_files_with_valid_checksums(data):
    with zipfile.ZipFile(io.BytesIO(NPZ)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = data.draw(st.sampled_from(sorted(members)))
    members[name] = data.draw(st.one_of(damage(members[name]), JSON.map(pickle.dumps)))
    path = make_folder("npz_with_checksums") / "own.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    read_or_reject(read_files, str(path))


@st.composite
def change_opcodes(draw):
    """A pickle of an array, of which some opcodes are others, and the shape of the array."""
    opcodes, shape = draw(st.sampled_from(VALID))
    opcodes = list(opcodes)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(opcodes)))
        end = at + draw(st.integers(0, 2))
        opcodes[at:end] = draw(st.lists(OPCODES, max_size=3) | st.just(opcodes[at:end] * 2))
    return b"".join(opcodes), shape


@given(change_opcodes() | st.tuples(st.lists(OPCODES).map(b"".join), st.just((1,))))
@example((b"".join(VALID[0][0]), VALID[0][1]))
@fuzz()
def test_pickles(pickled_and_shape):
    pickled, shape = pickled_and_shape

    def parse():
        try:
            return parse_reviews(pickled, shape)
        except ValueError as error:
            raise SentimentError(f"x_train: {error}") from None

    reviews = read_or_reject(parse)
    if reviews is not None:
        expected = pickle.loads(pickled)  # only what NumPy writes itself is accepted
        assert expected.shape == shape
        assert [list(review) for review in reviews] == [list(review) for review in expected]


@given(
    st.one_of(
        JSON,
        st.dictionaries(st.text(max_size=3), st.integers(1, 3)),
        st.lists(st.text(st.characters(), max_size=3), min_size=20, unique=True).map(
            lambda words: {word: rank for rank, word in enumerate(words, 1)}
        ),
        st.dictionaries(st.sampled_from(sorted(WORDS)), JSON).map(lambda changed: WORDS | changed),
    )
)
@example([1])
@fuzz()
def test_word_indexes(content):
    path = make_folder("word_indexes") / "own.npz"
    path.write_bytes(NPZ)
    path.with_name("imdb_word_index.json").write_text(json.dumps(content))
    reviews = read_or_reject(read_files, str(path))
    if reviews is not None:
        stored = "\n".join(reviews.words).encode().decode().split("\n")
        assert stored[4:] == sorted(content, key=content.get)

"""Files in the layout of imdb.npz, and word indexes, are read or rejected in one line."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentiment.data.files import read_files
from tests.fuzzing import JSON, damage, fuzz, make_folder, read_or_reject, write_npz

pytestmark = pytest.mark.slow

LISTS = np.array([[1, 2], [3]] * 10, dtype=object)
NPZ = write_npz(x_train=LISTS, y_train=np.arange(20) % 2, x_test=LISTS, y_test=np.arange(20) % 2)


@given(st.one_of(st.binary(), damage(NPZ)))
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


@given(JSON | st.dictionaries(st.text(max_size=3), st.integers(1, 3)))
@example([1])
@fuzz()
def test_word_indexes(content):
    path = make_folder("word_indexes") / "own.npz"
    path.write_bytes(NPZ)
    path.with_name("imdb_word_index.json").write_text(json.dumps(content))
    read_or_reject(read_files, str(path))

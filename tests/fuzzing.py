"""What the fuzz tests share: damaged files, changed dictionaries, and the check of what is raised.

``FUZZ_EXAMPLES=5000 python -m pytest tests/test_fuzz*.py`` tries more examples. So does atheris,
which looks for inputs that reach code that no other has reached:

    pip install atheris==3.0.0
    python -m tests.fuzz_with_atheris test_fuzz_tables test_csv_files -max_total_time=60
"""

import functools
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from sentiment.errors import SentimentError
from tests.conftest import assert_one_line

fuzz = functools.partial(
    settings,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")),
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TEMPORARY = tempfile.TemporaryDirectory()  # atheris has no fixtures
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
WORDS = st.sampled_from(["epoch", "loss", "acc", "val_loss", "0.5", "nan", "1e999", "", '"', "x"])
LINES = st.lists(st.lists(WORDS, max_size=4).map(",".join), max_size=5).map("\n".join)
NESTED = b"[" * 100_000  # too deep for the stack


@st.composite
def damage(draw, original: bytes):
    """The content of a file, damaged."""
    content = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        end = at + draw(st.integers(0, 9))
        content[at:end] = draw(st.binary(max_size=6))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@st.composite
def change(draw, original: dict):
    """A copy of a dictionary with one value replaced or removed, at any level."""
    changed = json.loads(json.dumps(original))
    level = changed
    while True:
        key = draw(st.sampled_from(sorted(level)))
        if isinstance(level[key], dict) and level[key] and draw(st.booleans()):
            level = level[key]
            continue
        if draw(st.booleans()):
            level[key] = draw(JSON)
        else:
            del level[key]
        return changed


@functools.cache
def make_folder(name):
    folder = Path(TEMPORARY.name, name)
    folder.mkdir()
    return folder


def read_or_reject(read, *arguments, error=SentimentError):
    """Call a function that returns, or raises an error whose text is one line."""
    try:
        return read(*arguments)
    except error as raised:
        assert_one_line(raised)


def write_npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()

"""The texts of reviews, read once more from where they come from, to be shown."""

import contextlib
import io
from pathlib import Path

import numpy as np

from sentiment.data.files import list_texts, read_files
from sentiment.data.imdb import SOURCE_NAMES, read_keras_imdb, read_package
from sentiment.data.sequences import LabeledReviews
from sentiment.errors import SentimentError


def read_texts(source: str, positions: np.ndarray) -> list[str]:
    """Return the texts of some reviews as they are written.

    If a source has word ids only, a text consists of their words, in lower case and without
    punctuation. A network reads both in the same way.

    Args:
        source: as `sentiment.data.load_data` takes it, but not ``"auto"``.
        positions: the reviews, as in `sentiment.data.sequences.Sequences.positions`.

    Raises:
        SentimentError: if they can't be read any more.
    """
    if source == "imdb-package":
        texts = read_package()[0]
        return [texts[position] for position in positions]
    if source in SOURCE_NAMES:
        try:
            return _join_words(read_keras_imdb(), positions)
        except Exception as error:  # a network or a file can fail in any way
            raise SentimentError(f"keras.datasets.imdb can't be read: {error}") from None
    name, _, options = source.partition("?")
    try:
        texts_of_files = list_texts(Path(name), options)
        if texts_of_files is None:
            with contextlib.redirect_stdout(io.StringIO()):  # its notes were printed before
                return _join_words(read_files(source), positions)
        missing, found = set(map(int, positions)), {}
        # As in the cache, a blank text is not counted.
        rows = (text for _, text, _, _ in texts_of_files.texts if text.strip())
        for position, text in enumerate(rows):
            if position in missing:
                found[position] = text
                missing.remove(position)
            if not missing:  # a file may be larger than memory
                break
        if missing:
            raise ValueError("they have changed")
        return [found[position] for position in positions]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SentimentError(f"the texts in {name} can't be read: {reason}") from None


def _join_words(reviews: LabeledReviews, positions: np.ndarray) -> list[str]:
    sequences, words = reviews.sequences.take(positions), reviews.words
    # The first id is the start of the review. Without its word, an id is shown as a number.
    return [
        " ".join(words[i] if i < len(words) else f"#{i}" for i in sequence[1:])
        for sequence in sequences
    ]

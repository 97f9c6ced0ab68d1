"""The texts of reviews, read once more from where they come from, to be shown."""

from pathlib import Path

from sentiment.data.files import list_texts, read_files
from sentiment.data.imdb import IN_PACKAGE, SOURCE_NAMES, read_keras_imdb, read_package
from sentiment.data.sequences import LabeledReviews, Sequences
from sentiment.data.tokenizer import normalize, tokenize
from sentiment.errors import SentimentError


def read_texts(source: str, sequences: Sequences) -> list[str]:
    """Return the texts of some reviews as they are written.

    If a source has word ids only, a text consists of their words, in lower case and without
    punctuation. A network reads both in the same way.

    Args:
        source: as `sentiment.data.load_data` takes it, but not ``"auto"``.
        sequences: the reviews.

    Raises:
        SentimentError: if they can't be read any more, or have changed.
    """
    positions = sequences.positions
    if source in IN_PACKAGE:
        texts, _ = read_package(source)
        return [texts[position] for position in positions]
    if source in SOURCE_NAMES:
        try:
            return _join_words(read_keras_imdb(), sequences)
        except Exception as error:  # a network or a file can fail in any way
            raise SentimentError(f"keras.datasets.imdb can't be read: {error}") from None
    name, _, options = source.partition("?")
    try:
        texts_of_files = list_texts(Path(name), options)
        if texts_of_files is None:
            # What is unusual about them was reported when they were loaded.
            reviews = read_files(source, report=lambda _: None, for_training=False)
            return _join_words(reviews, sequences)
        missing, found = set(map(int, positions)), {}
        # As in the cache, a blank text is not counted.
        rows = (text for _, text, _, _ in texts_of_files.texts if text.strip())
        for position, text in enumerate(rows):
            if position in missing:
                found[position] = text
                missing.remove(position)
            if not missing:  # a file may be larger than memory
                break
        lengths = sequences.offsets[positions + 1] - sequences.offsets[positions]
        is_same = not missing and all(
            len(tokenize(normalize(found[position]))) + 1 == length
            for position, length in zip(positions, lengths, strict=True)
        )
        if not is_same:
            raise ValueError("they have changed")
        return [found[position] for position in positions]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SentimentError(f"the texts in {name} can't be read: {reason}") from None


def _join_words(reviews: LabeledReviews, chosen: Sequences) -> list[str]:
    sequences, words = reviews.sequences.take(chosen.positions), reviews.words
    # The first id is the start of the review. Without its word, an id is shown as a number.
    return [
        " ".join(words[i] if i < len(words) else f"#{i}" for i in sequence[1:])
        for sequence in sequences
    ]

"""A trained run: load it, encode text as its training did, predict, and explain.

    from sentiment.inference import load_predictor

    predictor = load_predictor()
    predictor.predict(["A wonderful, moving film.", "A dull, awful waste of time."])

The result is an array of shape (2,): the probability that each review is positive.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from sentiment.data.imdb import SOURCE_NAMES
from sentiment.data.tokenizer import OOV_ID, SPECIAL_TOKENS, START_ID, encode, split_as_spelled
from sentiment.errors import SentimentError
from sentiment.paths import BUNDLED_MODELS
from sentiment.runs.folder import MODEL, VOCABULARY
from sentiment.runs.measurement import DEFAULT_UNSURE
from sentiment.runs.network import check_shapes, predict_probabilities
from sentiment.runs.record import find_finished
from sentiment.runs.saved_model import load_model

if keras.backend.backend() == "tensorflow":
    import tensorflow

    tensorflow.get_logger().setLevel("ERROR")  # several networks are no reason for a warning

BATCH_SIZE = 256
MAXIMUM_VOCABULARY = 100_000_000  # bytes
DEFAULT_RUN = BUNDLED_MODELS / "naive_bayes_lstm"  # the best one that comes with the project


@dataclass(frozen=True)
class Predictor:
    """A trained network with the encoding of its training.

    Attributes:
        folder: the run folder.
        data: the data that the network was trained on.
        validation_accuracy: the validation accuracy of the network, on this data.
        is_refit: whether this is the accuracy before the network was trained again, on the
            validation set, too.
        model: the network; takes word ids, returns the probability that a review is positive.
        word_ids: the id of each word.
        maximum_tokens: number of tokens that are kept of a longer review, the last ones.
        padded_length: the number of tokens to which reviews are pre-padded; None if they are
            post-padded and the network masks the padding.
        unsure: when a prediction is unsure, as `sentiment.runs.measurement.choose_unsure` says.
    """

    folder: Path
    data: str
    validation_accuracy: float
    is_refit: bool
    model: keras.Model
    word_ids: dict[str, int]
    maximum_tokens: int
    padded_length: int | None
    unsure: dict

    def encode(self, text: str) -> np.ndarray:
        """Return the word ids of a review as int32, truncated as in training."""
        return encode(text, self.word_ids)[-self.maximum_tokens :]

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """Return the probability that each review is positive.

        Args:
            texts: the reviews.

        Returns:
            The probabilities, float32 ``(texts,)``.

        Raises:
            TypeError: if it is a single string.
            SentimentError: if the network can't read them, or returns NaN.
        """
        if isinstance(texts, str):
            raise TypeError("predict takes a list of reviews; write predict([text])")
        return self.predict_sequences([self.encode(text) for text in texts])

    def predict_sequences(self, sequences: Sequence[np.ndarray]) -> np.ndarray:
        """Like `predict`, for reviews that are already encoded."""
        if not len(sequences):
            return np.empty(0, dtype=np.float32)
        try:
            probabilities = predict_probabilities(
                self.model, sequences, BATCH_SIZE, self.padded_length
            )
        except Exception as error:  # an edited network can fail in any way
            # TensorFlow puts a traceback before the reason.
            reason = re.sub(r"(?s)^Graph execution error.*\n  File .*?\n", "", str(error))
            reason = " ".join(reason.split())[:300]
            raise SentimentError(f"the network of {self.folder} failed: {reason}") from None
        if not ((probabilities >= 0) & (probabilities <= 1)).all():  # NaN is neither
            raise SentimentError(
                f"the network of {self.folder} returns NaN or numbers outside 0 to 1 instead of "
                "probabilities; train it again, with a sigmoid in its last layer, and with a lower "
                "LEARNING_RATE if its loss diverges"
            )
        return probabilities

    def interpret(self, sequence: np.ndarray, probability: float) -> tuple[str, str]:
        """Return the label of a review, and a note on what makes it doubtful, or an empty string.

        Args:
            sequence: the review, as `encode` returns it.
            probability: the probability that it is positive.
        """
        label = "positive" if probability > 0.5 else "negative"
        words = sequence[sequence != START_ID]
        known = np.count_nonzero(words != OOV_ID)
        if not len(words):
            return label, "no words"
        if not known:
            return label, "unsure: no known word"
        if len(words) < self.unsure["words"]:
            return label, "unsure: few words"
        if known < self.unsure["words"] or 2 * known < len(words):
            return label, f"unsure: only {known} of {len(words)} words are known"
        return label, "unsure" if abs(probability - 0.5) < self.unsure["margin"] else ""

    def describe(self) -> str:
        """Return the run folder and its validation accuracy, with the data if it isn't IMDB."""
        data = "" if self.data in SOURCE_NAMES.values() else f" on {self.data}"
        before = " before its refit" if self.is_refit else ""
        return f"{self.folder}, validation accuracy{before} {self.validation_accuracy:.1%}{data}"

    def explain(self, review: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Predict a review up to each of its words, as if it ended there.

        Returns:
            The words that are read, as they are spelled; the probability after each of them, shape
            ``(words,)``; and by how much each changed it, ``(words,)``.
        """
        sequence = self.encode(review)
        words = split_as_spelled(review)[-len(sequence) :]
        probabilities = self.predict_sequences(
            [sequence[:end] for end in range(1, len(sequence) + 1)]
        )
        # Unless it is truncated, the first id is the start token.
        before = 0.5 if len(words) == len(sequence) else probabilities[0]
        probabilities = probabilities[len(probabilities) - len(words) :]
        return words, probabilities, np.diff(probabilities, prepend=before)


def load_predictor(name: str | Path = DEFAULT_RUN, layers: Iterable[type] = ()) -> Predictor:
    """Load a finished run.

    A network of other layers than those of Keras and of this project is refused, because a file
    could run any code through them.

    Args:
        name: its name in ``models/``, the path of its folder, ``"newest"`` or ``"best"``, as
            `sentiment.runs.record.find_finished` takes them.
        layers: layer classes of your own that are allowed in the network.

    Raises:
        SentimentError: if it can't be loaded.
    """
    folder, metadata = find_finished(name)
    constants = metadata["constants"]
    try:
        words = _read_vocabulary(folder / VOCABULARY)
        if len(words) > constants.get("VOCABULARY_SIZE", len(words)):
            raise ValueError(f"{VOCABULARY} has more words than VOCABULARY_SIZE in run.json")
        if "MAXIMUM_TOKENS" not in constants:
            raise ValueError("run.json has no MAXIMUM_TOKENS")
        maximum_tokens = constants["MAXIMUM_TOKENS"]
        padded_length = maximum_tokens if constants.get("PADDING") == "pre" else None
        model = load_model(folder / MODEL, layers)
        check_shapes(model, len(words) - 1, padded_length)
    except (ValueError, OSError, SentimentError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SentimentError(f"the run {folder} can't be loaded: {reason}") from None
    return Predictor(
        folder=folder,
        data=metadata["data"]["source"],
        validation_accuracy=metadata["validation"]["accuracy"],
        is_refit="refit" in metadata,
        model=model,
        word_ids={word: i for i, word in enumerate(words)},
        maximum_tokens=maximum_tokens,
        padded_length=padded_length,
        unsure=metadata.get("unsure", DEFAULT_UNSURE),
    )


def _read_vocabulary(path: Path) -> list[str]:
    """Return the word of each id; raise a ValueError or OSError if they can't be used."""
    if path.stat().st_size > MAXIMUM_VOCABULARY:
        raise ValueError(f"{path.name} has more than {MAXIMUM_VOCABULARY // 10**6} MB")
    try:
        *words, rest = path.read_bytes().decode().split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is damaged, not UTF-8 text") from None
    if rest:
        raise ValueError(f"{path.name} is incomplete: its last line has no line break")
    if len(words) <= len(SPECIAL_TOKENS):
        raise ValueError("it was trained on ids without their words, so it can't read text")
    if "" in words:
        raise ValueError(f"line {words.index('') + 1} of {path.name} is empty; each must be a word")
    if len(set(words)) < len(words):
        ((word, _),) = Counter(words).most_common(1)
        raise ValueError(f"{path.name} has the word {word!r} more than once")
    return words

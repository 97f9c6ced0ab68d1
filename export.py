"""Export a trained network for other programs, and check the result in its own runtime.

    python export.py lstm --format savedmodel   TensorFlow Serving: takes text
    python export.py lstm --format onnx         ONNX Runtime: takes word ids
    python export.py lstm --format litert       LiteRT, as on phones: takes the ids of one review

Word ids are what `sentiment.inference.Predictor.encode` returns: 1 for the start of a review, then
for each word the number of its line in the run's ``vocabulary.txt``, counted from 0. A word that is
not there is looked up without the apostrophes around it; if this fails, too, its id is 2.
"""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import importlib.util
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np

from sentiment.cli import ArgumentParser, run
from sentiment.console import strip_control_characters
from sentiment.data.batches import predict_in_batches
from sentiment.data.imdb import read_package
from sentiment.data.tokenizer import OOV_ID, PADDING_ID, SEPARATORS, START_ID
from sentiment.errors import SentimentError
from sentiment.inference import DEFAULT_RUN, Predictor, load_predictor
from sentiment.runs.allowed_layers import LAYERS_HELP, import_layers

CHECKED_REVIEWS = 1_000
TOLERANCE = 1e-4
FILES = {"savedmodel": "savedmodel", "onnx": "model.onnx", "litert": "model.tflite"}
# What `sentiment.data.tokenizer.normalize` does, except NFC, in RE2, TensorFlow's regular
# expressions.
ASCII = r"[\x00-\x0c\x0e-\x7f]*"  # without "\r"; only other text needs the next replacements
NORMALIZATION = (
    (r"[\x{2018}\x{2019}\x{2bc}\x{b4}\x{92}]", "'"),  # typographic apostrophes
    # Invisible characters, the skin tones of emoji, and variation selectors.
    (r"\p{Cf}|[\x{1f3fb}-\x{1f3ff}]", ""),
    (r"[\x{180b}-\x{180d}\x{180f}\x{fe00}-\x{fe0f}\x{e0100}-\x{e01ef}]", ""),
    # Punctuation beyond ASCII (\PP is everything else), control characters and spaces.
    (r"[^\x00-\x7f\PP]|[\p{Cc}\pZ]", " "),
    (r"[^\x00-\x7f\pL\pM\pN]", r" \0 "),  # symbols: no letters, marks or numbers
    (r" +", " "),  # so that the space before a clitic is a single one
)
SPACE_BEFORE_CLITIC = (r"(?i)([\pL\pN_]) (n't\b|'(?:s|re|ve|ll|d|m)(?:\s|$))", r"\1\2")
RUNTIMES = {"onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}
Predict = Callable[[list[str]], np.ndarray]


def main():
    parser = ArgumentParser(prog="export.py", description=__doc__.partition("\n")[0])
    parser.add_argument("run", nargs="?", help="a run in models/, a run folder, newest or best")
    parser.add_argument("--format", choices=FILES, required=True, help="format of the export")
    parser.add_argument("--layers", type=Path, metavar="FILE.py", help=LAYERS_HELP)
    parser.add_argument(
        "--output", type=Path, help="path of the export (default: in the run folder)"
    )
    arguments = parser.parse_args()
    if keras.backend.backend() != "tensorflow":
        parser.error("exporting needs KERAS_BACKEND=tensorflow")
    suffix = Path(FILES[arguments.format]).suffix
    if arguments.output and arguments.output.suffix != suffix and suffix:
        parser.error(f"--output must end in {suffix}")
    for package in RUNTIMES.get(arguments.format, ()):
        if not importlib.util.find_spec(package):
            raise SentimentError(f"{package} is missing: pip install -r requirements/export.txt")
    layers = import_layers(arguments.layers) if arguments.layers else ()
    predictor = load_with_stock_lstm(arguments.run or DEFAULT_RUN, layers)
    hint = "" if arguments.run else " (default; others: NAME, newest or best)"
    print(f"Run: {strip_control_characters(predictor.describe())}{hint}")
    output = arguments.output or predictor.folder / FILES[arguments.format]
    parent = find_parent(output)

    texts, _ = read_package()
    texts = texts[:: len(texts) // CHECKED_REVIEWS]
    expected = predictor.predict(texts)
    export = {"savedmodel": export_savedmodel, "onnx": export_onnx, "litert": export_litert}
    try:
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=parent) as folder:
            unfinished = Path(folder, FILES[arguments.format])
            predict = export[arguments.format](predictor, unfinished)
            difference = np.abs(predict(texts) - expected).max()
            if not difference < TOLERANCE:
                raise ValueError(
                    f"its probabilities differ by {difference:.1g} from those of the run"
                )
            output.parent.mkdir(parents=True, exist_ok=True)
            unfinished.rename(output)
    except Exception as error:  # converters and runtimes can fail in any way
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:500]
        reason = reason or type(error).__name__
        raise SentimentError(f"can't export {predictor.folder} to {output}: {reason}") from None
    print(strip_control_characters(f"Exported {predictor.folder} to {output}"))
    print(f"Checked on {len(texts):,} reviews: probabilities differ by at most {difference:.1g}")


def find_parent(output: Path) -> Path:
    """Return the closest folder above a path that exists.

    Raises:
        SentimentError: if the path exists already, or can't be created.
    """
    try:
        if output.exists():
            raise SentimentError(f"{output} exists already; delete it, or choose another --output")
        parent = next(path for path in output.parents if path.exists())
        for name in output.relative_to(parent).parts:
            (parent / name).exists()  # or it raises an OSError, if the name is too long
    except OSError as error:
        raise SentimentError(f"can't write {output}: {error.strerror or error}") from None
    if not parent.is_dir():
        raise SentimentError(f"can't write {output}: {parent} is a file, not a folder")
    return parent


def load_with_stock_lstm(name: str | Path, layers: Iterable[type] = ()) -> Predictor:
    """Load a run with `keras.layers.LSTM` itself: the formats lack operations of the faster one."""
    registered = keras.saving.get_custom_objects()  # takes precedence over a custom_object_scope
    faster_lstm = registered.pop("LSTM")
    try:
        return load_predictor(name, layers)
    finally:
        registered["LSTM"] = faster_lstm


def export_savedmodel(predictor: Predictor, path: Path) -> Predict:
    """Write a TensorFlow SavedModel that takes text, and return its prediction."""
    import tensorflow as tf

    words = list(predictor.word_ids)
    ids = np.arange(len(words), dtype=np.int32)
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(words, ids), OOV_ID)
    separator = f"[{re.escape(SEPARATORS.decode())}]"

    def encode(reviews):
        normalized = reviews
        for pattern, replacement in NORMALIZATION:
            normalized = tf.strings.regex_replace(normalized, pattern, replacement)
        is_ascii = tf.strings.regex_full_match(reviews, ASCII)
        reviews = tf.where(is_ascii, reviews, normalized)
        for _ in range(2):  # two matches can't overlap, as they would in "I 'd 've"
            reviews = tf.strings.regex_replace(reviews, *SPACE_BEFORE_CLITIC)
        # Without an encoding only ASCII letters become lower case, as in training.
        reviews = tf.strings.lower(tf.strings.regex_replace(reviews, separator, " "), encoding="")
        words = tf.strings.split(reviews, sep=" ")
        words = tf.ragged.boolean_mask(words, words != "")
        unquoted = tf.ragged.map_flat_values(tf.strings.regex_replace, words, "^'+|'+$", "")
        ids = table.lookup(words)
        ids = tf.where(ids == OOV_ID, table.lookup(unquoted), ids)
        start = tf.fill([tf.shape(reviews)[0], 1], START_ID)
        ids = tf.concat([start, ids], axis=1)[:, -predictor.maximum_tokens :]
        padded = ids.to_tensor(PADDING_ID)
        if predictor.padded_length:
            missing = predictor.padded_length - tf.shape(padded)[1]
            padded = tf.pad(padded, [[0, 0], [0, missing]])
            lengths = tf.cast(ids.row_lengths(), tf.int32)
            padded = tf.reverse(tf.reverse_sequence(padded, lengths, seq_axis=1), [1])
        return padded

    archive = keras.export.ExportArchive()
    archive.track(predictor.model)
    archive.track(table)
    archive.add_endpoint(
        "serve",
        lambda reviews: predictor.model(encode(reviews), training=False),
        [tf.TensorSpec([None], tf.string, "reviews")],
    )
    archive.write_out(path, verbose=False)
    exported = tf.saved_model.load(path)
    return lambda texts: exported.serve(tf.constant(texts)).numpy()[:, 0]


def export_onnx(predictor: Predictor, path: Path) -> Predict:
    """Write an ONNX file, and return ONNX Runtime's prediction."""
    import onnxruntime
    import tensorflow as tf

    warnings.simplefilter("ignore", FutureWarning)  # Keras looks for a name of a later NumPy
    signature = [tf.TensorSpec([None, None], tf.int32, "word_ids")]
    predictor.model.export(path, format="onnx", input_signature=signature, verbose=False)
    session = onnxruntime.InferenceSession(path)
    return lambda texts: predict_one_by_one(
        predictor, texts, lambda ids: session.run(None, {"word_ids": ids})[0]
    )


def export_litert(predictor: Predictor, path: Path) -> Predict:
    """Write a LiteRT file, and return LiteRT's prediction."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    # LiteRT runs the loop of the LSTM only for a fixed number of reviews.
    signature = [tf.TensorSpec([1, None], tf.int32, "word_ids")]
    predictor.model.export(path, format="litert", input_signature=signature, verbose=False)
    runner = Interpreter(str(path)).get_signature_runner()
    return lambda texts: predict_one_by_one(
        predictor, texts, lambda ids: next(iter(runner(word_ids=ids).values()))
    )


def predict_one_by_one(predictor: Predictor, texts: list[str], predict_on_batch) -> np.ndarray:
    """Return the probability of each review, in batches of one."""
    sequences = [predictor.encode(text) for text in texts]
    return predict_in_batches(predict_on_batch, sequences, 1, predictor.padded_length)[:, 0]


if __name__ == "__main__":
    run(main)

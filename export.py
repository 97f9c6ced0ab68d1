"""Export a trained network for other programs, and check what was exported in its own runtime.

    python export.py lstm --format savedmodel   TensorFlow Serving: takes text
    python export.py lstm --format onnx         ONNX Runtime: takes word ids
    python export.py lstm --format litert       LiteRT, as on phones: takes one review's word ids

Word ids are what `TrainedRun.encode` returns: 1 for the start of a review, then the number of each
word's line in the run's ``vocabulary.txt``, counted from 0, or 2 where it has none.
"""

import importlib.util
import re
import shutil
import warnings
from pathlib import Path

from sentiment.batches import predict
from sentiment.data import PACKAGE_REVIEWS, read_package
from sentiment.runs import load_run
from sentiment.settings import OneLineParser
from sentiment.words import PADDING, SEPARATORS, START, UNKNOWN

import keras
import numpy as np

CHECKED_REVIEWS = 1_000
LARGEST_DIFFERENCE = 1e-4
FILES = {"savedmodel": "savedmodel", "onnx": "model.onnx", "litert": "model.tflite"}
RUNTIMES = {"onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}


def main():
    parser = OneLineParser(prog="export.py", description=__doc__.partition("\n")[0])
    parser.add_argument("run", nargs="?", help="a run in models/; by default the best one")
    parser.add_argument("--format", choices=FILES, required=True)
    parser.add_argument("--output", type=Path, help="by default it goes into the run's folder")
    arguments = parser.parse_args()
    if keras.backend.backend() != "tensorflow":
        parser.error("exporting needs KERAS_BACKEND=tensorflow")
    suffix = Path(FILES[arguments.format]).suffix
    if arguments.output and arguments.output.suffix != suffix and suffix:
        parser.error(f"--output has to end with {suffix}")
    for package in RUNTIMES.get(arguments.format, ()):
        if not importlib.util.find_spec(package):
            raise SystemExit(
                f"{package} is missing: pip install -r requirements-export.txt"
                + (" (with Python 3.11 or newer)" if arguments.format == "litert" else "")
            )
    # Nothing here imports `sentiment.lstm`, whose faster layer is only for TensorFlow itself.
    run = load_run(arguments.run)
    output = arguments.output or run.folder / FILES[arguments.format]
    if output.exists():
        raise SystemExit(f"{output} is there already: delete it, or name another with --output")

    texts = read_package()[0][:: PACKAGE_REVIEWS // CHECKED_REVIEWS]
    expected = run.predict([run.encode(text) for text in texts])
    export = {"savedmodel": export_savedmodel, "onnx": export_onnx, "litert": export_litert}
    aside = output.with_name(f".unfinished-{output.name}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        predict_exported = export[arguments.format](run, aside)
        difference = np.abs(predict_exported(texts) - expected).max()
        if not difference < LARGEST_DIFFERENCE:
            raise ValueError(f"its probabilities would differ by {difference:.1g}")
        aside.rename(output)
    except Exception as error:  # converters and runtimes fail in any way
        reason = " ".join(str(error).split())[:500] or type(error).__name__
        raise SystemExit(f"Can't export {run.folder} to {output}: {reason}") from None
    finally:
        if aside.is_dir():
            shutil.rmtree(aside)
        aside.unlink(missing_ok=True)
    print(f"Exported {run.folder} to {output}")
    print(f"Checked on {len(texts):,} reviews: probabilities differ by {difference:.1g} at most")


def export_savedmodel(run, path):
    """Write a TensorFlow SavedModel that takes text, and return how it predicts."""
    import tensorflow as tf

    words = list(run.ids)
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(words, np.arange(len(words), dtype=np.int32)), UNKNOWN
    )
    separator = f"[{re.escape(SEPARATORS.decode())}]"

    def encode(reviews):
        # Without an encoding only ASCII letters are made small, as in training.
        reviews = tf.strings.lower(tf.strings.regex_replace(reviews, separator, " "), encoding="")
        words = tf.strings.split(reviews, sep=" ")
        ids = table.lookup(tf.ragged.boolean_mask(words, words != ""))
        start = tf.fill([tf.shape(reviews)[0], 1], START)
        ids = tf.concat([start, ids], axis=1)[:, -run.maximum_tokens :]
        padded = ids.to_tensor(PADDING)
        if run.front_padded_to:
            padded = tf.pad(padded, [[0, 0], [0, run.front_padded_to - tf.shape(padded)[1]]])
            lengths = tf.cast(ids.row_lengths(), tf.int32)
            padded = tf.reverse(tf.reverse_sequence(padded, lengths, seq_axis=1), [1])
        return padded

    archive = keras.export.ExportArchive()
    archive.track(run.model)
    archive.track(table)
    archive.add_endpoint(
        "serve",
        lambda reviews: run.model(encode(reviews), training=False),
        [tf.TensorSpec([None], tf.string, "reviews")],
    )
    archive.write_out(path, verbose=False)
    exported = tf.saved_model.load(path)
    return lambda texts: exported.serve(tf.constant(texts)).numpy()[:, 0]


def export_onnx(run, path):
    """Write an ONNX file, and return how ONNX Runtime predicts with it."""
    import onnxruntime
    import tensorflow as tf

    warnings.simplefilter("ignore", FutureWarning)  # Keras looks for a name that numpy will have
    signature = [tf.TensorSpec([None, None], tf.int32, "word_ids")]
    run.model.export(path, format="onnx", input_signature=signature, verbose=False)
    session = onnxruntime.InferenceSession(path)
    return lambda texts: predict_each(
        run, texts, lambda ids: session.run(None, {"word_ids": ids})[0]
    )


def export_litert(run, path):
    """Write a LiteRT file, and return how LiteRT predicts with it."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    # LiteRT runs the LSTM's loop only where the number of reviews is fixed.
    signature = [tf.TensorSpec([1, None], tf.int32, "word_ids")]
    run.model.export(path, format="litert", input_signature=signature, verbose=False)
    runner = Interpreter(str(path)).get_signature_runner()
    return lambda texts: predict_each(
        run, texts, lambda ids: next(iter(runner(word_ids=ids).values()))
    )


def predict_each(run, texts, predict_on_batch):
    """Return the probability of each review, predicted one at a time."""
    sequences = [run.encode(text) for text in texts]
    return predict(predict_on_batch, sequences, 1, run.front_padded_to)[:, 0]


if __name__ == "__main__":
    main()

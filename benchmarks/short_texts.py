"""How well runs classify short texts that they were not trained on.

    python -m benchmarks.short_texts lstm cnn_lstm naive_bayes_lstm

There are 1,500 one-sentence reviews, the test set of ``DATA = "sentences"``, and 300 pairs of texts
with negation and contrast in negations.csv. The two texts of a pair have nearly the same words and
opposite labels, so counting words is right in about half of them. ``--output`` saves the results as
JSON.
"""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import json
from pathlib import Path

import numpy as np
import pandas

from sentiment.cli import ArgumentParser, run
from sentiment.data import load_data
from sentiment.data.texts import read_texts
from sentiment.inference import Predictor, load_predictor
from sentiment.runs.atomic import write_text

PAIRS = Path(__file__).with_name("negations.csv")


def measure_sentences(predictor: Predictor, texts: list[str], labels: np.ndarray) -> dict:
    """Return the accuracy on sentences, the share of unsure ones, and that on the others."""
    sequences = [predictor.encode(text) for text in texts]
    probabilities = predictor.predict_sequences(sequences)
    is_correct = (probabilities > 0.5) == (labels == 1)
    is_unsure = np.array(
        [
            bool(predictor.interpret(sequence, float(probability))[1])
            for sequence, probability in zip(sequences, probabilities, strict=True)
        ]
    )
    return {
        "sentences": len(texts),
        "accuracy": round(float(is_correct.mean()), 4),
        "unsure": round(float(is_unsure.mean()), 4),
        "accuracy of the others": round(float(is_correct[~is_unsure].mean()), 4),
    }


def measure_negations(predict, pairs: pandas.DataFrame) -> pandas.DataFrame:
    """Return the share of correct predictions for each kind of pair, and for all.

    Args:
        predict: returns the probability that each of a list of texts is positive.
        pairs: the columns ``kind``, ``positive`` and ``negative``.

    Returns:
        For each kind the number of ``pairs``, and the shares of ``positive`` and ``negative`` texts
        and of ``both`` texts of a pair that are classified correctly.
    """
    correct = pandas.DataFrame(
        {
            "kind": pairs["kind"],
            "positive": predict(list(pairs["positive"])) > 0.5,
            "negative": predict(list(pairs["negative"])) <= 0.5,
        }
    )
    correct["both"] = correct["positive"] & correct["negative"]
    correct = pandas.concat([correct, correct.assign(kind="all")])
    groups = correct.groupby("kind", sort=False)
    return pandas.concat([groups.size().rename("pairs"), groups.mean()], axis=1)


def main():
    parser = ArgumentParser(prog="benchmarks.short_texts", description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", help="runs in models/, or run folders")
    parser.add_argument("--output", type=Path, help="a JSON file for the results")
    arguments = parser.parse_args()
    data, pairs = load_data("sentences", 10_000, 500), pandas.read_csv(PAIRS)
    texts = read_texts("sentences", data.x_test)
    results = {}
    for name in arguments.runs:
        predictor = load_predictor(name)
        sentences = measure_sentences(predictor, texts, data.y_test)
        table = measure_negations(predictor.predict, pairs)
        results[Path(name).name] = {
            "sentences": sentences,
            "negations": table.round(4).to_dict(orient="index"),
        }
        print(f"\n{name}: correct predictions in percent")
        print(", ".join(f"{key} {value}" for key, value in sentences.items()))
        shares = 100 * table[["positive", "negative", "both"]]
        print(table[["pairs"]].join(shares.round(1)).to_string())
    if arguments.output:
        write_text(arguments.output, json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    run(main)

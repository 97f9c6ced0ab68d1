"""Evaluate trained networks on labeled reviews: metrics, a plot, and the mistakes.

    python evaluate.py lstm                         on the validation set of the run
    python evaluate.py lstm cnn_lstm                two runs: do they differ by more than chance?
    python evaluate.py lstm --data reviews.csv      on other labeled reviews

Without a run, it evaluates models/naive_bayes_lstm, which comes with the project.
"""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import contextlib
import importlib.util
import io
import itertools
import json
import math
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import reduce
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas

from sentiment.cli import ArgumentParser, run
from sentiment.console import format_message, print_to_stderr, progress_bar
from sentiment.data.tables import count
from sentiment.distribution import describe_device
from sentiment.errors import SentimentError
from sentiment.evaluation import Reviews, find_mistakes, have_same_reviews, load_reviews
from sentiment.inference import DEFAULT_RUN, Predictor, load_predictor
from sentiment.plots import draw_evaluation
from sentiment.runs.allowed_layers import LAYERS_HELP, import_layers
from sentiment.runs.atomic import write_atomically
from sentiment.runs.record import read_versions

if TYPE_CHECKING:
    from sentiment.metrics import Comparison, Evaluation

IMAGE_FORMATS = (".png", ".svg", ".pdf", ".jpg")
PLOTTED_RUNS = 8  # more can't be told apart
REVIEWS_TOGETHER = 1_000  # predicted between two steps of the progress bar
ABOUT_INTERVALS = (
    "The 95% interval covers the sampling of the reviews, not the variation between seeds."
)
FORMULA = re.compile(r"^[=+\-@\t\r]")  # what a spreadsheet would compute
TITLES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "log_loss": "Log loss",
    "brier_score": "Brier score",
    "expected_calibration_error": "Expected calibration error",
}
PERCENT = ("accuracy", "precision", "recall", "f1", "expected_calibration_error")
LABELS = ("negative", "positive")
CELLS = ("true_negatives", "false_positives", "false_negatives", "true_positives")


def main():
    parser = ArgumentParser(prog="evaluate.py", description=__doc__.partition("\n")[0])
    text = "a run in models/, a run folder, newest or best (default: naive_bayes_lstm)"
    parser.add_argument("runs", nargs="*", metavar="RUN", help=text)
    text = "the run's own validation set (default) or test set, or those of --data"
    parser.add_argument("--split", choices=("validation", "test"), help=text)
    text = "other labeled reviews, as a training script takes them; all of them without --split"
    parser.add_argument("--data", help=text)
    parser.add_argument("--layers", type=Path, metavar="FILE.py", help=LAYERS_HELP)
    parser.add_argument(
        "--format", choices=("text", "csv", "json"), default="text", help="output format"
    )
    text = "the plot (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("evaluation.png"), help=text)
    text = "the mistakes as CSV, the most confident first (default: %(default)s)"
    parser.add_argument("--mistakes", type=Path, default=Path("mistakes.csv"), help=text)
    arguments = parser.parse_args()
    if arguments.output.suffix.lower() not in IMAGE_FORMATS:
        parser.error(f"--output must end in one of {', '.join(IMAGE_FORMATS)}")
    if arguments.mistakes.suffix.lower() != ".csv":
        parser.error("--mistakes must end in .csv")
    for package, name in (("sklearn", "scikit-learn"), ("scipy", "SciPy")):
        if not importlib.util.find_spec(package):
            raise SentimentError(f"{name} is missing: pip install -r requirements/evaluate.txt")
    from sentiment.metrics import compare_with_best, evaluate

    layers = import_layers(arguments.layers) if arguments.layers else ()
    predictors = load_predictors(arguments.runs, layers)
    if arguments.split == "test":
        report(
            "The test set is for inspection, not for model selection; choose by the validation set"
        )
    all_reviews = load_all_reviews(predictors.values(), arguments.split, arguments.data)
    evaluations = [
        evaluate(name, reviews, predict(predictor, reviews))
        for (name, predictor), reviews in zip(predictors.items(), all_reviews, strict=True)
    ]
    notes, comparisons = [ABOUT_INTERVALS], []
    if all(have_same_reviews(all_reviews[0], other) for other in all_reviews):
        comparisons = compare_with_best(evaluations)
        notes += describe_comparisons(comparisons, len(evaluations))
    else:
        remedy = "--data evaluates them on the same reviews"
        notes.append(f"Not compared: each run has another {all_reviews[0].name}; {remedy}.")
    if arguments.format == "json":
        print_json(evaluations, comparisons)
    elif arguments.format == "csv":
        table = pandas.DataFrame(map(summarize, evaluations))
        print(table.to_csv(index=False, lineterminator="\n"), end="")
    else:
        print_text(evaluations)
        print("", *notes, sep="\n")
    if arguments.format != "text":
        report(*notes)
    sys.stdout.flush()
    write_mistakes(evaluations, arguments.mistakes)
    plotted = evaluations[:PLOTTED_RUNS]
    if len(plotted) < len(evaluations):
        report(f"The plot shows only the first {PLOTTED_RUNS} of {len(evaluations)} runs")
    names = dict.fromkeys(
        f"{one.reviews.name}, {count(len(one.reviews.labels), 'review')}" for one in plotted
    )
    title = ", ".join(names)
    write_atomically(arguments.output, lambda path: draw_evaluation(plotted, title, path))
    report(f"Plot: {arguments.output}")


def load_predictors(names: list[str], layers: list[type]) -> dict[str, Predictor]:
    """Load the runs, each once, by the names under which they are shown, and report them."""
    loaded = [load_predictor(name, layers) for name in names or [str(DEFAULT_RUN)]]
    predictors = {predictor.folder.resolve(): predictor for predictor in loaded}.values()
    hint = "" if names else " (default; others: NAME, newest or best)"
    report(*(f"Run: {predictor.describe()}{hint}" for predictor in predictors))
    times = Counter(predictor.folder.name for predictor in predictors)
    return {
        format_message(folder if times[folder.name] > 1 else folder.name): predictor
        for predictor in predictors
        for folder in [predictor.folder]
    }


def load_all_reviews(
    predictors: Iterable[Predictor], split: str | None, source: str | None
) -> list[Reviews]:
    """Load the reviews of each run: of another source those that no run was trained on."""
    chosen = split or ("all" if source else "validation")
    reviews, notes = [], []
    for predictor in predictors:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            reviews.append(load_reviews(predictor, chosen, source))
        notes += printed.getvalue().splitlines()
    report(*dict.fromkeys(notes))
    if not source:
        return reviews
    shared = reduce(np.intersect1d, [one.sequences.positions for one in reviews])
    if not len(shared):
        raise SentimentError(f"each review of {source} was used to train one of the runs")
    return [one.take(np.flatnonzero(np.isin(one.sequences.positions, shared))) for one in reviews]


def predict(predictor: Predictor, reviews: Reviews) -> np.ndarray:
    """Return the probability that each review is positive, and show the progress."""
    chunks, total = [], len(reviews.labels)
    with progress_bar() as progress:
        task = progress.add_task("Predicting", total=total)
        for begin in range(0, total, REVIEWS_TOGETHER):
            chunk = reviews.sequences[begin : begin + REVIEWS_TOGETHER]
            chunks.append(predictor.predict_sequences(chunk))
            progress.update(task, advance=len(chunk))
    return np.concatenate(chunks)


def describe_comparisons(comparisons: list["Comparison"], runs: int) -> Iterator[str]:
    pairs = math.comb(runs, 2)
    test = "McNemar's test" + (f", Bonferroni correction for {pairs} pairs" if pairs > 1 else "")
    for one in comparisons:
        first, second = one.runs
        verdict = "significant" if one.is_significant else "not significant"
        p_value = f"p = {one.p_value:.2g}" if one.p_value >= 0.0001 else "p < 0.0001"
        yield (
            f"The difference between {first} and {second} is {verdict} at the 5% level ({test}, "
            f"{p_value}): {count(one.only_first_correct, 'review')} classified correctly by "
            f"{first} only, {one.only_second_correct:,} by {second} only."
        )


def print_text(evaluations: list["Evaluation"]):
    """Print a column for each run."""
    columns = {}
    for one in evaluations:
        cells = {"Reviews": f"{len(one.reviews.labels):,}"}
        cells["  positive"] = f"{int(one.reviews.labels.sum()):,}"
        for name, title in TITLES.items():
            cells[title] = format_metric(name, one.metrics[name])
            if name == "accuracy":
                low, high = one.metrics["accuracy_low"], one.metrics["accuracy_high"]
                cells["  95% interval"] = f"{low:.2%} to {high:.2%}"
        for label, predicted in itertools.product((1, 0), (1, 0)):
            name = f"{LABELS[label].capitalize()}, predicted {LABELS[predicted]}"
            cells[name] = f"{one.confusion_matrix[label, predicted]:,}"
        for group in one.by_length.itertuples():
            reviews = count(group.reviews, "review")
            cells[f"Accuracy, {group.shortest:,} to {group.longest:,} tokens ({reviews})"] = (
                f"{group.accuracy:.2%}"
            )
        columns[one.run] = cells
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(f"Reviews: {', '.join(dict.fromkeys(one.reviews.name for one in evaluations))}\n")
    table = pandas.DataFrame(columns).fillna("")
    table.index = table.index.str.ljust(table.index.str.len().max())
    print(table.to_string(line_width=width))


def format_metric(name: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.2%}" if name in PERCENT else f"{value:.4f}"


def summarize(one: "Evaluation") -> dict:
    """Return the numbers of a run that are not lists."""
    return {
        "run": one.run,
        "data": one.reviews.name,
        "source": one.reviews.source,
        "reviews": len(one.reviews.labels),
        "positive": int(one.reviews.labels.sum()),
        **one.metrics,
        **dict(zip(CELLS, one.confusion_matrix.ravel().tolist(), strict=True)),
    }


def print_json(evaluations: list["Evaluation"], comparisons: list["Comparison"]):
    """Print everything, with what the numbers depend on; a metric that is not defined is null."""
    content = {
        "runs": [
            {
                **summarize(one),
                "calibration": one.calibration.to_dict("records"),
                "accuracy_by_length": one.by_length.to_dict("records"),
            }
            for one in evaluations
        ],
        "comparisons": [asdict(one) for one in comparisons],
        "device": describe_device(),
        "versions": {
            **read_versions(),
            **{name: version(name) for name in ("scikit-learn", "scipy")},
        },
    }
    print(json.dumps(replace_nan(content), indent=2))


def replace_nan(value):
    """Return a value of JSON, which has no NaN, with None in its place."""
    if isinstance(value, dict):
        return {key: replace_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [replace_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_mistakes(evaluations: list["Evaluation"], path: Path):
    """Write the mistakes of each run as a table that a spreadsheet can open."""
    tables = []
    for one in evaluations:
        table = find_mistakes(one.reviews, one.probabilities)
        # A spreadsheet would compute a text that begins like a formula.
        table["text"] = [f"'{text}" if FORMULA.match(text) else text for text in table["text"]]
        if len(evaluations) > 1:
            table.insert(0, "run", one.run)
        tables.append(table)
    mistakes = pandas.concat(tables)
    # As Excel expects; a lone surrogate, which is no UTF-8, becomes a question mark.
    options = {"encoding": "utf-8-sig", "errors": "replace"}
    write_atomically(
        path,
        lambda temporary: mistakes.to_csv(temporary, index=False, float_format="%.8f", **options),
    )
    by_runs = f" of {len(evaluations)} runs" if len(evaluations) > 1 else ""
    report(f"Mistakes: {path} ({count(len(mistakes), 'mistake')}{by_runs})")


def report(*lines: str):
    for line in lines:
        print_to_stderr(format_message(line))


if __name__ == "__main__":
    run(main)

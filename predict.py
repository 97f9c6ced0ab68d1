"""Classify reviews as positive or negative with a trained network.

    python predict.py "A wonderful film." "Two hours I want back."
    python predict.py --file reviews.txt            one review per line; - is standard input
    python predict.py --file reviews.csv            the reviews in a column; also .tsv and .jsonl
    python predict.py --explain "Not as bad as they say."

The network is models/naive_bayes_lstm, which comes with the project, unless --run names another.
"""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import csv
import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.cells import cell_len, set_cell_size

from sentiment.cli import ArgumentParser, run
from sentiment.console import (
    print_to_stderr,
    progress_bar,
    redirect_to_null,
    strip_control_characters,
)
from sentiment.data.tables import (
    REPLACEMENT,
    TABLES,
    TEXT_COLUMNS,
    describe_damaged,
    find_suffix,
    open_table,
    open_text,
)
from sentiment.data.tokenizer import split_as_spelled
from sentiment.errors import SentimentError
from sentiment.inference import DEFAULT_RUN, Predictor, load_predictor
from sentiment.plots import draw_explanation
from sentiment.runs.allowed_layers import LAYERS_HELP, import_layers
from sentiment.runs.atomic import write_atomically
from sentiment.runs.folder import exists

REVIEWS_IN_MEMORY, CHARACTERS_IN_MEMORY = 10_000, 20_000_000
LONG_REVIEW, LARGEST_CHANGES = 50, 8  # words
IMAGE_FORMATS = (".png", ".svg", ".pdf")
# Backgrounds from a terminal's 256 colors, for small to large changes of the probability.
CHANGES = (0.01, 0.03, 0.08, 0.2)
UP_COLORS, DOWN_COLORS = (195, 153, 111, 75), (223, 216, 209, 202)


def main():
    parser = ArgumentParser(prog="predict.py", description=__doc__.partition("\n")[0])
    parser.add_argument("reviews", nargs="*", help="the reviews")
    parser.add_argument(
        "--file",
        help=f"a text file with one review per line, a table ({', '.join(TABLES)}), or - for stdin",
    )
    parser.add_argument("--column", help="the column of reviews in a table")
    parser.add_argument("--run", help="a run in models/, a run folder, newest or best")
    parser.add_argument("--layers", type=Path, metavar="FILE.py", help=LAYERS_HELP)
    parser.add_argument(
        "--format", choices=("text", "csv", "json"), default="text", help="output format"
    )
    parser.add_argument("--explain", action="store_true", help="show the effect of each word")
    parser.add_argument(
        "--output", type=Path, help="save a plot of the explanation (.png, .svg, .pdf)"
    )
    arguments = parser.parse_args()
    if arguments.reviews and arguments.file:
        parser.error("give reviews or --file, not both")
    is_table = find_suffix(arguments.file or "") in (*TABLES, ".txt")
    if arguments.column and not is_table and arguments.file != "-":
        parser.error(f"--column needs --file with a {', '.join(TABLES)} or .txt file, or -")
    for review in arguments.reviews:
        if exists(Path(review)) and Path(review).is_file():
            parser.error(f'{review} is a file; to predict the reviews in it, use --file "{review}"')
    if arguments.explain and (len(arguments.reviews) != 1 or arguments.format != "text"):
        parser.error("--explain takes one review and prints text")
    if arguments.output and not arguments.explain:
        parser.error("--output needs --explain")
    if arguments.output and arguments.output.suffix.lower() not in IMAGE_FORMATS:
        parser.error(f"--output must end in {', '.join(IMAGE_FORMATS)}, not {arguments.output}")
    is_closed = sys.stdin is None or (not arguments.file and sys.stdin.isatty())
    if not arguments.reviews and arguments.file in (None, "-") and is_closed:
        parser.error("give reviews, or a file of reviews with --file")

    source = arguments.file or "-"
    reviews = iter(arguments.reviews or read_reviews(source, arguments.column))
    first = next(reviews, None)
    if first is None:
        raise SentimentError(f"{'standard input' if source == '-' else source} contains no reviews")
    reviews = itertools.chain([first], reviews)
    layers = import_layers(arguments.layers) if arguments.layers else ()
    predictor = load_predictor(arguments.run or DEFAULT_RUN, layers)
    hint = "" if arguments.run else " (default; others: --run NAME, newest or best)"
    print_to_stderr(f"Run: {strip_control_characters(predictor.describe())}{hint}")
    try:
        if arguments.explain:
            explain(next(reviews), predictor, arguments.output)
        else:
            predict_all(reviews, predictor, arguments.format)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has seen enough
        redirect_to_null(sys.stdout.fileno())


def read_reviews(path: str, column: str | None) -> Iterator[str]:
    """Yield the reviews of a file, one at a time.

    Raises:
        SentimentError: if it can't be read.
    """
    source = sys.stdin.fileno() if path == "-" else path
    try:
        if column or find_suffix(path) in TABLES:
            with open_table(source) as table:
                name = table.find_column(column, TEXT_COLUMNS, "name one with --column")
                if table.note:
                    print_to_stderr(f"Data: {table.note}")
                for (review,) in table.read(name):
                    yield review
        else:
            with open_text(source) as (lines, _):
                for line in lines:
                    yield line.removesuffix("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        name = "standard input" if path == "-" else path
        raise SentimentError(f"can't read {name}: {reason}") from None


def predict_all(reviews: Iterator[str], predictor: Predictor, output_format: str):
    """Print label and probability of each review."""
    print_row = {"text": print_text, "csv": print_csv, "json": print_json}[output_format]
    damaged = 0
    if output_format == "csv":
        write_csv_row("label", "probability", "note", "review")
    # On a terminal the rows themselves show the progress.
    with progress_bar(is_shown=not sys.stdout.isatty()) as progress:
        task = progress.add_task("Predicting", total=None)
        while chunk := take_chunk(reviews):
            sequences = [predictor.encode(review) for review in chunk]
            probabilities = predictor.predict_sequences(sequences)
            damaged += sum(REPLACEMENT in review for review in chunk)
            for review, sequence, probability in zip(chunk, sequences, probabilities, strict=True):
                label, note = predictor.interpret(sequence, float(probability))
                print_row(label, float(probability), note, review)
            progress.update(task, advance=len(chunk))
    if damaged:
        print_to_stderr(f"Data: {describe_damaged(damaged)}")


def take_chunk(reviews: Iterator[str]) -> list[str]:
    """Return the next reviews, as many as are held in memory at the same time."""
    chunk, characters = [], 0
    for review in itertools.islice(reviews, REVIEWS_IN_MEMORY):
        chunk.append(review)
        characters += len(review)
        if characters > CHARACTERS_IN_MEMORY:
            break
    return chunk


def print_text(label, probability, note, review):
    shown = strip_control_characters(review)
    if sys.stdout.isatty():
        shown = shorten(shown, note)
    print(f"{label}  {probability:6.1%}  {shown}" + (f" ({note})" if note else ""))


def shorten(review: str, note: str) -> str:
    """Return as much of a review as fits on a line of the terminal with its prediction."""
    width = shutil.get_terminal_size().columns - 20 - (len(note) + 3 if note else 0)
    if cell_len(review) <= width:
        return review
    return set_cell_size(review, max(width - 1, 10)) + "…"


def print_csv(label, probability, note, review):
    shown = strip_control_characters(review) if sys.stdout.isatty() else review
    write_csv_row(label, f"{probability:.8f}", note, shown)


def write_csv_row(*cells):
    csv.writer(sys.stdout, lineterminator="\n").writerow(cells)


def print_json(label, probability, note, review):
    row = {"label": label, "probability": round(probability, 8), "note": note, "review": review}
    print(json.dumps(row))


def explain(review: str, predictor: Predictor, output: Path | None):
    """Print a review with the probability after each word, and plot it if asked to."""
    words, probabilities, changes = predictor.explain(review)
    if not words:
        raise SentimentError("the review contains no words")
    if len(words) < len(split_as_spelled(review)):
        print(f"The network reads the last {len(words):,} words:\n")
    words = [strip_control_characters(word) for word in words]
    print_explanation(words, probabilities, changes)
    if len(words) > LONG_REVIEW:
        largest = np.argsort(-np.abs(changes), kind="stable")[:LARGEST_CHANGES]
        shown = ", ".join(f"{words[i]} {changes[i]:+.0%}" for i in largest)
        print(f"\nLargest changes: {shown}")
    print()
    label, note = predictor.interpret(predictor.encode(review), float(probabilities[-1]))
    print_text(
        label, float(probabilities[-1]), note, shorten(strip_control_characters(review), note)
    )
    if output:
        write_atomically(output, lambda path: draw_explanation(words, probabilities, changes, path))
        print(f"Plot: {strip_control_characters(str(output))}")


def print_explanation(words, probabilities, changes):
    """Print lines of words, colored by their changes, above the probabilities after them."""
    is_colored = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    columns = shutil.get_terminal_size().columns
    line, below, used = "", "", 0
    for word, probability, change in zip(words, probabilities, changes, strict=True):
        width = max(cell_len(word), 4)
        if used and used + width > columns:
            print(line.rstrip(), below.rstrip(), "", sep="\n")
            line, below, used = "", "", 0
        used += width + 1
        strength = np.searchsorted(CHANGES, abs(change))
        space = " " * (width - cell_len(word) + 1)
        if is_colored and strength:
            color = (UP_COLORS if change > 0 else DOWN_COLORS)[strength - 1]
            word = f"\x1b[30;48;5;{color}m{word}\x1b[0m"
        line += word + space
        below += f"{probability:<{width}.0%} "
    print(line.rstrip(), below.rstrip(), sep="\n")


if __name__ == "__main__":
    run(main)

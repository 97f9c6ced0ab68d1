"""Tell positive from negative reviews with a network trained here.

    python predict.py "A wonderful film." "Two hours I want back."
    python predict.py --file reviews.txt            one review a line; - is standard input
    python predict.py --file reviews.csv            the reviews in a column
    python predict.py --explain "Not as bad as they say."

Takes the finished run in models/ of the highest validation accuracy, unless --run names one.
"""

import csv
import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import sentiment.lstm  # noqa: F401, Keras then loads networks with the faster LSTM
from sentiment.own_data import TEXT_COLUMNS, find_column
from sentiment.plots import draw_reading
from sentiment.runs import load_run, write_whole
from sentiment.settings import OneLineParser
from sentiment.terminal import lead_nowhere, make_printable
from sentiment.words import START, UNKNOWN, find_words

import keras
import numpy as np

REVIEWS_AT_A_TIME = 10_000  # so many are in memory, however many there are
REVIEWS_WITHOUT_PROGRESS = 1_000
UNSURE = 0.1  # closer than this to 0.5, a probability says little
FEW_WORDS = 5  # fewer known words than this are little to go by
# Backgrounds of a terminal's 256 colours, from what moved the probability little to much.
MOVES = (0.01, 0.03, 0.08, 0.2)
UP_COLOURS, DOWN_COLOURS = (195, 153, 111, 75), (223, 216, 209, 202)


def main():
    parser = OneLineParser(prog="predict.py", description=__doc__.partition("\n")[0])
    parser.add_argument("reviews", nargs="*", help="the reviews themselves")
    parser.add_argument("--file", help="a text file, one review a line; a .csv; - for the input")
    parser.add_argument("--column", help="column of the .csv that holds the reviews")
    parser.add_argument("--run", help="name of a run in models/, or a run folder")
    parser.add_argument("--format", choices=("text", "csv", "json"), default="text")
    parser.add_argument("--explain", action="store_true", help="show how each word moved it")
    parser.add_argument("--output", help="draw the explanation in this .png, .svg or .pdf")
    arguments = parser.parse_args()
    if bool(arguments.reviews) + bool(arguments.file) > 1:
        parser.error("give reviews or --file, not both")
    if arguments.explain and (len(arguments.reviews) != 1 or arguments.format != "text"):
        parser.error("--explain takes one review and prints text")
    if arguments.output and not arguments.explain:
        parser.error("--output goes with --explain")
    if arguments.output and Path(arguments.output).suffix not in (".png", ".svg", ".pdf"):
        parser.error(f"--output ends in .png, .svg or .pdf, not {arguments.output!r}")
    if not arguments.reviews and not arguments.file and sys.stdin.isatty():
        parser.error("give reviews, or a file of them with --file")

    reviews = iter(arguments.reviews or read_reviews(arguments.file or "-", arguments.column))
    run = load_run(arguments.run)
    print(f"Run: {run.folder}, validation accuracy {run.accuracy:.1%}", file=sys.stderr)
    try:
        if arguments.explain:
            explain(next(reviews), run, arguments.output)
        else:
            predict_all(reviews, run, arguments.format)
    except BrokenPipeError:  # the reader of our output has seen enough
        lead_nowhere(sys.stdout.fileno())


def read_reviews(path: str, column: str | None) -> Iterator[str]:
    """Yield the reviews of a file, one at a time.

    Raises:
        SystemExit: with status 1 after one line, where it can't be read.
    """
    is_csv = Path(path).suffix.lower() == ".csv"
    try:
        source = sys.stdin.fileno() if path == "-" else path
        # The csv module wants to see line ends as they are.
        style = {"newline": ""} if is_csv else {}
        with open(source, encoding="utf-8-sig", errors="replace", **style) as file:  # noqa: PTH123
            if not is_csv:
                for line in file:
                    yield line.removesuffix("\n")
                return
            csv.field_size_limit(2**31 - 1)
            rows = csv.DictReader(file)
            name = find_column(rows.fieldnames, column, TEXT_COLUMNS)
            for row in rows:
                yield row[name] or ""
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SystemExit(make_printable(f"Can't read {path}: {reason}")) from None


def predict_all(reviews, run, form):
    """Print label and probability of each review."""
    print_row = {"text": print_text, "csv": print_csv, "json": print_json}[form]
    progress, done, unreadable = None, 0, 0
    if form == "csv":
        write_row("label", "probability", "note", "review")
    while some := list(itertools.islice(reviews, REVIEWS_AT_A_TIME)):
        if progress is None and len(some) > REVIEWS_WITHOUT_PROGRESS:
            progress = keras.utils.Progbar(None, unit_name="review")
        sequences = [run.encode(review) for review in some]
        probabilities = run.predict(sequences)
        unreadable += sum("\N{REPLACEMENT CHARACTER}" in review for review in some)
        for review, sequence, probability in zip(some, sequences, probabilities, strict=True):
            print_row(*judge(sequence, float(probability)), review)
        done += len(some)
        if progress:
            with redirect_stdout(sys.stderr):
                progress.update(done)
    if progress:
        with redirect_stdout(sys.stderr):
            progress.update(done, finalize=True)
    if unreadable:
        print(f"Reviews with bytes that are not UTF-8: {unreadable:,}", file=sys.stderr)


def judge(sequence, probability):
    """Return label, probability, and a note on what makes them doubtful, if anything does."""
    label = "positive" if probability > 0.5 else "negative"
    words = sequence[sequence != START]
    known = np.count_nonzero(words != UNKNOWN)
    note = ""
    if not len(words):
        note = "no words"
    elif not known:
        note = "unsure: no word is known"
    elif len(words) < FEW_WORDS:
        note = "unsure: few words"
    elif known < FEW_WORDS or 2 * known < len(words):
        note = f"unsure: only {known} of {len(words)} words are known"
    elif abs(probability - 0.5) < UNSURE:
        note = "unsure"
    return label, probability, note


def print_text(label, probability, note, review):
    shown = make_printable(review)
    room = shutil.get_terminal_size().columns - 20 - (len(note) + 3 if note else 0)
    if sys.stdout.isatty() and len(shown) > room:
        shown = shown[: max(room - 1, 10)] + "…"
    print(f"{label}  {probability:6.1%}  {shown}" + (f" ({note})" if note else ""))


def print_csv(label, probability, note, review):
    write_row(label, f"{probability:.8f}", note, review)


def write_row(*cells):
    csv.writer(sys.stdout, lineterminator="\n").writerow(cells)


def print_json(label, probability, note, review):
    row = {"label": label, "probability": round(probability, 8), "note": note, "review": review}
    print(json.dumps(row))


def explain(review, run, output):
    """Print a review with the probability after each word, and draw it if wanted."""
    sequence = run.encode(review)
    words = [make_printable(word) for word in find_words(review)]
    if not words:
        raise SystemExit("There is no word in this review.")
    if len(words) > len(sequence):
        print(f"Only the last {len(sequence):,} of its {len(words):,} words are read.")
        words = words[-len(sequence) :]
    # The network reads the review up to each word, as if it ended there.
    probabilities = run.predict([sequence[:end] for end in range(1, len(sequence) + 1)])
    before = 0.5 if len(words) == len(sequence) else probabilities[0]
    probabilities = probabilities[-len(words) :]
    moves = np.diff(probabilities, prepend=before)
    print_reading(words, probabilities, moves)
    print()
    print_text(*judge(sequence, float(probabilities[-1])), review)
    if output:
        write_whole(Path(output), lambda path: draw_reading(words, probabilities, moves, path))
        print(f"Picture: {output}")


def print_reading(words, probabilities, moves):
    """Print lines of words, coloured by their moves, above the probabilities after them."""
    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    room = shutil.get_terminal_size().columns
    line, below, used = "", "", 0
    for word, probability, move in zip(words, probabilities, moves, strict=True):
        width = max(len(word), 4)
        if used and used + width > room:
            print(line, below, sep="\n")
            line, below, used = "", "", 0
        used += width + 1
        strength = np.searchsorted(MOVES, abs(move))
        if is_coloured and strength:
            colour = (UP_COLOURS if move > 0 else DOWN_COLOURS)[strength - 1]
            line += f"\x1b[30;48;5;{colour}m{word}\x1b[0m" + " " * (width - len(word) + 1)
        else:
            line += f"{word:{width}} "
        below += f"{probability:<{width}.0%} "
    print(line, below, sep="\n")


if __name__ == "__main__":
    main()

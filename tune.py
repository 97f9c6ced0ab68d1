"""Search for better values of a training script's constants, on the validation set.

    python tune.py train_lstm.py --lstm-units 32,64,128 --learning-rate 0.0005..0.005 --trials 30

Values separated by commas are choices, two numbers with .. between them are a range, and a single
value holds for all trials. The same command continues a study that was stopped, and on several
machines with one --storage it works on one study.
"""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import argparse
import itertools
import math
import re
import shlex
import signal
import sys
import time
from pathlib import Path

from sentiment.cli import ArgumentParser, run
from sentiment.console import error_line
from sentiment.constants import FOLDER_NAME, option, read_constants
from sentiment.distribution import describe_device
from sentiment.errors import SentimentError
from sentiment.paths import models_folder
from sentiment.runs.atomic import write_atomically, write_text
from sentiment.runs.folder import STUDY
from sentiment.runs.record import read_versions
from sentiment.runs.state import format_command

try:
    import optuna
except ImportError:
    sys.exit(error_line("optuna is missing: pip install -r requirements/tune.txt"))

from sentiment.plots.study import draw_importances, draw_optimization_history, draw_slices
from sentiment.tuning.queue import Worker, open_storage
from sentiment.tuning.report import compute_importances, format_rows
from sentiment.tuning.search import MAXIMUM_SEEDS, Search
from sentiment.tuning.training import format_options, import_script
from sentiment.tuning.values import Choices, Range, parse_values

TRIALS = 30  # where neither --trials nor --minutes nor --grid is given
SHOWN_ROWS = 10
FIXED = {"REFIT": False}  # the validation set is needed to the end
NOT_TUNED = ("NAME", *FIXED)
PLOTS = {"history.png": draw_optimization_history, "slices.png": draw_slices}
PLOTS_OF_IMPORTANCES = {"importances.png": draw_importances}


def main():
    arguments = sys.argv[1:]
    parser = make_parser()
    path = next((Path(argument) for argument in arguments if argument.endswith(".py")), None)
    if path is None:
        parser.parse_args(arguments)  # prints the help, or says that the script is missing
        raise SentimentError("the first argument is a training script, such as train_lstm.py", 2)
    script = import_script(path)
    comments = read_constants(vars(script))
    add_constants(parser, comments, vars(script))
    given = parser.parse_args(arguments)
    values = {
        name: parse_values(parser, name, getattr(script, name), getattr(given, name))
        for name in comments
        if getattr(given, name, None) is not None
    }
    points = plan(parser, given, values)
    values |= {name: Choices((value,)) for name, value in FIXED.items() if name in comments}
    folder = models_folder() / (given.name or f"tune_{path.stem.removeprefix('train_')}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Worker(folder) as worker:
            search(given, script, values, points, folder, worker)
    except OSError as error:
        raise SentimentError(
            f"{error.filename or folder} can't be written: {error.strerror or error}; the same "
            "command continues the study"
        ) from None
    except (KeyboardInterrupt, SentimentError) as error:
        if isinstance(error, SentimentError) and error.status != 130:
            raise
        raise SentimentError("stopped; the same command continues the study", 130) from None


def search(given, script, values, points, folder, worker):
    """Do the trials, and report what they have found."""
    # Ctrl-C raises KeyboardInterrupt between trainings, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(given.storage, folder)
    study = Search(script, values, folder, storage, given.metric, given.folds, given.pruning)
    deadline = time.monotonic() + 60 * given.minutes if given.minutes else None
    print(f"Study: {folder}", flush=True)
    versions = ", ".join(f"{name} {version}" for name, version in read_versions().items())
    report = [
        f"# {folder.name}",
        "",
        f"Command: `{shlex.join(['python', 'tune.py', *sys.argv[1:]])}`",
        "",
        f"Machine: {describe_device()}; {versions}, optuna {optuna.__version__}",
        "",
    ]
    write_text(folder / STUDY, "\n".join(report))
    study.run(worker, points, deadline)
    rows = study.rows()
    if not any(row.values for row in rows):
        raise SentimentError("no trial was completed; try other values, or more time")
    if given.seeds > 1:
        study.repeat(worker, given.seeds)
        rows = study.rows()
    constants = study.fixed | rows[0].constants
    importances = compute_importances(study.study)
    lines = [
        "Best trials:",
        "",
        format_rows(rows[:SHOWN_ROWS], study.metric),
        "",
        describe_choice(rows, study.metric),
    ]
    if importances:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in importances.items())
        lines += ["", f"Importance of the constants (fANOVA): {shares}"]
    command = format_command(given.script, *format_options(constants))
    lines += ["", f"To train the winner: `{command}`"]
    print("", *lines, sep="\n")
    if given.test:
        record = study.trainer.train("winner", constants, evaluate_test=True)
        accuracy, reviews = record["test"]["accuracy"], record["data"]["test"]
        lines += ["", f"Test accuracy of the winner: {accuracy:.2%} on {reviews:,} reviews"]
        print(*lines[-2:], sep="\n")
    target = f"validation {study.metric}"
    plots = PLOTS | (PLOTS_OF_IMPORTANCES if importances else {})
    for name, draw in plots.items():
        write_atomically(folder / name, lambda path, draw=draw: draw(study.study, target, path))
    rest = ["", "All trials:", "", format_rows(rows, study.metric), ""]
    rest += [f"![{name}]({name})" for name in plots]
    write_text(folder / STUDY, "\n".join([*report, *lines, *rest]) + "\n")
    print(f"\nStudy folder: {folder} ({', '.join([STUDY, *plots])})")


def describe_choice(rows, metric: str) -> str:
    """Say how far the result of the best trial can be trusted."""
    winner = rows[0]
    text = (
        f"The {metric} of the best of {len(rows)} trials is optimistic: it was chosen on these "
        f"{winner.reviews:,} validation reviews."
    )
    if metric == "accuracy":
        error = math.sqrt(winner.mean * (1 - winner.mean) / winner.reviews)
        text += f" The standard error of an accuracy on so many reviews is {error:.1%}."
    return text


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="tune.py",
        usage="tune.py SCRIPT --CONSTANT VALUES ... [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("script", metavar="SCRIPT", help="a training script, such as train_lstm.py")
    number = parser.add_mutually_exclusive_group()
    text = f"number of trials (default: {TRIALS}, without --minutes)"
    number.add_argument("--trials", type=whole_number(1, 100_000), help=text)
    text = "try all combinations of choices"
    number.add_argument("--grid", action="store_true", help=text)
    text = "begin no trial after so many minutes"
    parser.add_argument("--minutes", type=minutes, help=text)
    text = "train the best trials with so many seeds: a third of them, at most ten (default: 1)"
    parser.add_argument("--seeds", type=whole_number(1, MAXIMUM_SEEDS), default=1, help=text)
    text = "what is to be best on the validation set (default: accuracy)"
    parser.add_argument("--metric", choices=("accuracy", "loss"), default="accuracy", help=text)
    text = "validation sets, each with a network of its own; the mean counts (default: 1)"
    parser.add_argument("--folds", type=whole_number(1, 100), default=1, help=text)
    text = "don't stop trials that are worse than the median after an epoch"
    parser.add_argument("--no-pruning", dest="pruning", action="store_false", help=text)
    text = "at the end, train the winner again and evaluate it on the test set"
    parser.add_argument("--test", action="store_true", help=text)
    text = (
        "where Optuna keeps the study: a database or Redis, such as postgresql+psycopg://HOST/NAME,"
        " or a journal file on a shared disk (default: study.journal in the folder of the study)"
    )
    parser.add_argument("--storage", default="", help=text)
    text = "the study, and its folder in models/ (default: tune_ and the script's name)"
    parser.add_argument("--name", type=study_name, help=text)
    return parser


def add_constants(parser: ArgumentParser, comments: dict[str, str], script: dict):
    """Add an option for each constant of a script."""
    group = parser.add_argument_group("constants of the script")
    for name, comment in comments.items():
        if name in NOT_TUNED:
            continue
        text = f"{comment} (default: {script[name]})".replace("%", "%%")
        try:
            group.add_argument(option(name), dest=name, metavar="VALUES", help=text)
        except argparse.ArgumentError:
            raise SentimentError(
                f"the constant {name} needs another name: {option(name)} is an option of tune.py", 2
            ) from None


def plan(parser, given, values: dict) -> dict[int, dict] | None:
    """Return the values of each trial, as `Worker.work` takes them."""
    varied = {name: value for name, value in values.items() if value.is_varied}
    if not varied:
        parser.error("give a constant several values, as in --lstm-units 32,64,128")
    if given.grid:
        if ranges := [name for name, value in varied.items() if isinstance(value, Range)]:
            parser.error(f"--grid takes choices, but {option(ranges[0])} is a range")
        combinations = itertools.product(*(value.values for value in varied.values()))
        return {i: dict(zip(varied, chosen, strict=True)) for i, chosen in enumerate(combinations)}
    if given.minutes and not given.trials:
        return None
    return {i: {} for i in range(given.trials or TRIALS)}


def whole_number(least: int, most: int):
    def convert(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most:,}")
        return int(text)

    return convert


def minutes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError("must be a number greater than 0")
    return number


def study_name(text: str) -> str:
    if not re.fullmatch(FOLDER_NAME, text):
        raise argparse.ArgumentTypeError("must be a folder name of letters, digits, '_', '-', '.'")
    return text


if __name__ == "__main__":
    run(main)  # prints errors as one line, without a traceback

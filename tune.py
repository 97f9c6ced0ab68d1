"""Search for better values of a training script's constants, on the validation set.

    python tune.py train_lstm.py --lstm-units 50,100,200 --learning-rate 0.0005..0.005 --trials 30

Values separated by commas are choices, two numbers with .. between them are a range, and a single
value holds for all trials. Rerun the command to continue a study that was stopped. To share a study
between machines, run it on each with the same --storage and --name. See docs/tuning.md.
"""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import argparse
import itertools
import math
import os
import re
import shlex
import signal
import sys
import time
from pathlib import Path

from sentiment.cli import ArgumentParser, run
from sentiment.console import error_line
from sentiment.constants import FLOATS, FOLDER_NAME, option, read_constants
from sentiment.distribution import VARIABLES, describe_device
from sentiment.errors import SentimentError
from sentiment.paths import models_folder
from sentiment.runs.atomic import write_atomically, write_text
from sentiment.runs.folder import CHECKPOINT, HISTORY, RECORD, RESERVED_NAMES, STUDY
from sentiment.runs.record import read_versions
from sentiment.runs.state import format_command

try:
    import optuna
    from filelock import FileLock

    from sentiment.plots.study import draw_importances, draw_optimization_history, draw_slices
except ImportError as error:
    sys.exit(error_line(f"{error.name} is missing: pip install -r requirements/tune.txt"))

from sentiment.tuning.queue import Plan, Worker, hide_password, open_storage
from sentiment.tuning.report import compute_importances, format_rows
from sentiment.tuning.search import MAXIMUM_SEEDS, Search
from sentiment.tuning.training import format_options, import_script
from sentiment.tuning.values import Choices, Range, parse_values

TRIALS = 30  # where neither --trials nor --minutes nor --grid is given
SHOWN_ROWS = 10
FIXED = {"REFIT": False}  # the validation set is needed to the end
NOT_TUNED = ("NAME", *FIXED)
RUN_FILES = (RECORD, CHECKPOINT, HISTORY)
REPORT_LOCK = ".report.lock"
PLOTS = {"history.png": draw_optimization_history, "slices.png": draw_slices}
PLOTS_OF_IMPORTANCES = {"importances.png": draw_importances}


def main():
    arguments = sys.argv[1:]
    parser = make_parser()
    path = next((Path(argument) for argument in arguments if argument.endswith(".py")), None)
    if path is None:
        if {"-h", "--help"} & set(arguments):
            parser.parse_args(arguments)  # prints the help
        parser.error("the first argument is a training script, such as train_lstm.py")
    if found := [name for name in VARIABLES if name in os.environ]:
        parser.error(f"each network is trained by one process here; unset {' and '.join(found)}")
    script = import_script(path)
    comments = read_constants(vars(script))
    add_constants(parser, comments, vars(script))
    given = parser.parse_args(arguments)
    values = {
        name: parse_values(parser, name, getattr(script, name), getattr(given, name))
        for name in comments
        if getattr(given, name, None) is not None
    }
    plan = make_plan(parser, given, script, values)
    values |= {name: Choices((value,)) for name, value in FIXED.items() if name in comments}
    folder = models_folder() / (given.name or f"tune_{path.stem.removeprefix('train_')}")
    if folder.name in RESERVED_NAMES or any((folder / name).exists() for name in RUN_FILES):
        parser.error(f"{folder} is a run; choose another name with --name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Worker(folder) as worker:
            search(given, script, values, plan, folder, worker)
    except BrokenPipeError:
        raise
    except (OSError, optuna.exceptions.OptunaError) as error:
        place = getattr(error, "filename", None) or "the storage of the study"
        reason = getattr(error, "strerror", None) or error
        raise SentimentError(
            f"{place} can't be used: {reason}; the same command continues the study"
        ) from None
    except (KeyboardInterrupt, SentimentError) as error:
        if isinstance(error, SentimentError) and error.status != 130:
            raise
        raise SentimentError("stopped; the same command continues the study", 130) from None


def search(given, script, values, plan, folder, worker):
    """Do the trials, and report what they have found."""
    # Ctrl-C raises KeyboardInterrupt between trainings, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(given.storage, folder)
    options = (given.metric, given.folds, given.pruning, plan.is_grid)
    study = Search(script, values, folder, storage, *options)
    deadline = time.monotonic() + 60 * given.minutes if given.minutes else None
    print(f"Study: {folder}", flush=True)
    versions = ", ".join(f"{name} {version}" for name, version in read_versions().items())
    report = [
        f"# {folder.name}",
        "",
        f"Command: `{hide_password(shlex.join(['python', 'tune.py', *sys.argv[1:]]))}`",
        "",
        f"Machine: {describe_device()}; {versions}, optuna {optuna.__version__}",
        "",
    ]
    with FileLock(folder / REPORT_LOCK):
        if not (folder / STUDY).exists():
            write_text(folder / STUDY, "\n".join(report))
    study.run(worker, plan, deadline)
    if not any(row.values for row in study.rows(1)):
        raise SentimentError("no trial was completed; try other values, or more time")
    if given.seeds > 1:
        study.repeat(worker, given.seeds)
    rows = study.rows(given.seeds)
    constants = study.fixed | rows[0].constants
    finished = study.finished()
    importances = compute_importances(finished)
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
        record = study.trainer.train(f"winner-{rows[0].place}", constants, evaluate_test=True)
        accuracy, reviews = record["test"]["accuracy"], record["data"]["test"]
        lines += ["", f"Test accuracy of the winner: {accuracy:.2%} on {reviews:,} reviews"]
        if len(list(folder.glob("winner-*"))) > 1:
            lines[-1] += "; another trial was tested before, so they are no longer unseen"
        print(*lines[-2:], sep="\n")
    target = f"validation {study.metric}"
    plots = PLOTS | (PLOTS_OF_IMPORTANCES if importances else {})
    rest = ["", "All trials:", "", format_rows(rows, study.metric), ""]
    rest += [f"![{name}]({name})" for name in plots]
    with FileLock(folder / REPORT_LOCK):  # other workers may be at the same point
        for name, draw in plots.items():
            write_atomically(folder / name, lambda path, draw=draw: draw(finished, target, path))
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
    text = f"number of trials (default: {TRIALS}; with --minutes alone, there is no limit)"
    number.add_argument("--trials", type=whole_number(1, 100_000), help=text)
    text = "try all combinations of choices"
    number.add_argument("--grid", action="store_true", help=text)
    text = "start no new trial after this many minutes"
    parser.add_argument("--minutes", type=minutes, help=text)
    text = (
        "train the best third of the completed trials, at most ten, and the script's values with "
        "this many seeds, and rank them by their mean (default: 1)"
    )
    parser.add_argument("--seeds", type=whole_number(1, MAXIMUM_SEEDS), default=1, help=text)
    text = "validation score to optimize (default: accuracy)"
    parser.add_argument("--metric", choices=("accuracy", "loss"), default="accuracy", help=text)
    text = "number of training and validation splits; each trial is ranked by its mean (default: 1)"
    parser.add_argument("--folds", type=whole_number(1, 100), default=1, help=text)
    text = "train every trial for all epochs"
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


def make_plan(parser, given, script, values: dict) -> Plan:
    """Return the trials."""
    varied = {name: value for name, value in values.items() if value.is_varied}
    if not varied:
        parser.error("give a constant several values, as in --lstm-units 50,100,200")
    if given.seeds > 1 and "SEED" in varied:
        parser.error("--seeds repeats trials with other seeds, so --seed must be a single value")
    own = {name: getattr(script, name) for name in varied}
    own = {name: float(value) if name in FLOATS else value for name, value in own.items()}
    missing = [name for name in varied if not varied[name].has(own[name])]
    if missing:
        shown = ", ".join(f"{option(name)} {own.pop(name)}" for name in missing)
        print(f"The script's own values won't be compared, because these are not given: {shown}")
    ranges = [name for name, value in varied.items() if isinstance(value, Range)]
    if given.grid and ranges:
        parser.error(f"--grid takes choices, but {option(ranges[0])} is a range")
    number = given.trials or TRIALS
    # The sampler would try some combinations again and again.
    is_small = not ranges and math.prod(len(value.values) for value in varied.values()) <= number
    if given.grid or is_small:
        combinations = itertools.product(*(value.values for value in varied.values()))
        points = dict(enumerate(dict(zip(varied, chosen, strict=True)) for chosen in combinations))
        return Plan(points.keys(), points, is_grid=True)
    # Trial 0 is the baseline.
    return Plan(None if given.minutes and not given.trials else range(number), {0: own})


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

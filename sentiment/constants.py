"""A script's constants as its command-line options."""

import argparse
import ast
import difflib
import io
import json
import re
import sys
import tokenize
from pathlib import Path

from sentiment.cli import ArgumentParser
from sentiment.console import strip_control_characters
from sentiment.data.dataset import SOURCES
from sentiment.data.word_vectors import WORD_VECTORS
from sentiment.distribution import broadcast
from sentiment.errors import SentimentError
from sentiment.recipes import read_like
from sentiment.runs.atomic import hash_file
from sentiment.runs.checkpoint import find_unfinished
from sentiment.runs.folder import RESERVED_NAMES, exists
from sentiment.schedules import SCHEDULES
from sentiment.settings import Settings

CHOICES = {
    "PADDING": ("post", "pre"),
    "LEARNING_RATE_SCHEDULE": SCHEDULES,
    "PRECISION": ("float32", "mixed_bfloat16", "mixed_float16"),
    "RESTORE_BEST_WEIGHTS": (True, False),
    "REFIT": (True, False),
    "TENSORBOARD": (True, False),
}
# The smallest and the largest value that make sense. Larger ones are typing errors.
WHOLE_NUMBERS = {
    "VOCABULARY_SIZE": (5, 1_000_000),  # four ids are special
    "MAXIMUM_TOKENS": (1, 100_000),
    "BATCH_SIZE": (1, 25_000),
    "EMBEDDING_SIZE": (1, 10_000),
    "FILTERS": (1, 10_000),
    "KERNEL_SIZE": (1, 1_000),
    "POOL_SIZE": (1, 1_000),
    "NGRAMS": (1, 1_000_000),
    "NEGATION_SCOPE": (0, 100),
    "LSTM_UNITS": (1, 10_000),
    "CHRONO_TIMESTEPS": (0, 100_000),
    "SEED": (0, 2**32 - 1),
    "EPOCHS": (1, 10_000),
    "PATIENCE": (0, 10_000),
}
POSITIVE_NUMBERS, LARGEST = ("LEARNING_RATE",), sys.float_info.max
FOLDER_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
RESERVED = ("RESUME", "LIKE", "SEEDS", "TEST", "HELP")  # options that are no constants
FRACTIONS = ("DROPOUT_AFTER_EMBEDDING", "DROPOUT_AFTER_LSTM")
FLOATS = (*POSITIVE_NUMBERS, *FRACTIONS, "SENTENCE_WEIGHT")
CHECKED = {*CHOICES, *WHOLE_NUMBERS, *FLOATS, "DATA", "NAME", "WORD_VECTORS"}


def parse_constants(script: dict, arguments: list[str] | None = None) -> Settings:
    """Set a script's constants to the values given on its command line.

    Each UPPER_CASE constant is an option: ``LSTM_UNITS = 100  # hidden units`` becomes
    ``--lstm-units``, an integer whose help text is the comment. ``True`` and ``False`` become a
    pair of options, ``--name`` and ``--no-name``. ``--resume`` and ``--like`` take the constants
    of an earlier run or a recipe.

    Args:
        script: the script's ``globals()``, in which the constants are set.
        arguments: the command line without the program's name; ``sys.argv[1:]`` by default.

    Raises:
        SentimentError: with status 2 for an option or a value that can't be used, with status 1 for
            a run that can't be resumed or repeated.
    """
    file = Path(script["__file__"])
    comments = read_constants(script)
    constants = {name: script[name] for name in comments}
    if taken := [name for name in constants if name in RESERVED]:
        raise SentimentError(f"the constant {taken[0]} needs another name, it is an option", 2)
    _check_spelling(script)
    parser = _make_parser(script, comments)
    options = vars(parser.parse_args(arguments))
    resume, like = options.pop("resume", None), options.pop("like", None)
    evaluate_test, seeds = options.pop("test", True), options.pop("seeds", [])
    resumed, repeated, is_refit = None, None, False
    if seeds and (resume is not None or "SEED" in options):
        parser.error("--seeds starts several runs; it can't be used with --seed or --resume")
    if resume is not None and like is not None:
        parser.error("--resume continues a run and --like starts another one; use one of them")
    if resume is not None:
        resumed, state = broadcast(lambda: find_unfinished(file.name, resume))
        _check_names(state["options"], constants, str(resumed), file.name)
        options = {**state["options"], **options}
        evaluate_test = evaluate_test and state["evaluate_test"]
        is_refit = state["refit"] is not None
    elif like is not None:
        repeated, recorded = broadcast(lambda: read_like(like, file.name))
        options = {**_match(recorded, constants, like, file.name), **options}
    constants = {**constants, **options}
    for name, value in [*constants.items(), *(("SEED", seed) for seed in seeds)]:
        if problem := find_problem(name, value):
            what = option(name) if name in options or value in seeds else name
            parser.error(f"{what} must be {problem}, not {_show(value)}")
    for name, value in constants.items():
        if json.loads(json.dumps(script[name])) == value:
            constants[name] = script[name]  # not a list for a tuple, nor text for a number as key
        if name in FLOATS:
            constants[name] = float(value)  # Keras refuses a whole number as learning rate
    script.update(constants)
    return Settings(
        constants=constants,
        options=options,
        script_hash=hash_file(file),
        resumed=resumed,
        like=repeated,
        evaluate_test=evaluate_test,
        seeds=seeds,
        is_refit=is_refit,
    )


def read_constants(script: dict) -> dict[str, str]:
    """Return the name of each constant of a script that an option can set, and its comment.

    Args:
        script: the script's ``globals()``.
    """
    return {
        name: comment
        for name, comment in _read_comments(Path(script["__file__"])).items()
        if name in script and (name in CHECKED or _is_literal(script[name]))
    }


def option(name: str) -> str:
    """Return the option that sets a constant."""
    return "--" + name.lower().replace("_", "-")


def _check_spelling(script: dict):
    """Check that no constant was set in a notebook under a misspelled name."""
    known = _read_comments(Path(script["__file__"]))
    for name, value in script.items():
        is_unknown = name.isupper() and name not in known and _is_literal(value)
        if is_unknown and (close := difflib.get_close_matches(name, known, n=1, cutoff=0.8)):
            raise SentimentError(f"there is no constant {name}; did you mean {close[0]}?", 2)


def _make_parser(script: dict, comments: dict[str, str]) -> ArgumentParser:
    parser = ArgumentParser(
        prog=Path(script["__file__"]).name,
        description=(script["__doc__"] or "").partition("\n")[0],
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for name, comment in comments.items():
        default = script[name]
        # argparse formats its help with %, which a comment may contain.
        help_text = f"{comment} (default: {default})".strip().replace("%", "%%")
        if isinstance(default, bool):
            action = argparse.BooleanOptionalAction
            parser.add_argument(option(name), dest=name, action=action, help=help_text)
            continue
        kind = type(default)
        if name in FLOATS:
            kind = float  # the script may say 0 or 1
        convert = kind if kind in (int, float, str) else _parse_literal
        metavar = kind.__name__.upper()
        parser.add_argument(option(name), dest=name, type=convert, metavar=metavar, help=help_text)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="RUN",
        help="continue an unfinished run; without a name, the newest one of this script",
    )
    parser.add_argument("--like", metavar="RUN", help="repeat a run, or train a recipe")
    parser.add_argument(
        "--seeds", type=_parse_seeds, metavar="SEEDS", help="train with several seeds, as in 1,2,3"
    )
    parser.add_argument(
        "--no-test", dest="test", action="store_false", help="don't evaluate the test set"
    )
    return parser


def _match(recorded: dict, constants: dict, name: str, script: str) -> dict:
    """Return the recorded constants; say in one line which ones of the script are not recorded.

    Raises:
        SentimentError: if the script lacks one that is recorded.
    """
    _check_names(recorded, constants, name, script)
    if missing := [f"{key} = {value!r}" for key, value in constants.items() if key not in recorded]:
        text = f"{name} doesn't set {', '.join(missing)}: the values of {script} are used"
        print(strip_control_characters(text))
    return recorded


def _parse_literal(text: str):
    try:
        return ast.literal_eval(text)
    except Exception:  # it raises many kinds
        raise argparse.ArgumentTypeError(f"{text!r} is not a Python literal") from None


def _parse_seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of seeds, such as 1,2,3"
        ) from None


def _check_names(recorded: dict, constants: dict, name: str, script: str):
    if unknown := [key for key in recorded if key not in constants]:
        raise SentimentError(f"{name} sets {', '.join(unknown)}, but {script} has no such constant")


def _show(value) -> str:
    try:
        return repr(value)
    except ValueError:  # hexadecimal digits can be more than Python prints as decimal ones
        return "a number with so many digits"


def _is_literal(value) -> bool:
    """Return whether a value can be written on the command line and in a record."""
    try:
        json.dumps(value)
        return ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError, TypeError, RecursionError):
        return isinstance(value, float)  # inf and NaN have no literal


def _read_comments(path: Path) -> dict[str, str]:
    """Return the trailing comment of each top-level UPPER_CASE constant of a Python file."""
    with tokenize.open(path) as file:
        source = file.read()
    comment_of_line = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    comments = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign):
            target = statement.targets[0]
        elif isinstance(statement, ast.AnnAssign):  # as in LSTM_UNITS: int = 100
            target = statement.target
        else:
            continue
        if isinstance(target, ast.Name) and target.id.isupper():
            comments[target.id] = comment_of_line.get(statement.end_lineno or 0, "")
    return comments


def find_problem(name: str, value) -> str | None:
    """Say what the value of a constant must be, or return None if it is valid."""
    is_number = type(value) in (int, float)
    if name == "DATA":
        is_text = isinstance(value, str)
        is_valid = is_text and (value in SOURCES or exists(Path(value.partition("?")[0])))
        expected = f"{', '.join(SOURCES)}, or an existing folder or file of reviews"
    elif name in CHOICES:
        is_valid = value in CHOICES[name] and isinstance(value, type(CHOICES[name][0]))
        expected = f"one of {', '.join(map(str, CHOICES[name]))}"
    elif name == "WORD_VECTORS":
        is_file = isinstance(value, str) and exists(Path(value)) and Path(value).is_file()
        is_valid = is_file or value in WORD_VECTORS
        expected = f"one of {', '.join(WORD_VECTORS)}, or an existing GloVe or word2vec text file"
    elif name == "NAME":
        is_valid = isinstance(value, str) and bool(re.fullmatch(FOLDER_NAME, value))
        is_valid = is_valid and value not in RESERVED_NAMES
        expected = (
            "a folder name of letters, digits, '_', '-' and '.', and not "
            f"{' or '.join(RESERVED_NAMES)}"
        )
    elif name in WHOLE_NUMBERS:
        least, largest = WHOLE_NUMBERS[name]
        is_valid = type(value) is int and least <= value <= largest
        expected = f"a whole number from {least:,} to {largest:,}"
    elif name in POSITIVE_NUMBERS:
        is_valid, expected = is_number and 0 < value <= LARGEST, "a number greater than 0"
    elif name == "SENTENCE_WEIGHT":
        is_valid, expected = is_number and 0 <= value <= 10, "a number from 0 to 10"
    elif name in FRACTIONS:
        is_valid = is_number and 0 <= value < 1
        expected = "a number of at least 0 and less than 1"
    else:
        is_valid = _is_literal(value)
        expected = "a number, a string, a list or a dictionary"
    return None if is_valid else expected

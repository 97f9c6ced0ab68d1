"""A script's constants as its command-line options."""

import argparse
import ast
import io
import math
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path

from sentiment.data import SOURCES
from sentiment.devices import from_first
from sentiment.runs import find_finished, find_unfinished
from sentiment.terminal import make_printable

CHOICES = {
    "KEEP_WEIGHTS": ("best", "last"),
    "PRECISION": ("float32", "mixed_bfloat16", "mixed_float16"),
}
# The least and the most that makes sense: more is a slip of the finger, or fits no machine.
WHOLE_NUMBERS = {
    "VOCABULARY_SIZE": (5, 1_000_000),  # four ids are no words
    "MAXIMUM_TOKENS": (1, 100_000),
    "BATCH_SIZE": (1, 25_000),
    "EMBEDDING_SIZE": (1, 10_000),
    "FILTERS": (1, 10_000),
    "KERNEL_SIZE": (1, 1_000),
    "POOL_SIZE": (1, 1_000),
    "COUNTED_TERMS": (1, 10_000_000),
    "LSTM_UNITS": (1, 10_000),
    "MEMORY_SPAN": (0, 100_000),
    "AVERAGED_STEPS": (1, 1_000_000),
    "SEED": (0, 2**32 - 1),
    "EPOCHS": (1, 10_000),
}
FRACTIONS = ("DROPOUT_AFTER_EMBEDDING", "DROPOUT_AFTER_LSTM", "LEARNING_RATE", "EPSILON")


@dataclass(frozen=True)
class Settings:
    """What a run is made with."""

    constants: dict  # every constant's name and value, in the order of the script
    options: dict  # those of them that the command line named, or that another run gave
    resumed: Path | None  # the folder of the run to go on with
    like: Path | None  # the folder of the run to train again


def read_settings(script: dict, arguments: list[str] | None = None) -> Settings:
    """Give a script's UPPER_CASE constants the values named on its command line.

    Each constant is an option: ``LSTM_UNITS = 100  # size of the state`` becomes
    ``--lstm-units``, an integer whose help text is the comment. ``True`` and ``False`` become a
    pair, ``--mask-padding`` and ``--no-mask-padding``. ``--resume`` and ``--like`` take the
    constants of an earlier run.

    Args:
        script: the script's ``globals()``; its constants change in it.
        arguments: the command line without the program's name; ``sys.argv[1:]`` by default.

    Raises:
        SystemExit: with status 2 after one line, for an option or a value that cannot be used;
            with status 1, for a run that can't be resumed or trained again.
    """
    file = Path(script["__file__"])
    comments = _read_comments(file)
    constants = {name: script[name] for name in comments}
    parser = _make_parser(script, comments)
    options = vars(parser.parse_args(arguments))
    resumed, like = options.pop("resume", None), options.pop("like", None)
    if resumed is not None and like is not None:
        parser.error("--resume goes on with a run and --like makes another: name one of them")
    if resumed is not None:
        resumed, recorded = from_first(lambda: find_unfinished(file.name, resumed))
        options = {**recorded, **options}
    elif like is not None:
        like, recorded = from_first(lambda: find_finished(file.name, like))
        if differing := sorted(set(recorded) ^ set(constants)):
            raise SystemExit(
                f"{like} was made by another version of {file.name}, as one of them has no "
                f"{make_printable(differing[0])}"
            )
        options = {**recorded, **options}
    constants = {**constants, **options}
    for name, value in constants.items():
        problem = _find_problem(name, value)
        if problem:
            parser.error(f"--{name.lower().replace('_', '-')} must be {problem}, not {value!r}")
    script.update(constants)
    return Settings(constants, options, resumed, like)


def _make_parser(script, comments):
    parser = OneLineParser(
        prog=Path(script["__file__"]).name,
        description=(script["__doc__"] or "").partition("\n")[0],
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for name, comment in comments.items():
        default = script[name]
        option = "--" + name.lower().replace("_", "-")
        # argparse formats its help with %, which a comment uses for per cent.
        help_text = f"{comment} (default: {default})".strip().replace("%", "%%")
        if isinstance(default, bool):
            parser.add_argument(
                option, dest=name, action=argparse.BooleanOptionalAction, help=help_text
            )
        else:
            # A whole number may stand in the script where others need a fraction: 0, say.
            kind = float if name in FRACTIONS else type(default)
            parser.add_argument(
                option, dest=name, type=kind, metavar=kind.__name__.upper(), help=help_text
            )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="RUN",
        help="go on with an unfinished run; without a name, with this script's newest",
    )
    parser.add_argument("--like", metavar="RUN", help="train a run again, with its constants")
    return parser


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with status 2."""

    def error(self, message):
        self.exit(2, make_printable(f"{self.prog}: {message} (--help lists all options)") + "\n")


def _read_comments(path: Path) -> dict[str, str]:
    """Return the trailing comment of each top-level UPPER_CASE constant of a Python file."""
    with tokenize.open(path) as file:
        source = file.read()
    comment_of_line = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    return {
        statement.targets[0].id: comment_of_line.get(statement.end_lineno, "")
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id.isupper()
    }


def _find_problem(name: str, value) -> str | None:
    """Say what the value of a constant must be, or nothing if it is so."""
    if name == "DATA":
        known = value in SOURCES or Path(value.partition("?")[0]).exists()
        return None if known else f"{', '.join(SOURCES)}, or an existing folder, .csv or .npz file"
    if name in CHOICES:
        return None if value in CHOICES[name] else f"one of {', '.join(CHOICES[name])}"
    if name == "NAME":
        plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", str(value))
        return None if plain else "a folder name of letters, digits, '_', '-' and '.'"
    if name in WHOLE_NUMBERS:
        least, most = WHOLE_NUMBERS[name]
        right = type(value) is int and least <= value <= most
        return None if right else f"a whole number from {least:,} to {most:,}"
    if name in ("LEARNING_RATE", "EPSILON"):
        right = type(value) in (int, float) and 0 < value < math.inf
        return None if right else "a number greater than 0"
    if name in FRACTIONS:
        right = type(value) in (int, float) and 0 <= value < 1
        return None if right else "a number from 0 to less than 1"
    return None

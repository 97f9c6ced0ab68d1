"""A script's constants as its command-line options."""

import argparse
import ast
import math
import re
import tokenize
from pathlib import Path

CHOICES = {
    "DATA": ("auto", "imdb", "imdb-package"),
    "KEEP_WEIGHTS": ("best", "last"),
}
LARGEST_INTEGER = 1_000_000  # beyond it lie slips of the finger, and arrays that fit no machine


def read_settings(script: dict, arguments: list[str] | None = None) -> dict:
    """Give a script's UPPER_CASE constants the values named on its command line.

    Each constant is an option: ``LSTM_UNITS = 100  # size of the state`` becomes
    ``--lstm-units``, an integer whose help text is the comment. ``True`` and ``False`` become a
    pair, ``--mask-padding`` and ``--no-mask-padding``.

    Args:
        script: the script's ``globals()``; constants named on the command line change in it.
        arguments: the command line without the program's name; ``sys.argv[1:]`` by default.

    Returns:
        Every constant's name and value, in the order of the script.

    Raises:
        SystemExit: with status 2 after one line, for an option or a value that cannot be used.
    """
    comments = _read_comments(Path(script["__file__"]))
    parser = OneLineParser(
        prog=Path(script["__file__"]).name,
        description=(script["__doc__"] or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    for name, comment in comments.items():
        default = script[name]
        option = "--" + name.lower().replace("_", "-")
        # argparse formats its help with %, which a comment uses for per cent.
        help_text = comment.replace("%", "%%") or " "
        if isinstance(default, bool):
            parser.add_argument(
                option, action=argparse.BooleanOptionalAction, default=default, help=help_text
            )
        else:
            metavar = type(default).__name__.upper()
            parser.add_argument(
                option, type=type(default), default=default, metavar=metavar, help=help_text
            )
    settings = dict(zip(comments, vars(parser.parse_args(arguments)).values(), strict=True))
    for name, value in settings.items():
        problem = _find_problem(name, value)
        if problem:
            parser.error(f"--{name.lower().replace('_', '-')} must be {problem}, not {value!r}")
    script.update(settings)
    return settings


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with status 2."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help lists all options)\n")


def _read_comments(path: Path) -> dict[str, str]:
    """Return the trailing comment of each top-level UPPER_CASE constant of a Python file."""
    with tokenize.open(path) as file:
        source = file.read()
    lines = iter(source.splitlines(keepends=True))
    comment_of_line = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(lambda: next(lines, ""))
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
    if isinstance(value, bool):
        return None
    if name in CHOICES:
        return None if value in CHOICES[name] else f"one of {', '.join(CHOICES[name])}"
    if name == "NAME":
        plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", value)
        return None if plain else "a folder name of letters, digits, '_', '-' and '.'"
    if name.startswith("DROPOUT"):
        return None if 0 <= value < 1 else "at least 0 and less than 1"
    if isinstance(value, float):
        return None if 0 < value < math.inf else "greater than 0"
    if isinstance(value, int):
        # Four ids are not words: padding, start, unknown and one that is unused.
        smallest = {"SEED": 0, "VOCABULARY_SIZE": 5}.get(name, 1)
        if not smallest <= value <= LARGEST_INTEGER:
            return f"from {smallest:,} to {LARGEST_INTEGER:,}"
    return None

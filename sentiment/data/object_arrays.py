"""Reviews in an array of objects, which NumPy pickles. The pickle is parsed, never unpickled."""

import io
import pickle
import pickletools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

MAXIMUM_NUMBERS, MAXIMUM_REVIEWS = 50_000_000, 250_000
TOO_LARGE = (
    f"it is too large, it may have {MAXIMUM_NUMBERS:,} words in {MAXIMUM_REVIEWS:,} reviews; "
    "save a larger data set as CSV or JSON lines, which are read one review at a time"
)
DAMAGED = "it is a damaged pickle"
NOT_LISTS = "it does not hold lists of whole numbers"
# A review has 3 to 20 opcodes besides its integers.
MAXIMUM_OPCODES = 20 * MAXIMUM_REVIEWS
# Up to 1,000 integers that are appended to a list: pickles consist of these batches. To parse them
# one by one would take ten times as long. LONG1 is what Python 2 makes of a long.
BATCH = re.compile(
    rb"\((?:K.|M..|J....|\x8a(?:\x00|\x01.|\x02..|\x03...|\x04....)){1,1000}+e", re.DOTALL
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
VALUES = (
    *("BININT1", "BININT2", "BININT", "LONG1"),
    *("SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "SHORT_BINSTRING"),
)
GLOBALS = (
    "numpy ndarray",
    "numpy dtype",
    "numpy.core.multiarray _reconstruct",
    "numpy._core.multiarray _reconstruct",
    "_codecs encode",
)


@dataclass(frozen=True)
class _Global:
    """What a pickle would import."""

    name: str


@dataclass
class _Object:
    """What a pickle would create with a call, and the state that it would give it."""

    function: Any
    arguments: tuple
    state: tuple | None = None


def parse_reviews(pickled: bytes, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return the reviews in an array of objects: lists or one-dimensional arrays of integers.

    Args:
        pickled: the array as ``numpy.save`` pickles it, with protocol 2 to 5.
        shape: its shape, ``(reviews,)``, or ``(reviews, integers)`` if its elements are integers.

    Returns:
        An array of integers per review.

    Raises:
        ValueError: if it holds anything else, or too much.
    """
    if len(shape) not in (1, 2):
        raise ValueError(NOT_LISTS)
    try:
        code, pickled_shape, elements = _match_array(_parse(pickled))
        if code != "|O8" or pickled_shape != shape or not isinstance(elements, list):
            raise ValueError("it does not hold the array that its header describes")
        if len(shape) == 2:
            return list(_join(elements).reshape(shape))
        if len(elements) != shape[0]:
            raise ValueError("its number of reviews is not that of its header")
        return list(_convert(elements))
    except (AttributeError, IndexError, KeyError, TypeError):
        raise ValueError(DAMAGED) from None
    except OverflowError:
        raise ValueError("it holds a number that is too large") from None


def _parse(pickled: bytes) -> Any:
    """Return what a pickle describes, without importing or calling anything.

    A batch of integers in a list becomes one array in it.
    """
    file = io.BytesIO(pickled)
    stack: list[Any] = []
    outer: list[list] = []  # the stacks below each mark
    memo: dict[int, Any] = {}
    previous, total = "", 0
    for number, (opcode, argument, position) in enumerate(_read_opcodes(file)):
        if number == MAXIMUM_OPCODES or total > MAXIMUM_NUMBERS:
            raise ValueError(TOO_LARGE)
        match opcode.name:
            case "MARK":
                if batch := BATCH.match(pickled, position):
                    # Nothing but integers can be in it.
                    integers = pickle.loads(b"]" + batch[0] + b".")
                    stack[-1].append(np.array(integers, dtype=np.int32))
                    total += len(integers)
                    file.seek(batch.end())
                else:
                    outer.append(stack)
                    stack = []
            case "EMPTY_LIST":
                stack.append([])
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append(CONSTANTS[opcode.name])
            case name if name in VALUES:
                stack.append(argument)
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "APPENDS":
                items, stack = tuple(stack), outer.pop()
                stack[-1].extend(items)
            case "TUPLE":
                items, stack = tuple(stack), outer.pop()
                stack.append(items)
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(opcode.name[-1])
                items = tuple(stack[-size:])
                if len(items) < size:
                    raise IndexError
                del stack[-size:]
                stack.append(items)
            case "GLOBAL" | "INST" | "STACK_GLOBAL":
                if opcode.name == "STACK_GLOBAL":
                    name, module = stack.pop(), stack.pop()
                    argument = " ".join([module, name])
                if opcode.name == "INST" or argument not in GLOBALS:
                    function = argument[:100].replace(" ", ".")
                    raise ValueError(f"it would run {function}, which is refused")
                stack.append(_Global(argument))
            case "REDUCE" | "BUILD":
                items = stack.pop()
                if not isinstance(items, tuple):
                    raise ValueError(NOT_LISTS)
                if opcode.name == "REDUCE":
                    stack.append(_Object(stack.pop(), items))
                elif stack[-1].state is None:
                    stack[-1].state = items
                else:
                    raise ValueError(NOT_LISTS)
            case "PROTO" | "FRAME":
                limits = {"PROTO": pickle.HIGHEST_PROTOCOL, "FRAME": len(pickled) - file.tell()}
                if argument > limits[opcode.name]:
                    raise ValueError(DAMAGED)
            case "STOP":
                # An array takes its elements when it is built. What follows can't change it.
                if previous != "BUILD" or len(stack) != 1 or outer or file.read(1):
                    raise ValueError("it is a pickle of something other than an array")
            case name:
                raise ValueError(f"{NOT_LISTS} (its pickle contains {name})")
        previous = opcode.name
    return stack.pop()


def _read_opcodes(file: io.BytesIO) -> Iterator[tuple[pickletools.OpcodeInfo, Any, Any]]:
    try:
        yield from pickletools.genops(file)
    except ValueError:
        raise ValueError(DAMAGED) from None


def _match_array(value: Any) -> tuple[str, tuple, Any]:
    """Return the data type, the shape and the elements of an array."""
    match value:
        case _Object(
            _Global("numpy._core.multiarray _reconstruct" | "numpy.core.multiarray _reconstruct"),
            (
                _Global("numpy ndarray"),
                (0,),
                "b" | b"b" | _Object(_Global("_codecs encode"), ("b", "latin1"), None),
            ),
            (
                1,
                tuple(shape),
                _Object(
                    _Global("numpy dtype"),
                    (str(code), 0, 1),
                    (3, str(order), None, None, None, -1, -1, int(flags)),
                ),
                bool(),
                _Object(_Global("_codecs encode"), (elements, "latin1"), None) | elements,
            ),
        ) if flags == (63 if code == "O8" else 0):
            return order + code, shape, elements
    raise ValueError(NOT_LISTS)


def _convert(elements: list) -> Iterator[np.ndarray]:
    total = 0
    for element in elements:
        if isinstance(element, list):
            size = sum(len(piece) if isinstance(piece, np.ndarray) else 1 for piece in element)
        else:
            code, shape, content = _match_array(element)
            if not re.fullmatch("[<>|][iu][1248]", code):
                raise ValueError(NOT_LISTS)
            size = len(content) // int(code[-1])
            if shape != (size,):
                raise ValueError(NOT_LISTS)
        # Many elements may be the same list, so the sizes come before the copies.
        total += size
        if total > MAXIMUM_NUMBERS:
            raise ValueError(TOO_LARGE)
        if isinstance(element, list):
            yield _join(element)
        elif isinstance(content, str):  # from Python 2, or pickled with its protocol
            yield np.frombuffer(content.encode("latin1"), dtype=code)
        else:
            yield np.frombuffer(content, dtype=code)


def _join(pieces: list) -> np.ndarray:
    """Return the integers of a list, of which `_parse` has put batches in arrays."""
    if not all(isinstance(piece, np.ndarray) or type(piece) is int for piece in pieces):
        raise ValueError(NOT_LISTS)
    arrays = [np.array(piece, dtype=np.int32, ndmin=1, copy=None) for piece in pieces]
    return np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int32)

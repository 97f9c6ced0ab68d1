"""Print the given number of lines, then succeed, fail, or get Ctrl-C."""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import sys

from sentiment.cli import run
from sentiment.errors import SentimentError

lines, outcome = int(sys.argv[1]), sys.argv[2]


def main():
    for number in range(lines):
        print("line", number)
    if outcome == "failure":
        raise SentimentError("it failed")
    if outcome == "interrupt":
        raise KeyboardInterrupt


run(main)

"""Run a fuzz test with atheris; tests/fuzzing.py says how."""

import importlib
import os
import sys
import tempfile
from pathlib import Path

import atheris

SEEDS = 20
SEED_BYTES = 4_096  # enough for an example of Hypothesis


def main():
    with atheris.instrument_imports(include=["sentiment", "predict"]):
        module = importlib.import_module(f"tests.{sys.argv.pop(1)}")
    test = getattr(module, sys.argv.pop(1)).hypothesis.fuzz_one_input
    with tempfile.TemporaryDirectory() as corpus:
        for number in range(SEEDS):
            Path(corpus, str(number)).write_bytes(os.urandom(SEED_BYTES))
        options = [f"-max_len={SEED_BYTES}", "-len_control=0", *sys.argv[1:], corpus]
        atheris.Setup([sys.argv[0], *options], lambda content: test(content) and None)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

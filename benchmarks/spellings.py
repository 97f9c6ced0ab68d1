"""What other spellings of the same sentences cost, with and without normalization.

    python -m benchmarks.spellings naive_bayes_lstm

changes the 500 one-sentence reviews of the validation set as people, phones and tokenized corpora
spell them, and prints the accuracy on them, encoded by `encode` and by its look-up alone.
``--output`` saves the results as JSON.
"""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sentiment.cli import ArgumentParser, run
from sentiment.data import load_data
from sentiment.data.texts import read_texts
from sentiment.data.tokenizer import OOV_ID, START_ID, encode, tokenize
from sentiment.inference import load_predictor
from sentiment.runs.atomic import write_text

CLITIC = re.compile(r"(?i)(?<=\w)(n't|'(?:s|re|ve|ll|d|m))\b")
LAST_WORD = re.compile(r"([\w'])[^\w']*$")
APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
EMOJI = "\N{SLIGHTLY SMILING FACE}"


def surround_longest_word(before: str, after: str) -> Callable[[str], str]:
    """Return a function that puts marks around the longest word of a text."""

    def surround(text):
        word = max(re.findall(r"\w[\w']*", text), key=len, default="")
        return text.replace(word, f"{before}{word}{after}", 1)

    return surround


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as published": str,
    f"it{APOSTROPHE}s, isn{APOSTROPHE}t": lambda text: text.replace("'", APOSTROPHE),
    "it 's, is n't": lambda text: CLITIC.sub(r" \1", text),
    "“the whole sentence”": lambda text: f"“{text.strip()}”",
    "'the longest word'": surround_longest_word("'", "'"),
    "the last word…": lambda text: LAST_WORD.sub(r"\1…", text),
    "the last word!!!": lambda text: LAST_WORD.sub(r"\1!!!", text),
    f"the last word{EMOJI}": lambda text: LAST_WORD.sub(rf"\1{EMOJI}", text),
    f"the last word {EMOJI}": lambda text: f"{text} {EMOJI}",
    "a comma—as a dash": lambda text: re.sub(r"\s*,\s*", "—", text),
    "#hashtag, the longest word": surround_longest_word("#", ""),
    "CAPITALS": str.upper,
    "no-break spaces": lambda text: text.replace(" ", "\N{NO-BREAK SPACE}"),
}


def encode_without_normalization(text: str, word_ids: dict[str, int]) -> np.ndarray:
    words = tokenize(text)
    return np.array([START_ID, *(word_ids.get(word, OOV_ID) for word in words)], dtype=np.int32)


def main():
    parser = ArgumentParser(prog="benchmarks.spellings", description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", help="runs in models/, or run folders")
    parser.add_argument("--output", type=Path, help="a JSON file for the results")
    arguments = parser.parse_args()
    data = load_data("sentences", 10_000, 500)
    texts, is_positive = read_texts("sentences", data.x_validation), data.y_validation == 1
    results: dict = {}
    for name in arguments.runs:
        predictor = load_predictor(name)
        print(f"\n{name}: accuracy without and with normalization, in percent")
        for spelling, change in SPELLINGS.items():
            accuracies = []
            for encode_text in (encode_without_normalization, encode):
                sequences = [encode_text(change(text), predictor.word_ids) for text in texts]
                predicted = predictor.predict_sequences(sequences) > 0.5
                accuracies.append(round(float(np.mean(predicted == is_positive)), 4))
            results.setdefault(Path(name).name, {})[spelling] = accuracies
            print(f"{100 * accuracies[0]:6.1f}{100 * accuracies[1]:6.1f}  {spelling}")
    if arguments.output:
        write_text(arguments.output, json.dumps(results, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    run(main)

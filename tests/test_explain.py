"""An explanation shows the probability after each word that the network reads."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

import predict
from sentiment.data.tokenizer import normalize, split_as_spelled, tokenize
from sentiment.inference import load_predictor
from tests.conftest import PROJECT
from tests.test_predict import read_rows

RUNS = {  # copies of bundled runs, with other constants in their records
    "lstm": ("lstm", {}),
    "eight_tokens": ("lstm", {"MAXIMUM_TOKENS": 8}),
    "pre_padded": ("cnn_lstm", {"PADDING": "pre", "MAXIMUM_TOKENS": 12}),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with the runs."""
    folder = tmp_path_factory.mktemp("runs")
    for name, (copied, constants) in RUNS.items():
        shutil.copytree(PROJECT / "models" / copied, folder / name)
        record = json.loads((folder / name / "run.json").read_text())
        record["constants"].update(constants)
        (folder / name / "run.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def run_predict(monkeypatch, capsys, runs):
    """A function that runs predict.py with a run and returns what it printed to stdout."""

    def run(name, *arguments):
        command = ["predict.py", "--run", str(runs / name), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        capsys.readouterr()
        predict.main()
        return capsys.readouterr().out

    return run


def read_explanation(output):
    """Return the lines of words, and the lines of probabilities below them."""
    lines = output.splitlines()
    below = [i for i, line in enumerate(lines) if re.fullmatch(r"(\d+% *)+", line)]
    return [lines[i - 1] for i in below], [lines[i] for i in below]


def read_probability(output):
    """Return the probability in a row of JSON, as an explanation shows it."""
    (row,) = read_rows(output)
    return f"{row['probability']:.0%}"


@given(st.text())
def test_words_as_spelled_are_the_words_that_are_encoded(text):
    spelled = split_as_spelled(text)
    assert ["".join(c.lower() if c.isascii() else c for c in word) for word in spelled] == tokenize(
        normalize(text)
    )


@pytest.mark.parametrize("name", ["lstm", "pre_padded"])
def test_explanation_has_the_probability_after_each_word(tmp_path, name, run_predict, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    review = "Not a great film, but I <b>loved</b> it!"
    plot = tmp_path / "explanation.png"
    output = run_predict(name, "--explain", review, "--output", plot)
    assert "\x1b" not in output and plot.stat().st_size > 5_000
    words, probabilities = read_explanation(output)
    assert " ".join(words).split() == split_as_spelled(review)
    shown = " ".join(probabilities).split()
    for probability, start in ((shown[2], "Not a great"), (shown[-1], review)):
        assert probability == read_probability(run_predict(name, "--format", "json", start))


def test_explanation_of_a_truncated_review_begins_at_its_first_word_that_is_read(runs, run_predict):
    review = "Not a great film, but I <b>loved</b> it from the first minute!"
    output = run_predict("eight_tokens", "--explain", review)
    words, probabilities = read_explanation(output)
    assert " ".join(words).split() == split_as_spelled(review)[-8:]
    assert "8" in output.splitlines()[0]
    expected = read_probability(run_predict("eight_tokens", "--format", "json", review))
    assert " ".join(probabilities).split()[-1] == expected

    predictor = load_predictor(runs / "eight_tokens")
    for count in (1, 7, 8, 9, 12):  # with the start token, eight words are one too many
        text = " ".join(split_as_spelled(review)[:count])
        explained, probabilities, changes = predictor.explain(text)
        assert explained == text.split()[-8:]
        assert len(probabilities) == len(changes) == len(explained)
        assert probabilities[-1] == pytest.approx(predictor.predict([text])[0])
        before = predictor.predict([""])[0] if count < 8 else 0.5
        np.testing.assert_allclose(before + np.cumsum(changes), probabilities, atol=1e-6)


def test_probabilities_stand_below_words_of_any_width(run_predict, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    review = (
        "a good \N{GRINNING FACE}\N{GRINNING FACE}\N{GRINNING FACE} \u7535\u5f71\u592a\u597d film"
    )
    ((words,), (probabilities,)) = read_explanation(run_predict("lstm", "--explain", review))
    starts = [match.start() for match in re.finditer(r"\S+", probabilities)]
    places = [cell_len(words[: match.start()]) for match in re.finditer(r"\S+", words)]
    assert places == starts and len(starts) == 7


def test_explanation_of_a_long_review_fits_the_terminal_and_names_the_largest_changes(
    run_predict, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "60")
    review = "It was a film with many people in it. " * 20 + "Then came an awful ending."
    output = run_predict("lstm", "--explain", review)
    assert all(cell_len(line) <= 60 for line in output.splitlines() if "Largest" not in line)
    (summary,) = (line for line in output.splitlines() if "Largest" in line)
    predictor = load_predictor(PROJECT / "models" / "lstm")
    words, _, changes = predictor.explain(review)
    place = np.argmax(np.abs(changes))
    assert f"{words[place]} {changes[place]:+.0%}" in summary


@pytest.mark.parametrize(("no_color", "is_colored"), [("", True), ("1", False)])
def test_no_color_is_respected(no_color, is_colored, run_predict, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", no_color)
    shown = run_predict("lstm", "--explain", "a wonderful awful waste")
    assert ("\x1b" in shown) == is_colored and "wonderful" in shown

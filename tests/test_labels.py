"""Any two groups of labels can be mapped, and an error shows how."""

import re
import shlex

import pytest

from sentiment.data.files import read_files
from sentiment.data.labels import CLASSES_COUNTED, Labels
from sentiment.errors import SentimentError
from tests.conftest import assert_one_line


@pytest.fixture
def write(tmp_path):
    """A function that writes reviews with the given labels in turn, and returns the path."""

    def write_labels(labels, column="label"):
        rows = "".join(f'"film {i}","{labels[i % len(labels)]}"\n' for i in range(60))
        (tmp_path / "own.csv").write_text(f"text,{column}\n{rows}", encoding="utf-8")
        return str(tmp_path / "own.csv")

    return write_labels


def fail(source):
    with pytest.raises(SentimentError) as raised:
        read_files(source)
    assert_one_line(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("spelled", ["{}", "{}.0", " {} "])
def test_star_ratings(write, capsys, spelled):
    path = write([spelled.format(stars) for stars in (1, 2, 3, 4, 5)], "stars")
    reviews = read_files(f"{path}?positive=4,5&negative=1,2")
    assert len(reviews.labels) == 48 and reviews.labels.sum() == 24
    labels = {
        int(reviews.words[tokens[-1]]): label
        for tokens, label in zip(reviews.sequences, reviews.labels, strict=True)
    }
    assert all(label == (i % 5 > 2) and i % 5 != 2 for i, label in labels.items())
    (note,) = (line for line in capsys.readouterr().out.splitlines() if "skipped" in line)
    assert "12 reviews" in note and "3 (12)" in note


def test_skipped_labels_are_counted_each(write, capsys):
    labels = ["good", "bad", "good", "bad", "unsure", ""]
    read_files(f"{write(labels)}?positive=Good&negative=bad")
    assert re.search(r"20 reviews.*unsure \(10\).*empty \(10\)", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("labels", "positive", "negative"),
    [
        (["positive", "neutral", "negative"], ["positive"], ["negative"]),
        (["1", "2", "3", "4", "5"], ["4", "5"], ["1", "2"]),
        (["5.0", "3.0", "1.0"], ["5"], ["1"]),
        ([str(stars) for stars in range(1, 11)], ["7", "8", "9", "10"], ["1", "2", "3", "4"]),
        (["0", "1", "2"], ["2"], ["0"]),
        (["-1", "0", "1"], ["1"], ["-1"]),
        (["0", "-1", "1"], ["1"], ["-1"]),
        (["1", "2"], ["2"], ["1"]),
        (["very positive", "positive", "mixed", "negative"], ["positive", "very positive"], None),
        (["1", "0", "unknown"], ["1"], ["0"]),
        (["glad", "sad"], None, None),
        (['a, "b" & c', "100%"], None, None),
        (["negative", "positive", ""], ["positive"], ["negative"]),
    ],
)
def test_other_labels_are_an_error_that_shows_the_mapping(
    write, capsys, labels, positive, negative
):
    message = fail(write([label.replace('"', '""') for label in labels]))
    assert "line" in message and all(label.removesuffix(".0") in message for label in labels)
    suggestion = message[message.index("--data") :]
    shown = re.search(r"positive=(.*)&negative=(.*)\"$", suggestion)
    assert positive is None or shown[1].split(",") == positive
    assert negative is None or shown[2].split(",") == negative
    _, source = shlex.split(suggestion)  # as a shell does
    reviews = read_files(source)
    assert 0 < reviews.labels.sum() < len(reviews.labels)


def test_the_suggestion_keeps_the_columns(write):
    message = fail(f"{write(['1', '2', '3'], 'mood')}?text=text&label=mood")
    assert "own.csv?text=text&label=mood&positive=3&negative=1" in message


def test_one_list_makes_the_only_other_label_its_opposite(write, capsys):
    path = write(["bad", "good"])
    for option, positive in (("positive=good", 1), ("negative=good", 0)):
        reviews = read_files(f"{path}?{option}")
        assert reviews.labels.tolist() == [1 - positive, positive] * 30
        assert "'bad'" in capsys.readouterr().out
    message = fail(f"{write(['1', '3', '5'])}?positive=5")
    assert "positive=5&negative=1" in message


@pytest.mark.parametrize(
    ("labels", "options", "expected"),
    [
        (["a", "b"], "positive=a&negative=A", "'a'"),
        (["a", "b"], "positive=&negative=b", "positive="),
        (["a", "b"], "positive=a&negative=c", "30 positive and 0 negative"),
        (["a", "b"], "positiv=a", "'positiv'"),
        (["same"], "label=label", "same"),
        (["x" * 500, "y"], "", "x…"),
        (["x" * 200_000, "y"], "", "x…"),
        (["1", "x" * 200_000, "y" * 200_000], "positive=1", "y…"),
        ([f"0.{i}" for i in range(50)], "", "more than"),
    ],
)
def test_unusable_labels_are_one_line(write, labels, options, expected):
    message = fail(f"{write(labels)}?{options}")
    assert expected in message and len(message) < 1_500


def test_skipped_labels_are_counted_in_little_memory():
    labels = Labels(["1"], ["0"])
    for i in range(2 * CLASSES_COUNTED):
        assert labels.read(f"{i} {'long ' * 1_000}") is None
    assert max(map(len, labels.skipped)) < 100
    assert len(labels.skipped) <= CLASSES_COUNTED + 1
    (note,) = labels.describe()
    assert "2,000 reviews" in note and len(note) < 500


def test_a_long_label_that_is_given_is_not_skipped(write, capsys):
    long = "x" * 3_000
    reviews = read_files(f"{write([long + '1', long + '2'])}?positive={long}1&negative={long}2")
    assert reviews.labels.tolist() == [1, 0] * 30
    assert "skipped" not in capsys.readouterr().out
    message = fail(f"{write([long + '1', long + '2', long + '3'])}?positive={long}1")
    assert "line 4" in message

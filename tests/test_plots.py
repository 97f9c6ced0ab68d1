"""Plots show the numbers that they are given, under their names."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from sentiment.plots import draw_comparison, draw_explanation, draw_history

HISTORY = {
    "accuracy": [0.7, 0.8, 0.9],
    "loss": [0.6, 0.4, 0.2],
    "val_accuracy": [0.6, 0.75, 0.7],
    "val_loss": [0.5, 0.45, 0.55],
}


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn, in place of their files."""
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, _: drawn.append(figure))
    return drawn


def test_a_history_shows_all_four_curves_and_the_restored_epoch(figures):
    rows = [
        {"epoch": i + 1, **{key: values[i] for key, values in HISTORY.items()}} for i in range(3)
    ]
    draw_history(rows, 2, "the title", "history.png")
    (figure,) = figures
    assert figure.get_suptitle() == "the title"
    for axes, key in zip(figure.axes, ("accuracy", "loss"), strict=True):
        training, validation, restored = axes.lines
        assert "training" in training.get_label()
        assert "validation" in validation.get_label()
        assert "restored" in restored.get_label() and "2" in restored.get_label()
        assert list(training.get_ydata()) == HISTORY[key]
        assert list(validation.get_ydata()) == HISTORY["val_" + key]
        assert list(validation.get_xdata()) == [1, 2, 3]
        (x,), (y,) = restored.get_data()
        assert (x, y) == (2, HISTORY["val_" + key][1])
        assert key in axes.get_ylabel().lower()
        assert "epoch" in axes.get_xlabel().lower()


def test_a_comparison_draws_seeds_as_a_mean_in_a_band(figures):
    shifted = {key: [value + 0.1 for value in values] for key, values in HISTORY.items()}
    draw_comparison([("two $eeds$", [HISTORY, shifted]), ("_one", [HISTORY])], "note", "x.png")
    (figure,) = figures
    for axes, key in zip(figure.axes, ("accuracy", "loss"), strict=True):
        curves = [line for line in axes.lines if len(line.get_xdata())]
        assert [line.get_linestyle() for line in curves] == ["--", "-", "--", "-"]
        mean = [value + 0.05 for value in HISTORY["val_" + key]]
        assert curves[1].get_ydata() == pytest.approx(mean)
        assert list(curves[3].get_ydata()) == HISTORY["val_" + key]
        assert len(axes.collections) == 1  # the band
        assert curves[0].get_color() == curves[1].get_color() != curves[2].get_color()
    (legend,) = figure.legends
    assert [text.get_text().strip() for text in legend.get_texts()] == ["two $eeds$", "_one"]
    assert "note" in [text.get_text() for text in figure.texts]


@pytest.mark.parametrize("count", [1, 300])
def test_an_explanation_shows_the_words_that_changed_most(figures, count):
    words = [f"$word{i}$" for i in range(count)]
    changes = [(-1) ** i * (count - i) / 1_000 for i in range(count)]
    probabilities = [0.5 + change for change in changes]
    draw_explanation(words, probabilities, np.array(changes), "x.png")
    (figure,) = figures
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == words[: len(labels)] and labels
    assert len(axes.patches) == count
    assert len({bar.get_facecolor() for bar in axes.patches}) == min(count, 2)

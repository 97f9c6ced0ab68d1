"""Pictures show the numbers they are given, under the names they have."""

from sentiment.plots import draw_comparison, draw_history

import pytest
from matplotlib.figure import Figure

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


def test_history_shows_all_four_curves_and_the_kept_epoch(figures):
    rows = [
        {"epoch": i + 1, **{key: values[i] for key, values in HISTORY.items()}} for i in range(3)
    ]
    draw_history(rows, 2, "the title", "history.png")
    (figure,) = figures
    assert figure.get_suptitle() == "the title"
    for axes, key, label in zip(figure.axes, ("accuracy", "loss"), ("Acc", "Loss"), strict=True):
        curves = {line.get_label(): line for line in axes.lines}
        assert list(curves) == ["training", "validation", "kept: epoch 2"]
        assert list(curves["training"].get_ydata()) == HISTORY[key]
        assert list(curves["validation"].get_ydata()) == HISTORY["val_" + key]
        assert list(curves["validation"].get_xdata()) == [1, 2, 3]
        (x,), (y,) = curves["kept: epoch 2"].get_data()
        assert (x, y) == (2, HISTORY["val_" + key][1])
        assert axes.get_ylabel().startswith(label)
        assert axes.get_xlabel() == "Epoch"


def test_comparison_draws_seeds_as_a_mean_in_a_band(figures):
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

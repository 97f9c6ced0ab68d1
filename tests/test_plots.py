"""Plots show the numbers that they are given, under their names, and all of them."""

import itertools
import warnings
import xml.etree.ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from sentiment.console import strip_control_characters
from sentiment.plots import draw_comparison, draw_explanation, draw_history, fonts

HISTORY = {
    "accuracy": [0.7, 0.8, 0.9],
    "loss": [0.6, 0.4, 0.2],
    "val_accuracy": [0.6, 0.75, 0.7],
    "val_loss": [0.5, 0.45, 0.55],
}


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn, in place of their files. A warning is an error."""
    drawn = []

    def draw(figure, _):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure.canvas.draw()
        drawn.append(figure)

    monkeypatch.setattr(Figure, "savefig", draw)
    return drawn


def make_rows(*accuracies):
    return [
        {"epoch": i, "accuracy": value, "loss": 0.4, "val_accuracy": value, "val_loss": 0.5}
        for i, value in enumerate(accuracies, 1)
    ]


def make_history(*accuracies):
    columns = {key: [row[key] for row in make_rows(*accuracies)] for key in HISTORY}
    return {**columns, "val_loss": [1 - value for value in accuracies]}


def visible_ticks(axis):
    low, high = sorted(axis.get_view_interval())
    return [tick for tick in axis.get_ticklocs() if low <= tick <= high]


def find_curves(axes, style=None):
    """Return the validation curves, or those in another line style."""
    return [
        line
        for line in axes.lines
        if (line.get_linestyle() != "--" if style is None else line.get_linestyle() == style)
    ]


def find_texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def legend_labels(figure):
    return [text.get_text().strip() for text in figure.legends[-1].get_texts()]


def test_a_history_shows_all_four_curves_and_the_saved_epoch(figures):
    rows = [
        {"epoch": i + 1, **{key: values[i] for key, values in HISTORY.items()}} for i in range(3)
    ]
    draw_history(rows, 2, "the title", "history.png")
    (figure,) = figures
    assert figure.get_suptitle() == "the title"
    for axes, key in zip(figure.axes, ("accuracy", "loss"), strict=True):
        training, validation, saved = axes.lines
        assert "training" in training.get_label()
        assert "validation" in validation.get_label()
        assert "2" in saved.get_label() and "restored" not in saved.get_label()
        assert list(training.get_ydata()) == HISTORY[key]
        assert list(validation.get_ydata()) == HISTORY["val_" + key]
        assert list(validation.get_xdata()) == [1, 2, 3]
        (x,), (y,) = saved.get_data()
        assert (x, y) == (2, HISTORY["val_" + key][1])
        assert key in axes.get_ylabel().lower()
        assert "epoch" in axes.get_xlabel().lower()


@pytest.mark.parametrize("accuracies", [[1.0], [0.5], [0.5, 1.0], [0.9] * 30])
def test_epochs_are_whole_numbers_and_no_axis_goes_beyond_100_percent(figures, accuracies):
    draw_history(make_rows(*accuracies), 1, "title", "x.png")
    history = make_history(*accuracies)
    draw_comparison([("one", [history]), ("two", [history, history])], "", "x.png")
    for figure in figures:
        for axes in figure.axes:
            ticks = visible_ticks(axes.xaxis)
            assert ticks and all(tick == int(tick) >= 1 for tick in ticks)
        assert figure.axes[0].get_ylim()[1] <= 1
        assert max(visible_ticks(figure.axes[0].yaxis)) <= 1


def test_a_single_epoch_is_visible_in_a_comparison(figures):
    draw_comparison([("one", [make_history(0.8)]), ("two", [make_history(0.7)] * 2)], "", "x.png")
    for axes in figures[0].axes:
        points = [line for line in axes.lines if len(line.get_xdata()) == 1]
        assert len(points) == 4
        assert all(line.get_marker() not in ("None", "", None) for line in points)


def test_a_comparison_draws_seeds_as_a_mean_in_a_band(figures):
    shifted = {key: [value + 0.1 for value in values] for key, values in HISTORY.items()}
    draw_comparison([("two $eeds$", [HISTORY, shifted]), ("_one", [HISTORY])], "note", "x.png")
    (figure,) = figures
    for axes, key in zip(figure.axes, ("accuracy", "loss"), strict=True):
        training, curves = find_curves(axes, "--"), find_curves(axes)
        assert len(training) == len(curves) == 2
        mean = [value + 0.05 for value in HISTORY["val_" + key]]
        assert curves[0].get_ydata() == pytest.approx(mean)
        assert list(curves[1].get_ydata()) == HISTORY["val_" + key]
        assert len(axes.collections) == 1  # the band
        assert training[0].get_color() == curves[0].get_color() != curves[1].get_color()
    assert legend_labels(figure) == ["two $eeds$", "_one"]
    assert "note" in find_texts(figure)
    assert not any("restored" in text for text in find_texts(figure))


@pytest.mark.parametrize("accuracies", [(0.99, 0.6), (1.0, 1.0), (0.02, 0.5), (0.9, 0.91)])
def test_bands_are_inside_the_axes(figures, accuracies):
    steady = ("steady", [make_history(0.9, 0.9)])
    seeds = ("seeds", [make_history(value, value) for value in accuracies])
    draw_comparison([steady, seeds], "", "x.png")
    for axes in figures[0].axes:
        (band,) = axes.collections
        drawn = band.get_paths()[0].vertices[:, 1]
        low, high = axes.get_ylim()
        assert low <= drawn.min() and drawn.max() <= high
        assert drawn.min() >= 0 and (axes is not figures[0].axes[0] or drawn.max() <= 1)


def test_the_mean_ends_where_the_first_run_ends(figures):
    histories = [make_history(0.5, 0.5), make_history(0.7, 0.9, 0.8)]
    draw_comparison([("seeds", histories)], "", "x.png")
    mean, rest = find_curves(figures[0].axes[0])
    assert list(mean.get_ydata()) == pytest.approx([0.6, 0.7])
    assert list(mean.get_xdata()) == [1, 2]
    assert (rest.get_xdata()[-1], rest.get_ydata()[-1]) == (3, 0.8)


@pytest.mark.parametrize("count", [20, 50])
def test_no_two_groups_look_the_same(figures, count):
    groups = [(f"run {i}", [make_history(0.5 + i / 200, 0.6)]) for i in range(count)]
    draw_comparison(groups, "", "x.png")
    (figure,) = figures
    curves = find_curves(figure.axes[0])
    styles = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in curves}
    assert len(styles) == len(curves) == count
    assert len({(line.get_color(), line.get_linestyle()) for line in curves[:20]}) == 20
    assert legend_labels(figure) == [f"run {i}" for i in range(count)]
    box = figure.legends[-1].get_window_extent()
    assert box.y1 < min(axes.get_tightbbox().y0 for axes in figure.axes)
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width


@pytest.mark.parametrize("label", ["a" * 300, "LSTM_UNITS=64, " * 30, "short"])
def test_legend_and_note_are_inside_the_figure(figures, label):
    note = "* not comparable: " + "other data " * 30 + "\nThe plot shows only some runs"
    draw_comparison([(label, [HISTORY])] * 12, note, "x.png")
    (figure,) = figures
    boxes = [text.get_window_extent() for text in (*figure.legends, *figure.texts)]
    for box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width
    legend, note_box = boxes[1], boxes[-1]
    assert note_box.y1 <= legend.y0 + 2


def test_a_loss_that_diverged_does_not_hide_the_rest(figures):
    histories = [
        {"loss": [0.5, float("inf")], "val_loss": [0.5, float("nan")]},
        {"loss": [0.5, 0.4], "val_loss": [0.5, float("inf")]},
    ]
    draw_comparison([("bad", histories), ("good", [{"val_loss": [0.3, 0.2]}])], "", "x.png")
    _, loss = figures[0].axes
    assert np.isfinite(loss.get_ylim()).all() and loss.get_ylim()[0] <= 0.2


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), 3e38, 1e308])
@pytest.mark.parametrize("epochs", [1, 3])
def test_values_that_are_not_finite_are_left_out_of_a_history(figures, bad, epochs):
    rows = make_rows(*[0.8] * epochs)
    rows[0].update(loss=bad, val_loss=bad)
    draw_history(rows, 1, "title", "x.png")
    training = figures[0].axes[1].lines[0]
    assert (
        np.isnan(training.get_ydata()[0])
        and list(training.get_ydata()[1:]) == [0.4, 0.4][: epochs - 1]
    )
    assert max(map(abs, figures[0].axes[1].get_ylim())) < 10


def test_seeds_are_averaged_where_all_have_a_number(figures):
    seeds = [{"val_loss": [0.5, float("nan"), 0.3]}, {"val_loss": [0.7, 0.5, 0.5]}]
    draw_comparison([("seeds", seeds)], "", "x.png")
    loss = figures[0].axes[1]
    (curve,), (band,) = find_curves(loss), loss.collections
    assert curve.get_ydata()[[0, 2]] == pytest.approx([0.6, 0.4]) and np.isnan(curve.get_ydata()[1])
    assert {x for path in band.get_paths() for x in path.vertices[:, 0]} <= {1, 3}


def test_negative_values_are_inside_the_axes(figures):
    seeds = [{"val_loss": [-3.0, -5.0]}, {"val_loss": [-4.0, -6.0]}]
    draw_comparison([("seeds", seeds)], "", "x.png")
    loss = figures[0].axes[1]
    band = loss.collections[0].get_paths()[0].vertices[:, 1]
    assert loss.get_ylim()[0] <= band.min() < band.max() < 0


def test_a_very_long_history_has_a_plot_of_usual_size(figures):
    count = 30_000
    draw_history(make_rows(*[0.8] * count), count // 2, "title", "x.svg")
    column = [0.8] * count
    histories = [{"val_loss": column}, {"val_loss": column}, {"val_loss": 2 * column}]
    draw_comparison([("long", histories)], "", "x.svg")
    for figure in figures:
        lines = [line for axes in figure.axes for line in axes.lines]
        assert max(line.get_xdata()[-1] for line in lines) > 0.99 * count
        assert all(len(line.get_xdata()) < 2_000 for line in lines)
        bands = [band for axes in figure.axes for band in axes.collections]
        assert all(len(path.vertices) < 5_000 for band in bands for path in band.get_paths())


def explain(count, change=0.01):
    words = [f"$word{i}$" for i in range(count)]
    changes = np.array([(-1) ** i * change for i in range(count)])
    return words, 0.5 + np.cumsum(changes), changes


@pytest.mark.parametrize("count", [1, 12, 120, 700])
def test_an_explanation_shows_its_words_in_order_and_the_prediction(figures, count):
    words, probabilities, changes = explain(count)
    draw_explanation(words, probabilities, changes, "x.png")
    (figure,) = figures
    labels = [label.get_text() for axes in figure.axes for label in axes.get_xticklabels()]
    assert labels and labels == words[-len(labels) :]
    assert sum(len(axes.patches) - 1 for axes in figure.axes) == len(labels)  # and the curve
    assert "positive" in figure.get_suptitle() or "negative" in figure.get_suptitle()
    assert f"{probabilities[-1]:.1%}" in figure.get_suptitle()
    if len(labels) < count:
        assert any(str(len(labels)) in text and f"{count:,}" in text for text in find_texts(figure))
    for axes in figure.axes:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))
        assert axes.get_window_extent().height > 100


@pytest.mark.parametrize(("final", "expected"), [(0.51, "positive"), (0.5, "negative")])
def test_the_title_has_the_label_that_is_predicted(figures, final, expected):
    draw_explanation(["word"], np.array([final]), np.array([0.1]), "x.png")
    assert expected in figures[0].get_suptitle().split(",")[0]


def test_the_legend_of_an_explanation_names_its_colors(figures):
    draw_explanation(*explain(4, change=0.2), "x.png")
    (figure,) = figures
    (legend,) = figure.legends
    named = dict(
        zip(
            [text.get_text().split()[0] for text in legend.get_texts()],
            [getattr(handle, "get_facecolor", tuple)() for handle in legend.legend_handles],
            strict=True,
        )
    )
    up, down, *_ = (bar.get_facecolor() for bar in figure.axes[0].patches)
    assert named["raises"] == up != down == named["lowers"]


def test_long_words_are_shortened(figures):
    draw_explanation(["w" * 400, "影" * 400], np.array([0.4, 0.3]), np.array([-0.1, -0.1]), "x.png")
    labels = [label.get_text() for label in figures[0].axes[0].get_xticklabels()]
    assert all(label.endswith("…") and len(label) < 30 for label in labels)
    assert figures[0].axes[0].get_window_extent().height > 100


@pytest.mark.parametrize("name", [r"a$\frac$b", "x" * 5_000, "影" * 300, "a\nb\x1bc\ufffe\ud800"])
def test_any_name_is_inside_the_figure(figures, name):
    draw_history(make_rows(0.7, 0.8), 1, name, "x.png")
    draw_comparison([(strip_control_characters(name), [HISTORY])] * 20, "", "x.png")
    history, comparison = figures
    assert history.get_suptitle()[:3] in (name[:3], "a b", "□□□")
    assert comparison.get_figheight() < 25
    for figure in figures:
        for text in (figure._suptitle or figure.legends[-1],):
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.y0 >= 0
            assert box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
        assert all(axes.get_window_extent().height > 100 for axes in figure.axes)


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_no_name_makes_a_file_that_cannot_be_read(suffix, tmp_path):
    path = tmp_path / f"x.{suffix}"
    draw_history(make_rows(0.7), 1, "a\x00b\x0b\x1b[31m\ufffe\ud800--> ]]> <b> &amp;", path)
    if suffix == "svg":
        xml.etree.ElementTree.parse(path)
    else:
        assert path.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    "word", ["电影", "مرحبا", "हिन्दी", "😀🤖", "👨\u200d👩", "\udc80", "a\ufe0fb"]
)
def test_no_character_causes_a_warning(figures, word):
    draw_explanation(["good", word], np.array([0.6, 0.7]), np.array([0.1, 0.1]), "x.png")
    draw_comparison([(word, [HISTORY])], "", "x.png")
    draw_comparison([("good", [HISTORY])], f"other data: {word}", "x.png")
    for figure in figures:
        texts = find_texts(figure)
        if any("□" in text for text in texts):
            assert any("font" in text for text in texts)
    draw_history(make_rows(0.7), 1, word, "x.png")


def test_an_installed_font_is_used_before_the_placeholder(monkeypatch):
    letters = "\u0915"  # a letter that the default font lacks
    texts, families = fonts.make_legible([letters, "plain"])
    monkeypatch.setattr(fonts, "LAST_RESORT", "no such font")  # it has every letter
    found, more = fonts.make_legible([letters, "plain"])
    assert found == [letters, "plain"] and len(more) == len(families) + 1
    monkeypatch.setattr(fontManager, "ttflist", [])
    assert fonts.make_legible([letters, "plain"]) == (
        ["□", "plain"],
        ["sans-serif"],
    )
    assert texts[1] == "plain"

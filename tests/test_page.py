"""The page reads, compares and shows mistakes as the command-line tools do, whatever is typed."""

import functools
import importlib.util
import json
import os
import re
import shutil
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser

import keras
import numpy as np
import pandas
import pytest

import page
from sentiment.cli import run
from sentiment.data.sequences import concatenate
from sentiment.data.tokenizer import split_as_spelled
from sentiment.errors import SentimentError
from sentiment.evaluation import Reviews
from sentiment.inference import load_predictor
from sentiment.page import comparison, mistakes, networks
from sentiment.page.examples import EXAMPLES
from sentiment.page.networks import Network, Networks, list_compared, list_runs
from sentiment.page.reading import SHOWN_CHARACTERS, render_error
from sentiment.page.server import find_port
from sentiment.runs.seeds import compare_seeds
from tests.conftest import PROJECT, assert_one_line
from tests.run_folders import DATA, write_run

pytestmark = pytest.mark.extended

BUNDLED = ("naive_bayes_lstm", "cnn_lstm", "lstm")
load_once = functools.cache(load_predictor)
HTML_REVIEW = "Bad & dull <script>alert(1)</script> {{7*7}} ${1+1} <b>bold</b> \"quoted\" 'so'."
REVIEWS = [
    *EXAMPLES.values(),
    "Good",
    "这部电影太棒了 我非常喜欢",
    "فيلم رائع جدا a great film",
    "So 😀 good 👍🏽!",
    HTML_REVIEW,
]


class Content(HTMLParser):
    """The elements, attributes and texts of some HTML."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.attributes, self.texts, self.titles = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, name, attributes):
        self.elements.append(name)
        self.attributes += [attribute for attribute, _ in attributes]
        self.titles += [value for attribute, value in attributes if attribute == "title"]

    def handle_data(self, text):
        self.texts.append(text)


@pytest.fixture(autouse=True)
def _load_bundled_networks_once(monkeypatch):
    def load(folder):
        is_bundled = folder.parent == networks.BUNDLED_MODELS
        return load_once(folder) if is_bundled else load_predictor(folder)

    monkeypatch.setattr(networks, "load_predictor", load)


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The folder of runs, empty."""
    monkeypatch.setenv("SENTIMENT_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture(scope="module")
def loaded():
    """Networks that are loaded once for the tests that don't change their runs."""
    return Networks()


@pytest.fixture(scope="module")
def predictor():
    return load_once(networks.BUNDLED_MODELS / "lstm")


def copy_run(models, name):
    shutil.copytree(PROJECT / "models" / "lstm", models / name)
    return models / name


@pytest.mark.parametrize("review", REVIEWS)
def test_a_review_is_read_as_predict_py_reads_it(review, loaded, predictor):
    words, probabilities, changes = predictor.explain(review)
    reading = loaded.load("lstm").read(review)
    assert reading.words == words
    np.testing.assert_array_equal(reading.probabilities, probabilities)
    np.testing.assert_array_equal(reading.changes, changes)
    (html,) = page.read(loaded, review, ["lstm"])
    content = Content(html)
    assert not {"script", "img", "a"} & set(content.elements)
    assert not [name for name in content.attributes if name.startswith("on")]
    label = "positive" if probabilities[-1] > 0.5 else "negative"
    assert label in content.texts and f"{probabilities[-1]:.1%}" in content.texts
    for word, change, probability in zip(words, changes, probabilities, strict=True):
        assert word in content.texts
        described = [title for title in content.titles if title.startswith(f"{word}: ")]
        points = f"{100 * change:+.1f}".replace("-", "\N{MINUS SIGN}")
        assert any(points in title and f"{probability:.1%}" in title for title in described)


@pytest.mark.parametrize("review", ["", "  \n", "!!! ...", "\ud800"])
def test_a_review_without_words_gets_one_line(review, loaded):
    (html,) = page.read(loaded, review, ["lstm"])
    assert Content(html).elements == ["p"]


def test_a_message_is_shown_as_text():
    assert Content(render_error(HTML_REVIEW)).elements == ["p"]


def test_of_a_long_review_the_last_words_are_read(loaded, predictor):
    review = " ".join(["dull"] * 300 + ["wonderful"] * 400)
    reading = loaded.load("lstm").read(review)
    assert (len(reading.words), reading.left_out) == (500, 200)
    assert reading.probabilities[-1] == pytest.approx(predictor.predict([review])[0])


def test_of_a_very_long_review_the_effect_of_words_is_left_out(loaded, predictor, monkeypatch):
    monkeypatch.setattr(networks, "EXPLAINED_WORDS", 10)
    review = EXAMPLES["long"]
    reading = loaded.load("lstm").read(review)
    assert reading.changes is None
    assert reading.words == split_as_spelled(review)
    np.testing.assert_array_equal(reading.probabilities, predictor.predict([review]))
    (html,) = page.read(loaded, review, ["lstm"])
    assert f"{reading.probabilities[-1]:.1%}" in Content(html).texts


def test_a_review_that_is_too_long_gets_one_line(loaded):
    (html,) = page.read(loaded, "x" * (page.MAXIMUM_CHARACTERS + 1), ["lstm"])
    assert Content(html).elements == ["p"]
    assert f"{page.MAXIMUM_CHARACTERS:,}" in html


def test_a_long_word_is_shortened(loaded, predictor):
    review = f"Good {'x' * 50_000}"
    (html,) = page.read(loaded, review, ["lstm"])
    assert "x" * (SHOWN_CHARACTERS + 1) not in html
    assert f"{predictor.predict([review])[0]:.1%}" in html


@pytest.mark.slow
def test_many_visitors_at_once_get_what_one_gets_alone():
    calls = [(name, f"{review} {i}") for i, review in enumerate(REVIEWS[:4]) for name in BUNDLED]

    def read(shared, call):
        name, review = call
        return shared.load(name).read(review)

    alone, together = Networks(), Networks()
    expected = [read(alone, call) for call in calls] * 3
    with ThreadPoolExecutor(20) as threads:
        readings = list(threads.map(lambda call: read(together, call), calls * 3))
    for reading, other in zip(readings, expected, strict=True):
        assert reading.words == other.words
        np.testing.assert_allclose(reading.probabilities, other.probabilities, atol=1e-5)


def test_the_bundled_networks_remain_without_runs_of_your_own(models):
    bundled = list_runs()  # and what was trained in the project's folder
    assert set(BUNDLED) <= set(bundled)
    assert list_compared() == []
    (message, curves, _, table) = page.compare([], ["validation"])
    assert "train_lstm.py" in message
    assert len(table) == 0 and not any(map(len, curves))
    copy_run(models, "lstm")
    copy_run(models, "mine")
    copy_run(models, ".hidden")
    (models / "unfinished").mkdir()
    assert list_runs() == bundled | {"lstm": models / "lstm", "mine": models / "mine"}
    assert list_compared() == ["lstm", "mine"]


def test_a_network_is_loaded_once_until_its_files_change(models):
    run_folder = copy_run(models, "mine")
    shared = Networks()
    network = shared.load("mine")
    assert shared.load("mine") is network
    os.utime(run_folder / "model.keras", ns=(1, 1))
    assert shared.load("mine") is not network
    (run_folder / "model.keras").write_bytes(b"damaged")
    with pytest.raises(SentimentError) as raised:
        shared.load("mine")
    assert_one_line(raised.value)
    shutil.rmtree(run_folder)
    with pytest.raises(SentimentError, match="mine"):
        shared.load("mine")


@pytest.mark.parametrize("name", ["../lstm", str(PROJECT / "models" / "lstm"), "", None, "best"])
def test_only_runs_on_the_list_are_loaded(name, models):
    with pytest.raises(SentimentError):
        Networks().load(name)


def test_few_networks_are_kept_in_memory(models, monkeypatch):
    monkeypatch.setattr(networks, "NETWORKS_IN_MEMORY", 1)
    shared = Networks()
    first = shared.load("lstm")
    shared.load("cnn_lstm")
    assert shared.load("lstm") is not first


@keras.saving.register_keras_serializable("tests")
class OwnLayer(keras.layers.Dense):
    pass


def test_a_network_with_a_layer_of_its_own_is_refused_with_the_reason(models):
    run_folder = copy_run(models, "own")
    network = keras.Sequential([keras.Input((5,)), OwnLayer(1)])
    network.save(run_folder / "model.keras")
    record = json.loads((run_folder / "run.json").read_text())
    del record["sha256"]
    (run_folder / "run.json").write_text(json.dumps(record))
    assert "own" in list_runs()
    (html,) = page.read(Networks(), "A good film.", ["own"])
    assert "OwnLayer" in html and "predict.py" in html
    assert Content(html).elements == ["p"]


def test_curves_are_means_over_seeds_and_numbers_can_be_sorted(models):
    write_run(models, "first", accuracy=0.8, LSTM_UNITS=64, DROPOUT=0.25)
    write_run(models, "first-2", accuracy=0.9, LSTM_UNITS=64, DROPOUT=0.25, SEED=2)
    write_run(models, "second", accuracy=0.7, epochs=2, is_tested=False, DROPOUT=0.5)
    message, (accuracy, loss), colors, table = page.compare(
        ["first", "first-2", "second"], ["validation", "training"]
    )
    first, second = table["Run"]
    values = accuracy.groupby("Curve")["Value"].apply(list).to_dict()
    assert values[f"{first}, validation"] == pytest.approx([0.85] * 3)
    assert values[f"{second}, validation"] == pytest.approx([0.7] * 2)
    assert values[f"{second}, training"] == pytest.approx([0.8, 0.82])
    assert set(accuracy["Curve"]) == set(loss["Curve"]) <= set(colors)
    assert len({colors[curve] for curve in values}) == len(values)
    assert list(table["Validation accuracy (%)"]) == [85.0, 70.0]
    assert list(table["Best epoch"]) == [2, 2]
    assert list(table["LSTM_UNITS"]) == [64, 100]
    assert pandas.isna(table["Test accuracy (%)"][1])
    shown = Content(comparison.format_table(table).to_html()).texts
    assert {"85.0", "64", "0.25", "0.5"} <= set(shown)
    assert "nan" not in shown
    assert comparison.label_epochs([accuracy, loss]) == ["1", "2", "3"]
    assert first in message and second in message


def test_an_edited_network_and_a_run_without_a_curve_are_told(models):
    for name, layer in (("first", "LSTM(100)"), ("second", "GRU(100)")):
        folder = write_run(models, name, epochs=1)
        record = json.loads((folder / "run.json").read_text())
        record |= {"network": ["Embedding(10000, 32)", layer], "best_epoch": 1}
        (folder / "run.json").write_text(json.dumps(record))
    message, _, _, table = page.compare(["first", "second"], ["validation"])
    assert {"LSTM", "GRU"} == {re.findall("LSTM|GRU", layers)[0] for layers in table["Layers"]}
    assert any("one epoch" in text for text in Content(message).texts)
    message, _, _, table = page.compare(["first"], ["validation"])
    assert "Layers" not in table


def test_what_cannot_be_compared_is_named(models):
    write_run(models, "good")
    write_run(models, "other", data=DATA | {"source": "<i>mine</i>"})
    write_run(models, "damaged").joinpath("run.json").write_text("{")
    names = ["good", "damaged", "gone", "other", "../models/good"]
    message, _, _, table = page.compare(names, ["validation"])
    content = Content(message)
    assert any("damaged" in text for text in content.texts)
    assert any("gone" in text for text in content.texts)
    assert any("../models/good" in text for text in content.texts)
    assert any("not comparable" in text for text in content.texts)
    assert len(table) == 2
    assert len(set(table["Data"])) == 2


def test_best_epochs_and_seeds_are_summed_up_as_by_plot_history(models):
    for seed, best in enumerate((1, 4, 2, 3), 1):
        folder = write_run(models, f"wide-{seed}", accuracy=0.9 + seed / 1_000, SEED=seed)
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(record | {"best_epoch": best}))
        accuracy = 0.8 + seed / 1_000
        write_run(models, f"narrow-{seed}", accuracy=accuracy, LSTM_UNITS=8, SEED=seed)
    message, _, _, table = page.compare(list_compared(), ["validation"])
    assert list(table["Best epoch"]) == [2.5, 2]
    groups, _ = comparison.read_groups(list_compared())
    assert compare_seeds(groups) in Content(message).texts


def test_a_loss_that_diverged_and_a_missing_column_leave_gaps(models):
    write_run(models, "diverged").joinpath("history.csv").write_text(
        "epoch,accuracy,loss,val_accuracy\n1,0.7,0.5,0.8\n2,0.5,nan,0.5\n3,0.5,inf,0.5\n"
    )
    _, (accuracy, loss), _, _ = page.compare(["diverged"], ["validation", "training"])
    assert len(accuracy) == 6
    assert list(loss["Epoch"]) == [1]


@pytest.mark.parametrize("count", [0, 40])
def test_any_number_of_runs_is_compared(count, models):
    names = [f"run-{i}" for i in range(count)]
    for i, name in enumerate(names):
        write_run(models, name, accuracy=0.5 + i / 100, LSTM_UNITS=i + 1)
    write_run(models, "not_chosen")
    message, (accuracy, _), colors, table = page.compare(names, ["validation"])
    assert len(table) == count
    assert set(accuracy["Curve"]) <= set(colors)
    comparison.format_table(table).to_html()
    assert message


def test_a_review_can_be_read_while_mistakes_are_loaded(predictor, monkeypatch):
    sequences = concatenate([predictor.encode("good dull " * i) for i in (5, 1, 9, 2, 7)])
    has_begun, may_end = threading.Event(), threading.Event()

    def load_reviews(_):
        has_begun.set()
        assert may_end.wait(120)
        return Reviews("validation set", "imdb-package", sequences, np.zeros(5))

    monkeypatch.setattr(networks, "load_reviews", load_reviews)
    monkeypatch.setattr(networks, "find_mistakes", lambda _, probabilities: probabilities)
    monkeypatch.setattr(networks, "BATCH_SIZE", 2)
    network = Network(predictor)
    with ThreadPoolExecutor(2) as threads:
        found = threads.submit(network.find_mistakes)
        try:
            assert has_begun.wait(120)
            assert threads.submit(network.read, "A good film.").result(120).words
        finally:
            may_end.set()
    np.testing.assert_allclose(found.result(), predictor.predict_sequences(sequences), atol=1e-5)


def test_mistakes_are_ordered_by_confidence_and_by_length():
    found = pandas.DataFrame(
        {
            "text": ["A b", "Line\none <br /> & " + "two " * 100, "C"],
            "label": ["negative", "positive", "positive"],
            "probability": [0.99, 0.2, 0.4],
            "tokens": [3, 105, 2],
        }
    )
    orders = {name: list(mistakes.make_table(found, name)["No."]) for name in mistakes.ORDERS}
    assert list(orders.values()) == [[1, 2, 3], [2, 1, 3], [3, 1, 2]]
    table = mistakes.make_table(found, "most confident first")
    assert list(table["Words"]) == [2, 104, 1]
    assert "\n" not in "".join(table["Review"])
    assert len(mistakes.make_table(found[:0], "longest first")) == 0


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--port", "0"], 2),
        (["--port", "65536"], 2),
        (["--port", "many"], 2),
        (["--host", "not a host"], 1),
        (["--host", "x" * 300], 1),
        (["lstm"], 2),
    ],
)
def test_wrong_usage_is_one_line(arguments, status, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: name == "gradio" or find(name)
    )
    monkeypatch.setattr(sys, "argv", ["page.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run(page.main)
    assert stopped.value.code == status
    assert capsys.readouterr().err.count("\n") == 1


def test_missing_gradio_is_one_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["page.py"])
    with pytest.raises(SentimentError, match=r"requirements/page\.txt") as raised:
        page.main()
    assert raised.value.status == 1


def test_a_port_in_use_is_refused_or_passed_over():
    port = find_port("127.0.0.1", None)
    with socket.socket() as other:
        if os.name != "nt":  # a page that was there a moment ago does not count
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(SentimentError, match=str(port)):
            find_port("127.0.0.1", port)
        assert find_port("127.0.0.1", None) > port

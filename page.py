"""Open a page in the browser: try the networks, compare runs, read their mistakes.

python page.py                   opens http://127.0.0.1:7860, for this computer only
python page.py --host 0.0.0.0    for everyone in the same network, such as a phone
"""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import importlib.util
import time
from html import escape
from typing import Any

import pandas

from plot_history import label as label_group
from sentiment.cli import ArgumentParser, run
from sentiment.console import print_to_stderr
from sentiment.errors import SentimentError
from sentiment.inference import DEFAULT_RUN
from sentiment.page import comparison, mistakes
from sentiment.page.examples import EXAMPLES
from sentiment.page.networks import Networks, list_compared, list_runs
from sentiment.page.reading import render_error, render_reading
from sentiment.page.server import FIRST_PORT, LOCAL_HOSTS, find_port, import_gradio, launch
from sentiment.paths import models_folder

NONE = "none"
LEGEND = (
    '<p class="about">Blue: the word raises the probability of positive; orange: it lowers it. '
    "The numbers are changes in percentage points.</p>"
)
COMPARED_RUNS = 10  # that are chosen at first, the newest ones
MAXIMUM_CHARACTERS = 100_000  # of a review
# What every event has in common. Of what happens while one is handled, only the last is. What was
# chosen is checked where it is used: Gradio's message about a run that is gone can contain HTML.
EVENT: dict[str, Any] = {
    "show_progress": "hidden",
    "trigger_mode": "always_last",
    "api_visibility": "private",
    "preprocess": False,
}


def main():
    parser = ArgumentParser(prog="page.py", description=__doc__.partition("\n")[0])
    text = "address to listen on; use 0.0.0.0 to allow other computers (default: %(default)s)"
    parser.add_argument("--host", default="127.0.0.1", help=text)
    text = f"port (default: the first free port from {FIRST_PORT} on)"
    parser.add_argument("--port", type=int, help=text)
    text = "don't open the browser"
    parser.add_argument("--no-browser", dest="browser", action="store_false", help=text)
    arguments = parser.parse_args()
    if arguments.port is not None and not 1 <= arguments.port <= 65_535:
        parser.error(f"--port must be from 1 to 65535, not {arguments.port}")
    if not importlib.util.find_spec("gradio"):
        raise SentimentError("gradio is missing: pip install -r requirements/page.txt")
    port = find_port(arguments.host, arguments.port)
    gradio = import_gradio()
    page = build(gradio)
    try:
        launch(gradio, page, arguments.host, port, arguments.browser)
        print(f"Page: {page.local_url} (Ctrl-C stops it)", flush=True)
        if arguments.host not in LOCAL_HOSTS:
            print_to_stderr("Warning: everyone in the same network can use this page")
        while True:
            time.sleep(1)
    finally:
        page.close(verbose=False)


def build(gradio: Any) -> Any:
    """Return the page as Gradio Blocks."""
    networks = Networks()
    with gradio.Blocks(title="Movie-review sentiment", analytics_enabled=False) as page:
        with gradio.Row(elem_classes="heading"):
            gradio.Markdown("# Movie-review sentiment")
            refresh = gradio.Button("Refresh runs", size="sm", scale=0, min_width=140)
        with gradio.Tabs() as tabs:
            with gradio.Tab("Read", id="read"):
                reading = build_reading(gradio, networks)
            with gradio.Tab("Compare", id="compare"):
                compared = build_comparison(gradio, page)
            with gradio.Tab("Mistakes", id="mistakes") as tab:
                mistaken = build_mistakes(gradio, tab, networks, [*reading, tabs])
        _, first, second, _ = reading

        def list_choices(first, second, compared, mistaken):
            runs, finished = list(list_runs()), list_compared()
            kept = [name for name in compared if name in finished] or finished[-COMPARED_RUNS:]
            return (
                update(runs, first, DEFAULT_RUN.name),
                update([NONE, *runs], second, NONE),
                gradio.Dropdown(choices=finished, value=kept),
                update(runs, mistaken, DEFAULT_RUN.name),
            )

        def update(choices, value, default):
            changed = {} if value in choices else {"value": default}
            return gradio.Dropdown(choices=choices, **changed)

        lists = [first, second, compared, mistaken]
        gradio.on([page.load, refresh.click], list_choices, lists, lists, **EVENT)
    return page


def build_reading(gradio: Any, networks: Networks) -> tuple:
    """Build the tab that predicts what is typed; return what another tab sets."""
    opened = gradio.State({})
    examples = list(EXAMPLES.values())
    size: dict[str, Any] = {"lines": 3, "max_lines": 10, "max_length": MAXIMUM_CHARACTERS}
    review = gradio.Textbox(examples[0], label="Review", **size)
    gradio.Examples(examples, review, label="Examples", example_labels=list(EXAMPLES))
    with gradio.Row():
        runs = list(list_runs())
        first = gradio.Dropdown(runs, value=DEFAULT_RUN.name, label="Network")
        second = gradio.Dropdown([NONE, *runs], value=NONE, label="Second network")
    origin = gradio.HTML(visible=False)
    # The default network is loaded before the first visitor comes.
    shown = read(networks, examples[0], [DEFAULT_RUN.name])[0]
    with gradio.Row(elem_classes="predictions"):
        left, right = gradio.HTML(shown), gradio.HTML(visible=False)
    gradio.HTML(LEGEND)

    def show_reading(review, first, second, opened):
        names = [first] if second in (NONE, first) else [first, second]
        shown = read(networks, review, names)
        is_opened = bool(opened) and review.split() == opened["text"].split()
        return (
            gradio.HTML(opened["origin"] if is_opened else "", visible=is_opened),
            shown[0],
            gradio.HTML("".join(shown[1:]), visible=len(shown) > 1),
        )

    gradio.on(
        [review.change, first.change, second.change],
        show_reading,
        [review, first, second, opened],
        [origin, left, right],
        **EVENT,
    )
    return review, first, second, opened


def read(networks: Networks, review: str, names: list[str]) -> list[str]:
    """Return what each network says of a review, as HTML."""
    if not review.strip():
        return ["<p>Type a review, or choose an example.</p>"]
    if len(review) > MAXIMUM_CHARACTERS:
        limit = f"the page takes at most {MAXIMUM_CHARACTERS:,}"
        return [render_error(f"The review has {len(review):,} characters; {limit}.")]
    shown = []
    for name in names:
        try:
            network = networks.load(name)
            reading = network.read(review)
        except SentimentError as error:
            shown.append(render_error(error))
            continue
        predictor, probability = network.predictor, float(reading.probabilities[-1])
        label, note = predictor.interpret(reading.sequence, probability)
        shown.append(render_reading(name, predictor.describe(), label, note, reading))
    return shown


def build_comparison(gradio: Any, page: Any) -> Any:
    """Build the tab that compares runs; return its list of runs."""
    compared = gradio.Dropdown([], multiselect=True, label="Runs")
    sets = gradio.CheckboxGroup(list(comparison.SETS), value=list(comparison.SETS), label="Curves")
    message = gradio.HTML()
    with gradio.Row():
        common: dict[str, Any] = {"x": "Epoch", "y": "Value", "color": "Curve"}
        common |= {"x_title": "Epoch", "colors_in_legend": [], "min_width": 300, "visible": False}
        plots = [
            gradio.LinePlot(label="Accuracy", y_title="Accuracy", y_axis_format=".0%", **common),
            gradio.LinePlot(label="Loss (binary cross-entropy)", y_title="Loss", **common),
        ]
    table = gradio.Dataframe(label="Results", interactive=False, visible=False)
    options = gradio.State({})

    def show(compared, sets):
        message, curves, colors, rows = compare(compared, sets)
        epochs = comparison.label_epochs(curves)
        return (
            message,
            *(gradio.LinePlot(curve, visible=len(curve) > 0) for curve in curves),
            gradio.Dataframe(comparison.format_table(rows), visible=len(rows) > 0),
            {"x": "Label" if epochs else "Epoch", "sort": epochs, "color_map": colors},
        )

    def set_options(options):
        return [gradio.LinePlot(**options) for _ in plots]

    events = [page.load, compared.change, sets.change]
    shown = gradio.on(events, show, [compared, sets], [message, *plots, table, options], **EVENT)
    # Gradio draws the points that it had before if their axis changes in the same event.
    shown.then(set_options, options, plots, show_progress="hidden", api_visibility="private")
    return compared


def compare(names: list[str], sets: list[str]) -> tuple[str, list, dict, pandas.DataFrame]:
    """Return legend and notes as HTML, the curves of two metrics, their colors, and the table."""
    if not list_compared():
        reason = f"There is no finished run in {models_folder()}/ to compare"
        remedy = "Train one, with python train_lstm.py, then press Refresh runs."
        return render_error(f"{reason}. {remedy}"), [pandas.DataFrame()] * 2, {}, pandas.DataFrame()
    groups, notes = comparison.read_groups(names)
    has_one_network = len({group.network for group in groups}) == 1
    labels = [label_group(group, has_one_network) for group in groups]
    message = comparison.render_legend(labels) if groups else "<p>Choose runs to compare.</p>"
    message += "".join(map(render_error, notes))
    curves = [comparison.make_curve(groups, metric, sets) for metric in ("accuracy", "loss")]
    return message, curves, comparison.choose_colors(groups), comparison.make_table(groups)


def build_mistakes(gradio: Any, tab: Any, networks: Networks, reading: list) -> Any:
    """Build the tab of misclassified reviews, which opens one in the first tab."""
    orders = list(mistakes.ORDERS)
    with gradio.Row():
        name = gradio.Dropdown(list(list_runs()), value=DEFAULT_RUN.name, label="Run")
        order = gradio.Radio(orders, value=orders[0], label="Order")
    message = gradio.HTML()
    table = gradio.Dataframe(headers=list(mistakes.COLUMNS), interactive=False, label="Mistakes")
    shown = gradio.State(("", None))

    def show(name, order, shown):
        nothing = gradio.Dataframe(visible=False), ("", None)
        if shown[0] != name:
            yield f"<p>Predicting the validation set with {escape(name)} …</p>", *nothing
        try:
            network = networks.load(name)
            found = network.find_mistakes()
        except SentimentError as error:
            yield render_error(error), *nothing
            return
        text = (
            f"{len(found):,} reviews of the validation set are misclassified by "
            f"{escape(network.predictor.describe())}. Choose one to see it in <i>Read</i>, where "
            "its probability may differ a little, because typed text is normalized."
        )
        rows = gradio.Dataframe(mistakes.make_table(found, order), visible=True)
        yield f"<p>{text}</p>", rows, (name, found)

    def open_review(shown, event: gradio.SelectData):
        name, found = shown
        row = found.iloc[event.row_value[0] - 1]
        origin = f"A review of the validation set of {escape(name)}, labeled <b>{row.label}</b>:"
        opened = {"text": row.text, "origin": f"<p>{origin}</p>"}
        return row.text, name, NONE, opened, gradio.Tabs(selected="read")

    events = [tab.select, name.change, order.change]
    options = {**EVENT, "show_progress": "minimal"}
    gradio.on(events, show, [name, order, shown], [message, table, shown], **options)
    table.select(open_review, shown, reading, **EVENT)
    return name


if __name__ == "__main__":
    run(main)

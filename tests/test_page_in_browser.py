"""The page in a browser: typed into, compared, opened on a phone, without a network, by many."""

import contextlib
import functools
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

import page
from sentiment.errors import SentimentError
from sentiment.inference import DEFAULT_RUN, load_predictor
from sentiment.page.examples import EXAMPLES
from sentiment.page.server import find_port, import_gradio, launch
from tests.conftest import PROJECT, assert_one_line
from tests.run_folders import write_run

pytestmark = pytest.mark.extended

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
TABS = ("Read", "Compare", "Mistakes")
CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MESSAGE = ".error"
PLOT_LINES = ".mark-line path"
VISIBLE_WORDS = (
    "[...document.querySelectorAll('[data-col=\"3\"]')]"
    ".filter(cell => cell.offsetParent).map(cell => Number(cell.innerText))"
)
# The lowest contrast of the words on their backgrounds, as WCAG 2 defines it.
CONTRAST = """() => {
    const channel = x => (x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
    const numbers = text => text.match(/[0-9.]+/g).map(Number);
    const background = element => {
        if (!element) return [255, 255, 255];
        const [r, g, b, alpha = 1] = numbers(getComputedStyle(element).backgroundColor);
        if (alpha == 1) return [r, g, b];
        const below = background(element.parentElement);
        return [r, g, b].map((x, i) => alpha * x + (1 - alpha) * below[i]);
    };
    return Math.min(...[...document.querySelectorAll('.words span, .verdict b')].map(word => {
        const pair = [light(numbers(getComputedStyle(word).color)), light(background(word))];
        return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    }));
}"""


@functools.cache
def load(name):
    return load_predictor(PROJECT / "models" / name)


@pytest.fixture(scope="module", autouse=True)
def _needed():
    missing = [name for name in ("gradio", "playwright") if not importlib.util.find_spec(name)]
    missing += [] if shutil.which("chromium") else ["chromium"]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {', '.join(missing)}")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with two runs to compare; the networks are those that come with the project."""
    models = tmp_path_factory.mktemp("runs") / "models"
    write_run(models, "first", accuracy=0.8, LSTM_UNITS=64)
    write_run(models, "second", accuracy=0.7, epochs=5)
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("SENTIMENT_MODELS", str(models))
        yield models


@pytest.fixture(scope="module")
def contacted():
    """The addresses that this process connects to."""
    addresses = []
    with pytest.MonkeyPatch.context() as changed:
        connect, find = socket.socket.connect, socket.getaddrinfo
        changed.setattr(
            socket.socket,
            "connect",
            lambda self, address: addresses.append(address[0]) or connect(self, address),
        )
        changed.setattr(
            socket,
            "getaddrinfo",
            lambda host, *a, **k: addresses.append(host) or find(host, *a, **k),
        )
        yield addresses


@pytest.fixture(scope="module")
def blocks(models, contacted):
    """The page, running."""
    gradio = import_gradio()
    blocks = page.build(gradio)
    launch(gradio, blocks, "127.0.0.1", find_port("127.0.0.1", None))
    yield blocks
    blocks.close(verbose=False)


@pytest.fixture(scope="module")
def address(blocks):
    return blocks.local_url.rstrip("/")


@pytest.fixture(scope="module")
def chromium(_needed):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(CHROMIUM)
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, address, tmp_path):
    """A function that opens the page; after the test, all requests and messages are checked."""
    problems, contexts = [], []

    def open_page(viewport=DESKTOP, scheme="light"):
        context = chromium.new_context(viewport=viewport, color_scheme=scheme)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: message.type == "error" and problems.append(message.text))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("dialog", lambda dialog: problems.append(dialog.message) or dialog.dismiss())
        tab.on("response", lambda answer: answer.status >= 400 and problems.append(answer.url))
        context.on(
            "request",
            lambda request: (
                request.url.startswith((address, "data:", "blob:")) or problems.append(request.url)
            ),
        )
        tab.goto(address)
        tab.locator(".verdict").wait_for()
        return tab

    yield open_page
    for number, context in enumerate(contexts):
        for tab in context.pages:
            tab.screenshot(path=tmp_path / f"{number}.png", full_page=True)
        context.close()
    assert not problems


def type_review(tab, review):
    tab.get_by_label("Review", exact=True).fill(review)


def choose(tab, label, option):
    tab.get_by_label(label, exact=True).click()
    tab.get_by_role("option", name=option, exact=True).click()


def open_tab(tab, name):
    tab.get_by_role("tab", name=name).click()


def wait_for_prediction(tab, name, review):
    """Wait until the page shows what the network predicts."""
    probability = load(name).predict([review])[0]
    shown = tab.locator(".prose", has=tab.locator("h3", has_text=re.compile(f"^{name}$")))
    shown.get_by_text(f"{probability:.1%}", exact=True).wait_for()
    label = "positive" if probability > 0.5 else "negative"
    assert shown.locator(".verdict b").first.inner_text() == label
    return shown


def test_what_is_typed_is_read_by_two_networks(visit):
    tab = visit()
    review = "Not a bad film, but a slow one."
    tab.get_by_label("Review", exact=True).fill("")
    tab.get_by_label("Review", exact=True).press_sequentially(review, delay=10)
    shown = wait_for_prediction(tab, DEFAULT_RUN.name, review)
    words = review.replace(",", "").replace(".", "").split()
    assert [word.split("\n")[0] for word in shown.locator(".words > span").all_inner_texts()] == (
        words
    )
    assert shown.locator("svg g").count() == len(words)
    assert "points" in shown.locator(".words > span").first.get_attribute("title")
    choose(tab, "Second network", "lstm")
    wait_for_prediction(tab, "lstm", review)
    assert tab.locator("h3:visible").all_inner_texts() == [DEFAULT_RUN.name, "lstm"]
    tab.get_by_role("button", name="long").click()
    for name in ("lstm", DEFAULT_RUN.name):
        wait_for_prediction(tab, name, EXAMPLES["long"])
    choose(tab, "Second network", page.NONE)
    tab.locator("h3", has_text=re.compile("^lstm$")).wait_for(state="hidden")


def test_any_text_is_shown_as_text(visit):
    tab = visit()
    for review in (
        "这部电影太棒了 我非常喜欢",
        "فيلم رائع جدا",
        "So 😀 good 👍🏽!",
        "<script>alert(1)</script> <img src=x onerror=alert(1)> {{7*7}} ${7*7} &lt;b&gt;",
    ):
        type_review(tab, review)
        shown = wait_for_prediction(tab, DEFAULT_RUN.name, review)
        words = load(DEFAULT_RUN.name).explain(review)[0]
        # Words that are not in the vocabulary have the same probability as the ones before them.
        shown.locator(".words > span", has_text=words[-1]).first.wait_for()
        assert shown.locator("img, script").count() == 0
        texts = shown.locator(".words > span").all_inner_texts()
        assert [text.split("\n")[0] for text in texts] == words
    type_review(tab, "")
    tab.locator(".verdict").wait_for(state="hidden")
    type_review(tab, "!!!")
    tab.locator(MESSAGE).wait_for()


def test_a_long_review_is_read_while_it_is_typed(visit):
    tab = visit()
    review = "One two three four five. " * 2_000
    type_review(tab, review)
    tab.get_by_label("Review", exact=True).press_sequentially("wonderful great superb", delay=20)
    shown = wait_for_prediction(tab, DEFAULT_RUN.name, f"{review}wonderful great superb")
    assert shown.locator(".words > span").count() == 500


def test_runs_are_compared_with_curves_and_a_table(visit):
    tab = visit()
    open_tab(tab, "Compare")
    table = tab.locator("[data-row]:visible")
    tab.get_by_text("80.0").first.wait_for()
    tab.wait_for_function(f"document.querySelectorAll('{PLOT_LINES}').length == 8")
    names = [tab.locator(f"[data-row='{row}'][data-col='0']:visible") for row in (0, 1)]
    assert [name.inner_text() for name in names] == ["first", "second"]
    assert "64" in table.all_inner_texts()

    header = tab.locator(".cell-wrap:visible", has_text="LSTM_UNITS").first
    header.hover()
    header.get_by_label("Open cell menu").click()
    tab.get_by_role("menuitem", name="Sort descending").click()
    tab.wait_for_function(
        "[...document.querySelectorAll('[data-col=\"0\"]')].filter(e => e.offsetParent)[0]"
        ".innerText.trim() == 'second'"
    )
    box = tab.locator(PLOT_LINES).first.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.locator("#vg-tooltip-element", has_text=re.compile("first|second")).wait_for()

    # Without the longer run the axes end earlier, and its curves are gone.
    tab.locator(".token", has_text="second").locator("[role=button]").click()
    tab.wait_for_function(f"document.querySelectorAll('{PLOT_LINES}').length == 4")
    ticks = "document.querySelector('.role-axis-label').textContent"
    tab.wait_for_function(f"{ticks} == '123'")
    tab.get_by_role("checkbox", name="training").uncheck()
    tab.wait_for_function(f"document.querySelectorAll('{PLOT_LINES}').length == 2")


def test_a_mistake_is_opened(visit):
    tab = visit()
    choose(tab, "Second network", "lstm")
    open_tab(tab, "Mistakes")
    tab.get_by_text("misclassified").wait_for(timeout=120_000)
    tab.get_by_label("shortest first").check()
    tab.wait_for_function(f"({VISIBLE_WORDS}).every((n, i, all) => !i || all[i - 1] <= n)")
    texts = tab.locator("[data-col='4'][data-row]:visible").all_inner_texts()
    number = next(i for i, text in enumerate(texts) if text.rstrip("…").isascii())
    row = [
        tab.locator(f"[data-row='{number}'][data-col='{column}']:visible") for column in range(5)
    ]
    cells = [cell.inner_text() for cell in row]
    row[3].click()
    tab.get_by_text("A review of the validation set").wait_for()
    label, probability, text = cells[1], cells[2], cells[4].rstrip("…")
    review = tab.get_by_label("Review", exact=True).input_value()
    assert " ".join(review.split()).startswith(text.strip())
    shown = wait_for_prediction(tab, DEFAULT_RUN.name, review)
    assert shown.get_by_text(probability, exact=True).is_visible()
    assert shown.locator(".verdict b").first.inner_text() != label
    type_review(tab, "Something else.")
    tab.get_by_text("A review of the validation set").wait_for(state="hidden")


def test_a_new_run_appears_and_one_that_is_gone_or_damaged_gets_one_line(visit, models):
    tab = visit()
    shutil.copytree(PROJECT / "models" / "lstm", models / "third")
    tab.get_by_role("button", name="Refresh runs").click()
    tab.wait_for_timeout(500)
    choose(tab, "Network", "third")
    tab.locator("h3", has_text="third").wait_for()
    (models / "third" / "model.keras").write_bytes(b"damaged")
    type_review(tab, "A good film.")
    tab.locator(MESSAGE, has_text="third").wait_for()
    assert "Traceback" not in tab.locator(MESSAGE).inner_text()
    shutil.rmtree(models / "third")
    type_review(tab, "A better film.")
    tab.locator(MESSAGE, has_text="not there").wait_for()
    choose(tab, "Network", "first")  # a record without a network
    tab.locator(MESSAGE, has_text="first").wait_for()
    choose(tab, "Network", "lstm")
    wait_for_prediction(tab, "lstm", "A better film.")


def test_a_deleted_run_is_not_chosen_any_more(visit, models):
    name = "<img src=x>"
    shutil.copytree(PROJECT / "models" / "lstm", models / name)
    tab = visit()
    choose(tab, "Network", name)
    tab.locator("h3", has_text=name).wait_for()
    shutil.rmtree(models / name)
    type_review(tab, "A good film.")
    tab.locator(MESSAGE, has_text=name).wait_for()
    choose(tab, "Second network", name)
    open_tab(tab, "Mistakes")
    choose(tab, "Run", name)
    tab.locator(f"{MESSAGE}:visible", has_text=name).wait_for()
    tab.get_by_role("button", name="Refresh runs").click()
    tab.get_by_text("misclassified").wait_for(timeout=120_000)
    assert tab.get_by_label("Run", exact=True).input_value() == DEFAULT_RUN.name
    open_tab(tab, "Read")
    wait_for_prediction(tab, DEFAULT_RUN.name, "A good film.")
    type_review(tab, "A better film.")
    wait_for_prediction(tab, DEFAULT_RUN.name, "A better film.")
    assert tab.get_by_label("Network", exact=True).input_value() == DEFAULT_RUN.name
    assert tab.get_by_label("Second network", exact=True).input_value() == page.NONE
    assert tab.locator(".toast-body").count() == 0


def test_without_runs_there_is_nothing_to_compare(visit, monkeypatch, tmp_path):
    monkeypatch.setenv("SENTIMENT_MODELS", str(tmp_path))
    tab = visit()
    open_tab(tab, "Compare")
    tab.locator(MESSAGE, has_text="train_lstm.py").wait_for()
    assert tab.locator(PLOT_LINES).count() == 0
    open_tab(tab, "Read")
    # Gradio reports an error in the console if a list that is open becomes shorter.
    tab.wait_for_timeout(500)
    choose(tab, "Network", "lstm")
    tab.locator("h3", has_text=re.compile("^lstm$")).wait_for()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_and_words_are_legible(viewport, scheme, visit, tmp_path):
    tab = visit(viewport, scheme)
    review = f"{EXAMPLES['long']} {'x' * 300} {'好' * 300}"
    type_review(tab, review)
    choose(tab, "Second network", "lstm")
    wait_for_prediction(tab, "lstm", review)
    assert tab.evaluate(CONTRAST) >= 4.5
    for name in TABS:
        open_tab(tab, name)
        if name == "Compare":
            tab.locator(PLOT_LINES).first.wait_for(state="attached")
        if name == "Mistakes":
            tab.get_by_text("misclassified").wait_for(timeout=120_000)
        assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        tab.screenshot(path=tmp_path / f"{name}.png", full_page=True)


def test_everything_can_be_reached_with_the_keyboard(visit):
    tab = visit()
    tab.get_by_role("tab", name="Read").focus()
    seen = []
    while {"Review", "Network", "Second network", "Refresh runs", *EXAMPLES} - set(seen):
        assert len(seen) < 40, seen
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement == document.body"):
            continue  # after the last element, before the first one
        seen.append(
            tab.evaluate(
                "(e => e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText)"
                "(document.activeElement) ?? ''"
            ).strip()
        )
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", seen
        if seen[-1] == "short":
            tab.keyboard.press("Enter")
            wait_for_prediction(tab, DEFAULT_RUN.name, EXAMPLES["short"])
    tab.get_by_role("tab", name="Compare").focus()
    tab.keyboard.press("Enter")
    tab.locator(PLOT_LINES).first.wait_for(state="attached")


def call(address, fn_index, data, session):
    """Call an event of the page as its own script does; return what it outputs."""
    body = {"fn_index": fn_index, "data": data, "session_hash": session}
    request = urllib.request.Request(
        f"{address}/gradio_api/queue/join",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=60).read()
    stream = f"{address}/gradio_api/queue/data?session_hash={session}"
    with urllib.request.urlopen(stream, timeout=60) as lines:
        for line in lines:
            event = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data:") else {}
            if event.get("msg") == "process_completed":
                assert event["success"], event
                return event["output"]["data"]
    raise AssertionError("no answer")


def find_function(blocks, name):
    return next(number for number, function in blocks.fns.items() if function.name == name)


def test_twenty_visitors_at_once_get_their_own_answers(blocks, address):
    fn_index = find_function(blocks, "show_reading")
    reviews = [f"{review} {i}" for i, review in enumerate([*EXAMPLES.values()] * 4)][:20]
    with ThreadPoolExecutor(20) as threads:
        answers = list(
            threads.map(
                lambda i: call(address, fn_index, [reviews[i], "lstm", "cnn_lstm", None], f"s{i}"),
                range(20),
            )
        )
    for name, place in (("lstm", 1), ("cnn_lstm", 2)):
        for review, answer in zip(reviews, answers, strict=True):
            shown = answer[place]["value"] if isinstance(answer[place], dict) else answer[place]
            assert f"{load(name).predict([review])[0]:.1%}" in shown


def test_a_run_that_is_not_on_the_list_gets_a_message_that_is_text(blocks, address):
    data = ["A good film.", "<img src=x>", page.NONE, None]
    answer = call(address, find_function(blocks, "show_reading"), data, "unlisted")
    assert "&lt;img src=x&gt;" in answer[1]


@pytest.mark.parametrize(
    "path",
    [
        "docs",
        "openapi.json",
        "monitoring",
        f"gradio_api/file={PROJECT}/pyproject.toml",
        f"gradio_api/file={PROJECT}/models/lstm/run.json",
        "gradio_api/file=/etc/hostname",
    ],
)
def test_no_other_files_or_pages_are_served(path, address):
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{address}/{path}", timeout=60)
    assert raised.value.code in (401, 403, 404)


@pytest.mark.parametrize(
    ("host", "is_served"),
    [("localhost", True), ("[::1]", True), ("evil.example", False), ("localhost.evil", False)],
)
def test_a_name_that_leads_here_is_not_served(host, is_served, address):
    port = address.rpartition(":")[2]
    request = urllib.request.Request(f"{address}/config", headers={"Host": f"{host}:{port}"})
    if is_served:
        assert urllib.request.urlopen(request, timeout=60).status == 200
    else:
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request, timeout=60)
        assert raised.value.code == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_page_starts_on_a_local_address_and_leaves_the_proxy_for_other_hosts(host, monkeypatch):
    gradio = import_gradio()
    with contextlib.suppress(SentimentError):  # not every computer has IPv6
        port = find_port(host, None)
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        before = urllib.request.getproxies_environment()
        with gradio.Blocks() as blocks:
            gradio.Markdown("A page")
        launch(gradio, blocks, host, port)
        blocks.close(verbose=False)
        assert urllib.request.getproxies_environment() == before


def test_no_function_is_public_and_no_file_is_accepted(address):
    with urllib.request.urlopen(f"{address}/gradio_api/info", timeout=60) as answer:
        assert json.load(answer) == {"named_endpoints": {}, "unnamed_endpoints": {}}
    lines = ["--x", 'Content-Disposition: form-data; name="files"; filename="a.txt"', "", "text"]
    request = urllib.request.Request(
        f"{address}/gradio_api/upload",
        "\r\n".join([*lines, "--x--", ""]).encode(),
        {"Content-Type": "multipart/form-data; boundary=x"},
    )
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=60)
    assert raised.value.code == 413


def test_the_process_contacts_only_itself(blocks, contacted, visit):
    visit()
    assert set(contacted) <= {"127.0.0.1", "localhost", "::1", None}


def test_ctrl_c_ends_the_page_and_a_port_in_use_is_one_line(tmp_path, monkeypatch):
    port = find_port("127.0.0.1", None)
    command = ["page.py", "--no-browser", "--port", str(port)]
    with subprocess.Popen(
        [sys.executable, PROJECT / command[0], *command[1:], "--host", "0.0.0.0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        try:
            assert str(port) in process.stdout.readline()
            monkeypatch.setattr(sys, "argv", command)
            with pytest.raises(SentimentError, match=str(port)) as second:
                page.main()
            assert second.value.status == 1
            assert_one_line(second.value)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert len(errors.splitlines()) == 2  # a warning that others can use it, and that it stopped
    assert not list(tmp_path.iterdir())

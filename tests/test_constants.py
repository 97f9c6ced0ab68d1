"""A script's constants are its options, and --like takes those of a run or a recipe."""

import json
import runpy
import shutil
import tomllib
from pathlib import Path

import pytest

import train_cnn_lstm
import train_lstm
import train_naive_bayes_lstm
from sentiment.constants import parse_constants
from sentiment.errors import SentimentError
from tests.conftest import CONSTANTS, PROJECT, assert_one_line, run_script
from tests.run_folders import make_state, write_checkpoint

RECIPES = sorted((PROJECT / "recipes").glob("*.toml"))
SCRIPTS = [train_lstm, train_cnn_lstm, train_naive_bayes_lstm]


def parse(script, *arguments, **edited):
    # A relative path in DATA does not exist in the folders that tests work in.
    namespace = {**vars(script), "DATA": "auto", **edited}
    return parse_constants(namespace, list(map(str, arguments)))


def read(script, *arguments, **edited):
    return parse(script, *arguments, **edited).constants


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_lists_every_constant_with_its_comment(script, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")  # each text on one line
    with pytest.raises(SystemExit) as stopped:
        read(script, "--help")
    assert stopped.value.code == 0
    listed = " ".join(capsys.readouterr().out.split())
    assignments = [line.partition(" = ") for line in Path(script.__file__).read_text().splitlines()]
    comments = {name: line.partition("  # ")[2] for name, _, line in assignments}
    constants = read(script)
    assert "EPOCHS" in constants
    for name, value in vars(script).items():
        if name.isupper() and isinstance(value, (bool, int, float, str)):
            assert name in constants
    for name, default in constants.items():
        assert "--" + name.lower().replace("_", "-") in listed
        assert " ".join(f"{comments[name]} (default: {default})".split()) in listed


def test_an_option_sets_its_constant_and_nothing_else():
    script = {**vars(train_lstm), "DATA": "auto"}
    options = ["--lstm-units", "64", "--padding", "pre", "--seed=0", "--no-restore-best-weights"]
    settings = parse_constants(script, options)
    changed = {"LSTM_UNITS": 64, "PADDING": "pre", "SEED": 0, "RESTORE_BEST_WEIGHTS": False}
    assert settings.constants == {**read(train_lstm), **changed}
    assert settings.options == changed
    assert {name: script[name] for name in settings.constants} == settings.constants
    assert settings.resumed is None and settings.like is None and settings.evaluate_test
    assert not parse(train_lstm, "--no-test").evaluate_test


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--epoch", "3"], "--epoch 3"),  # no abbreviation is accepted
        (["--lstm-units", "many"], "'many'"),
        (["--lstm-units", "1.5"], "'1.5'"),
        (["--epochs", "0"], "from 1 to 10,000, not 0"),
        (["--lstm-units", "-5"], "from 1 to 10,000, not -5"),
        (["--batch-size", "9999999999"], "from 1 to 25,000"),
        (["--vocabulary-size", "3"], "from 5 to 1,000,000"),
        (["--dropout-after-lstm", "1.5"], "less than 1"),
        (["--dropout-after-embedding", "nan"], "less than 1"),
        (["--learning-rate", "0"], "greater than 0"),
        (["--learning-rate", "inf"], "greater than 0"),
        (["--seed", "-1"], "from 0"),
        (["--data", "imbd"], "auto, imdb, imdb-package"),
        (["--data", "x" * 999], "--data"),
        (["--padding", "both"], "post, pre"),
        (["--word-vectors", "glove"], "ppmi, none"),
        (["--word-vectors", "x" * 999], "ppmi, none"),
        (["--name", "x" * 999], "--name"),
        (["--precision", "float8"], "float32"),
        (["--name", ""], "--name"),
        (["--resume", "--like", "lstm"], "--like"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(script, arguments, expected):
    with pytest.raises(SentimentError) as raised:
        read(script, *arguments)
    assert raised.value.status == 2
    assert_one_line(raised.value)
    assert arguments[0] in str(raised.value) and expected in str(raised.value)


@pytest.mark.parametrize(
    "edited",
    [
        {"EPOCHS": 0},
        {"EPOCHS": "3"},
        {"EPOCHS": True},
        {"VOCABULARY_SIZE": 1e4},
        {"LEARNING_RATE": -1},
        {"RESTORE_BEST_WEIGHTS": 1},
        {"PADDING": True},
        {"DATA": 5},
        {"NAME": "a/b"},
        {"NAME": 5},
    ],
)
def test_a_constant_edited_to_a_wrong_value_is_rejected_too(edited):
    with pytest.raises(SentimentError) as raised:
        read(train_lstm, **edited)
    assert raised.value.status == 2
    assert_one_line(raised.value)


def test_a_rate_edited_to_a_whole_number_still_takes_fractions():
    settings = read(train_lstm, "--dropout-after-lstm", "0.3", DROPOUT_AFTER_LSTM=0)
    assert settings["DROPOUT_AFTER_LSTM"] == 0.3


def add_constant(tmp_path, value):
    """Return the namespace of the LSTM script with one more constant."""
    source = Path(train_lstm.__file__).read_text()
    added = f"import numpy as np\nADDED = {value}  # 100 % new\n\n\ndef build_model():"
    path = tmp_path / "train_added.py"
    path.write_text(source.replace("def build_model():", added, 1))
    return runpy.run_path(str(path))


@pytest.mark.parametrize(
    ("default", "given", "expected"),
    [
        ("7", "9", 9),
        ("0.5", "1", 1.0),
        ("'a text'", "another", "another"),
        ("(64, 32)", "(16,)", (16,)),
        ("[64, 32]", "[]", []),
        ("{'neg': 1}", "{'neg': 2}", {"neg": 2}),
        ("None", "5", 5),
        ("float('inf')", "2", 2.0),
    ],
)
def test_an_added_constant_becomes_an_option(tmp_path, capsys, default, given, expected):
    script = add_constant(tmp_path, default)
    kept = parse_constants(script, []).constants["ADDED"]
    assert kept == script["ADDED"] == eval(default)
    assert parse_constants(script, ["--added", given]).constants["ADDED"] == expected
    assert script["ADDED"] == expected and type(script["ADDED"]) is type(expected)
    with pytest.raises(SystemExit):
        parse_constants(script, ["--help"])
    assert "--added" in capsys.readouterr().out


def test_an_added_switch_becomes_a_pair_of_options(tmp_path):
    script = add_constant(tmp_path, "True")
    assert parse_constants(script, ["--no-added"]).constants["ADDED"] is False
    assert parse_constants(script, ["--added"]).constants["ADDED"] is True


@pytest.mark.parametrize("value", ["np.zeros(2)", "keras.optimizers.Adam", "b'x'", "{1}", "[1j]"])
def test_a_constant_that_cannot_be_recorded_is_no_option(tmp_path, value):
    script = add_constant(tmp_path, value)
    before = script["ADDED"]
    assert "ADDED" not in parse_constants(script, []).constants
    assert script["ADDED"] is before
    with pytest.raises(SentimentError, match="--added"):
        parse_constants(script, ["--added", "1"])


@pytest.mark.parametrize("given", ["[3,", "text", "{1}", "b'x'", "[" * 9_999, "0x" + "f" * 9_999])
def test_a_wrong_value_of_an_added_constant_is_one_line(tmp_path, given):
    script = add_constant(tmp_path, "[64, 32]")
    with pytest.raises(SentimentError, match="--added") as raised:
        parse_constants(script, ["--added", given])
    assert raised.value.status == 2
    assert_one_line(raised.value)


def write_recipe(path, constants):
    # The JSON of a number, a string, or a boolean is its TOML, too.
    lines = [
        f"{name} = {json.dumps(value)}"
        for name, value in constants.items()
        if isinstance(value, (int, float, str))
    ]
    path.write_text("\n".join(['script = "train_lstm.py"', "[constants]", *lines]) + "\n")
    return path


OTHER = {"EPOCHS": 7, "LSTM_UNITS": 5, "PADDING": "pre", "DROPOUT_AFTER_LSTM": 0, "NAME": "other"}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
@pytest.mark.parametrize("suffix", ["", ".toml"])
def test_a_published_recipe_gives_its_constants_whatever_those_of_the_script(
    recipe, suffix, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aclImdb").mkdir()  # the data of one of them
    shutil.copytree(PROJECT / "recipes", tmp_path / "recipes")
    content = tomllib.loads(recipe.read_text())
    (script,) = (x for x in SCRIPTS if Path(x.__file__).name == content["script"])
    settings = parse(script, "--like", f"recipes/{recipe.stem}{suffix}", **OTHER)
    for name, value in content["constants"].items():
        assert settings.constants[name] == value, name
    assert settings.options == content["constants"] and settings.like is None


def test_an_option_counts_more_than_the_recipe(tmp_path):
    path = write_recipe(tmp_path / "own.toml", read(train_lstm))
    settings = read(train_lstm, "--like", path, "--lstm-units", 3, **OTHER)
    assert settings == {**read(train_lstm), "LSTM_UNITS": 3}


def test_constants_that_a_recipe_lacks_keep_their_values_and_are_named(tmp_path, capsys):
    constants = read(train_lstm)
    path = write_recipe(tmp_path / "own.toml", constants)
    assert read(train_lstm, "--like", path) == constants
    assert "EPOCHS" not in capsys.readouterr().out
    del constants["EPOCHS"], constants["LSTM_UNITS"]
    write_recipe(path, constants)
    settings = read(train_lstm, "--like", path, **OTHER)
    assert settings == {**read(train_lstm), "EPOCHS": 7, "LSTM_UNITS": 5}
    (line,) = capsys.readouterr().out.splitlines()
    assert "EPOCHS = 7" in line and "LSTM_UNITS = 5" in line and "PADDING" not in line


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('script = "train_lstm.py"\n[constants]\nHEADS = 4', "HEADS"),
        ('script = "train_cnn_lstm.py"\n[constants]\nEPOCHS = 4', "train_cnn_lstm.py"),
        ("[constants]\nEPOCHS = 4", "script"),
        ('script = "train_lstm.py"', "constants"),
        ('script = "train_lstm.py"\nconstants = 5', "constants"),
        ("script = 5\n[constants]", "script"),
        ("EPOCHS =\n", "line 1"),
        ("\x00", "own.toml"),
        (b"\xff", "own.toml"),
        (None, "own.toml"),
        ('script = "train_lstm.py"\nconstants = ' + "[" * 30 + "]" * 30, "constants"),
        ('script = "train_lstm.py"\nconstants.X = ' + "[" * 30 + "]" * 30, "nested"),
        ('script = "train_lstm.py"\nconstants.X = ' + "[" * 9_999, "nested"),
        pytest.param("#" * 10_000_001, "10 MB", id="too large"),
    ],
)
def test_an_unusable_recipe_is_one_line(tmp_path, content, expected):
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SentimentError, match=r"own\.toml") as raised:
        read(train_lstm, "--like", path)
    assert raised.value.status == 1
    assert_one_line(raised.value)
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("EPOCHS = 0", "--epochs"),
        ("EPOCHS = 1979-05-27", "--epochs"),
        ("EPOCHS = 0x" + "f" * 9_999, "--epochs"),
        ("LEARNING_RATE = 1" + "0" * 400, "--learning-rate"),
        ("NAME = 5", "--name"),
        ('NAME = "' + "x" * 300 + '"', "--name"),
        ('WORD_VECTORS = "' + "x" * 300 + '"', "--word-vectors"),
        ('DATA = "' + "x" * 300 + '"', "--data"),
    ],
)
def test_a_wrong_value_in_a_recipe_is_one_line(tmp_path, line, option):
    path = tmp_path / "own.toml"
    path.write_text(f'script = "train_lstm.py"\n[constants]\n{line}\n')
    with pytest.raises(SentimentError, match=option) as raised:
        read(train_lstm, "--like", path)
    assert_one_line(raised.value)


@pytest.fixture
def finished_run(tmp_path, monkeypatch):
    """A function that copies a run to models/own with other constants."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PROJECT / "models" / "lstm", tmp_path / "models" / "own")

    def write(**changes):
        path = tmp_path / "models" / "own" / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return path.parent

    return write


def test_a_finished_run_gives_its_constants_and_the_data_that_it_read(finished_run):
    recorded = {**read(train_lstm), "EPOCHS": 7, "LSTM_UNITS": 5, "DATA": "auto"}
    recorded = json.loads(json.dumps(recorded))  # an added tuple becomes a list
    folder = finished_run(constants=recorded)
    expected = {**recorded, "DATA": "imdb-package"}
    for name in ("own", folder, "models/own/"):
        settings = parse(train_lstm, "--like", name, **OTHER)
        assert settings.constants == settings.options == expected
        assert settings.like.resolve() == folder
    assert read(train_lstm, "--like", "own", "--data", "auto", **OTHER)["DATA"] == "auto"


def test_a_run_of_another_version_of_the_script(finished_run, capsys):
    recorded = read(train_lstm)
    del recorded["EPOCHS"]
    finished_run(constants=recorded)
    assert read(train_lstm, "--like", "own", **OTHER)["EPOCHS"] == 7
    (line,) = capsys.readouterr().out.splitlines()
    assert "EPOCHS = 7" in line
    finished_run(constants={**recorded, "HEADS": 4})
    with pytest.raises(SentimentError, match=r"own.*HEADS") as raised:
        read(train_lstm, "--like", "own")
    assert_one_line(raised.value)
    finished_run(constants=recorded, script="train_cnn_lstm.py")
    with pytest.raises(SentimentError, match=r"own.*train_cnn_lstm\.py") as raised:
        read(train_lstm, "--like", "own")
    assert_one_line(raised.value)


@pytest.mark.parametrize("name", ["none", "", "models", "x" * 999])
def test_a_run_that_does_not_exist_is_one_line(finished_run, name):
    with pytest.raises(SentimentError) as raised:
        read(train_lstm, "--like", name)
    assert raised.value.status == 1
    assert_one_line(raised.value)


def test_a_checkpoint_sets_nothing_but_constants(tmp_path):
    for name in ("build_model", "Run", "keras", "__name__"):
        write_checkpoint(tmp_path, make_state(options={"EPOCHS": 7, name: 5}))
        with pytest.raises(SentimentError, match=name) as raised:
            read(train_lstm, "--resume", tmp_path)
        assert_one_line(raised.value)
    write_checkpoint(tmp_path, make_state(options={"EPOCHS": 7}))
    settings = parse(train_lstm, "--resume", tmp_path)
    assert settings.constants == {**read(train_lstm), "EPOCHS": 7}
    assert settings.resumed == tmp_path


@pytest.mark.slow
def test_wrong_usage_of_a_real_script(tmp_path):
    finished = run_script("train_lstm.py", *CONSTANTS, "--epochs", "0", folder=tmp_path)
    assert finished.returncode == 2
    assert_one_line(finished.stderr.removesuffix("\n"))
    assert finished.stderr.startswith("train_lstm.py: ") and "--epochs" in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_learning_rate_edited_to_a_whole_number_is_a_float():
    script = {**vars(train_lstm), "LEARNING_RATE": 1}
    assert isinstance(parse_constants(script, []).constants["LEARNING_RATE"], float)
    assert isinstance(script["LEARNING_RATE"], float)

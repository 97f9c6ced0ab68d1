"""Constants are options, and what cannot be used is one line with status 2."""

import re
from pathlib import Path

import train_cnn_lstm
import train_lstm
import train_naive_bayes_lstm
from sentiment.settings import read_settings
from tests.conftest import run_script

import pytest

SCRIPTS = [train_lstm, train_cnn_lstm, train_naive_bayes_lstm]


def read(script, *arguments):
    return read_settings(dict(vars(script)), list(arguments)).constants


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_lists_every_constant_with_its_comment(script, capsys):
    with pytest.raises(SystemExit) as stopped:
        read(script, "--help")
    assert stopped.value.code == 0
    listed = " ".join(capsys.readouterr().out.split())
    source = Path(script.__file__).read_text().splitlines()
    constants = [re.fullmatch(r"([A-Z_]+) = (\S+)  # (.+)", line) for line in source]
    constants = [match for match in constants if match]
    assert [match[1] for match in constants] == list(read(script))
    for name, default, comment in (match.groups() for match in constants):
        assert "--" + name.lower().replace("_", "-") in listed
        assert comment in listed.replace("- ", "-") or comment in listed
        assert f"(default: {eval(default)})" in listed


def test_an_option_changes_the_constant_and_nothing_else():
    script = dict(vars(train_lstm))
    settings = read_settings(
        script, ["--lstm-units", "64", "--no-mask-padding", "--seed=0"]
    ).constants
    assert script["LSTM_UNITS"] == settings["LSTM_UNITS"] == 64
    assert settings == {**read(train_lstm), "LSTM_UNITS": 64, "MASK_PADDING": False, "SEED": 0}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epoch", "3"], "unrecognized arguments: --epoch 3"),
        (["--lstm-units", "many"], "argument --lstm-units: invalid int value: 'many'"),
        (["--lstm-units", "1.5"], "argument --lstm-units: invalid int value: '1.5'"),
        (["--epochs", "0"], "--epochs must be a whole number from 1 to 10,000, not 0"),
        (["--lstm-units", "-5"], "--lstm-units must be a whole number from 1 to 10,000, not -5"),
        (["--batch-size", "9999999999"], "--batch-size must be a whole number from 1 to 25,000"),
        (
            ["--vocabulary-size", "3"],
            "--vocabulary-size must be a whole number from 5 to 1,000,000",
        ),
        (
            ["--dropout-after-lstm", "1.5"],
            "--dropout-after-lstm must be a number from 0 to less than 1",
        ),
        (["--dropout-after-embedding", "nan"], "--dropout-after-embedding must be a number from 0"),
        (["--learning-rate", "0"], "--learning-rate must be a number greater than 0, not 0.0"),
        (["--learning-rate", "inf"], "--learning-rate must be a number greater than 0, not inf"),
        (["--seed", "-1"], "--seed must be a whole number from 0 to"),
        (
            ["--data", "imbd"],
            "--data must be auto, imdb, imdb-package, or an existing folder, .csv or .npz file",
        ),
        (["--keep-weights", "first"], "--keep-weights must be one of best, last"),
        (["--name", "../elsewhere"], "--name must be a folder name of letters"),
        (["--name", ""], "--name must be a folder name of letters"),
        (["--name", ".."], "--name must be a folder name of letters"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(script, arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        read(script, *arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "edited",
    [
        {"EPOCHS": 0},
        {"EPOCHS": "3"},
        {"EPOCHS": True},
        {"VOCABULARY_SIZE": 1e4},
        {"LEARNING_RATE": -1},
        {"NAME": "a/b"},
    ],
)
def test_a_constant_edited_to_nonsense_is_refused_too(edited, capsys):
    with pytest.raises(SystemExit) as stopped:
        read_settings({**vars(train_lstm), **edited}, [])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_fraction_edited_to_a_whole_number_stays_a_fraction():
    script = {**vars(train_lstm), "DROPOUT_AFTER_LSTM": 0}
    assert (
        read_settings(script, ["--dropout-after-lstm", "0.3"]).constants["DROPOUT_AFTER_LSTM"]
        == 0.3
    )


def test_bad_usage_of_the_real_script(tmp_path):
    finished = run_script("train_lstm.py", "--epochs", "0", folder=tmp_path)
    assert finished.returncode == 2
    (message,) = finished.stderr.splitlines()
    assert message.startswith("train_lstm.py: --epochs must be a whole number from 1")
    assert list(tmp_path.iterdir()) == []

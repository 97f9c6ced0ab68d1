"""Nothing that is read is run, names stay in models/, and a download is checked."""

import io
import json
import pickle
import re
import shutil
import zipfile

import plot_history
import train_lstm
from sentiment import own_data, runs
from sentiment.data import load_data
from sentiment.settings import read_settings
from tests.conftest import PROJECT

import numpy as np
import pytest
from keras.src.datasets import imdb


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("whole", [True, False])
def test_code_in_an_npz_file_is_refused(whole, tmp_path):
    made = tmp_path / "made"
    contents = np.empty(2, dtype=object)
    contents[:] = [[1, 2], Attack(made)]
    array = io.BytesIO()
    np.save(array, contents, allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        attack = array.getvalue() if whole else pickle.dumps(Attack(made))
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", attack)
    with pytest.raises(SystemExit) as stopped:
        own_data.read(str(tmp_path / "own.npz"))
    assert "\n" not in str(stopped.value)
    assert not made.exists()


def test_code_in_a_checkpoint_is_refused(tmp_path):
    contents = np.empty(1, dtype=object)
    contents[0] = Attack(tmp_path / "made")
    np.savez(tmp_path / "checkpoint.npz", state=contents)
    with pytest.raises(SystemExit) as stopped:
        runs.find_unfinished("train_lstm.py", str(tmp_path))
    assert "is damaged" in str(stopped.value) and "\n" not in str(stopped.value)
    assert not (tmp_path / "made").exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", [[], ["--markdown"], ["--csv"]])
def test_control_characters_of_a_run_are_not_printed(options, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "models" / "red\x1b[31m"
    shutil.copytree(PROJECT / runs.MODELS / "lstm", folder)
    record = json.loads((folder / "run.json").read_text())
    record["data"]["source"] = "\x1b[2J"
    (folder / "run.json").write_text(json.dumps(record))
    shutil.copytree(PROJECT / runs.MODELS / "cnn_lstm", tmp_path / "models" / "with other data")
    (tmp_path / "models" / "\x07").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["plot_history.py", *options])
    plot_history.main()
    printed = capsys.readouterr()
    assert "red" in printed.out and "Left out" in printed.err and "not comparable" in printed.err
    assert (printed.out + printed.err).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "name", ["../lstm", "/tmp/lstm", "a/b", "a\\b", "..", ".hidden", "", "a\n"]
)
def test_names_cannot_leave_the_folder_of_runs(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        read_settings(dict(vars(train_lstm)), ["--name", name])
    assert stopped.value.code == 2
    assert "--name must be a folder name" in capsys.readouterr().err


def test_what_is_downloaded_is_checked(monkeypatch):
    asked = []

    def refuse(*_, **options):
        asked.append(options["file_hash"])
        raise OSError("no network")

    monkeypatch.setattr(imdb, "get_file", refuse)
    with pytest.raises(SystemExit):
        load_data("imdb", 100, 100)
    assert asked
    assert all(re.fullmatch("[0-9a-f]{32,64}", checksum) for checksum in asked)

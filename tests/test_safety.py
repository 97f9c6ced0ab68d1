"""Code in files is never executed, names stay in models/, and a download is verified."""

import io
import json
import pickle
import re
import shutil
import zipfile

import numpy as np
import pytest
from keras.src.datasets import imdb

import plot_history
import train_lstm
from sentiment.constants import parse_constants
from sentiment.data.dataset import load_data
from sentiment.data.files import read_files
from sentiment.errors import SentimentError
from sentiment.runs.checkpoint import find_unfinished
from tests.conftest import PROJECT, assert_one_line


class Attack:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def save_with_attack(attack):
    """Return an .npy file, one of whose elements is an attack."""
    elements = np.empty(2, dtype=object)
    elements[:] = [[1, 2], attack]
    file = io.BytesIO()
    np.save(file, elements, allow_pickle=True)
    return file.getvalue()


def attack_after_header(attack):
    """Return an .npy file whose header announces objects, with an attack in their place."""
    file = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + pickle.dumps(attack)


@pytest.mark.parametrize("write", [save_with_attack, attack_after_header, pickle.dumps])
def test_code_in_an_npz_file_is_not_executed(write, tmp_path):
    created = tmp_path / "created"
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", write(Attack(created)))
    with pytest.raises(SentimentError) as raised:
        read_files(str(tmp_path / "own.npz"))
    assert_one_line(raised.value)
    assert write is pickle.dumps or "refused" in str(raised.value)
    assert not created.exists()


def test_code_in_a_checkpoint_is_not_executed(tmp_path):
    elements = np.empty(1, dtype=object)
    elements[0] = Attack(tmp_path / "created")
    np.savez(tmp_path / "checkpoint.npz", state=elements)
    with pytest.raises(SentimentError, match=r"checkpoint\.npz is damaged") as raised:
        find_unfinished("train_lstm.py", str(tmp_path))
    assert_one_line(raised.value)
    assert not (tmp_path / "created").exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", [[], ["--markdown"], ["--csv"]])
def test_control_characters_of_a_run_are_not_printed(options, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "models" / "red\x1b[31m"
    shutil.copytree(PROJECT / "models" / "lstm", folder)
    record = json.loads((folder / "run.json").read_text())
    record["data"]["source"] = "\x1b[2J"
    record["constants"]["LSTM_UNITS"] = "\x1b[2J"
    (folder / "run.json").write_text(json.dumps(record))
    shutil.copytree(PROJECT / "models" / "cnn_lstm", tmp_path / "models" / "with other data")
    (tmp_path / "models" / "\x07").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["plot_history.py", *options])
    plot_history.main()
    printed = capsys.readouterr()
    assert "red" in printed.out and "Skipped" in printed.err and "not comparable" in printed.err
    assert (printed.out + printed.err).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "name", ["../lstm", "/tmp/lstm", "a/b", "a\\b", "..", ".hidden", "", "a\n", "a" * 101]
)
def test_names_cannot_point_outside_models(name):
    with pytest.raises(SentimentError, match="--name") as raised:
        parse_constants(dict(vars(train_lstm)), ["--name", name])
    assert raised.value.status == 2
    assert_one_line(raised.value)


def test_a_recipe_cannot_point_outside_models(tmp_path):
    recipe = (PROJECT / "recipes" / "tokens_100.toml").read_text()
    assert '"tokens_100"' in recipe
    (tmp_path / "own.toml").write_text(recipe.replace('"tokens_100"', '"../own"'))
    with pytest.raises(SentimentError, match="--name"):
        parse_constants(dict(vars(train_lstm)), ["--like", str(tmp_path / "own.toml")])


def test_a_download_is_verified(monkeypatch, tmp_path):
    hashes = {}

    def get_file(fname, **options):
        hashes[fname] = options["file_hash"]
        (tmp_path / fname).write_text("{}")
        return str(tmp_path / fname)

    monkeypatch.setattr(imdb, "get_file", get_file)
    with pytest.raises(SentimentError):
        load_data("imdb", 100, 100)
    assert set(hashes) == {"imdb.npz", "imdb_word_index.json"}
    assert all(re.fullmatch("[0-9a-f]{32,64}", checksum) for checksum in hashes.values())

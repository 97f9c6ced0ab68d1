"""Training and prediction in a notebook, executed by a real kernel."""

import os

import pytest

from sentiment.data.imdb import read_package
from tests.conftest import PROJECT
from tests.test_files import write_csv

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

CELLS = [
    """
import train_lstm

if train_lstm.keras.backend.backend() == "tensorflow":
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)  # tracing takes longer than these trainings

train_lstm.DATA = "own.csv"
train_lstm.EPOCHS = 1
train_lstm.MAXIMUM_TOKENS = 20
train_lstm.LSTM_UNITS = 4
folder = train_lstm.main()
""",
    "again = train_lstm.main(['--epochs', '2'])",
    """
from sentiment.inference import load_predictor

predictor = load_predictor(again)
words, probabilities, changes = predictor.explain("A wonderful film.")
print(folder.name, again.name, predictor.predict(["Good.", "Bad."]).shape, words)
""",
    "train_lstm.main(['--patience', 'x'])",
    "assert folder.is_dir() and again.is_dir()",
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What each cell displays."""
    folder = tmp_path_factory.mktemp("notebook")
    texts, labels = read_package()
    write_csv(folder / "own.csv", texts[::100], labels[::100])
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "SENTIMENT_CACHE": "cache"}
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment)
    return [cell.outputs for cell in notebook.cells]


def read_text(cell):
    return "".join(output.text for output in cell if output.output_type == "stream")


@pytest.mark.slow
def test_a_training_displays_its_progress_and_its_curves(outputs):
    for cell in outputs[:2]:
        assert not [output for output in cell if output.output_type == "error"]
        assert "Test accuracy" in read_text(cell)
        images = [output for output in cell if "image/png" in output.get("data", {})]
        assert len(images) == 1
    assert "Epoch 2/2" in read_text(outputs[1])


@pytest.mark.slow
def test_a_run_is_loaded_and_predicts(outputs):
    assert "lstm lstm-2 (2,) ['A', 'wonderful', 'film']" in read_text(outputs[2])


@pytest.mark.slow
def test_a_mistake_ends_the_cell_and_not_the_kernel(outputs):
    (error,) = (output for output in outputs[3] if output.output_type == "error")
    assert error.ename == "SentimentError" and "--patience" in error.evalue
    assert outputs[4] == []

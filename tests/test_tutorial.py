"""tutorial.ipynb: what is stored in it, and that all of its cells run."""

import os
import re

import pytest

from tests.conftest import PROJECT

nbformat = pytest.importorskip("nbformat")

NOTEBOOK = PROJECT / "tutorial.ipynb"
LARGEST = 3_000_000  # bytes
FEWEST_FIGURES = 7  # a section may get more
EXERCISES = 6
SMALL_SETTINGS = """
MAXIMUM_TOKENS = 10
EPOCHS = 1
SMALL_SET_STEP = 200
SMALL_SET_EPOCHS = 1

# The same data is read once. Without tracing, in large batches and from random word vectors, the
# trainings take a few seconds.
import sentiment

import functools

import tensorflow

import sentiment.data

sentiment.data.load_data = functools.cache(sentiment.data.load_data)

import train_cnn_lstm
import train_lstm

tensorflow.config.run_functions_eagerly(True)
train_cnn_lstm.BATCH_SIZE = train_lstm.BATCH_SIZE = 1_000
train_cnn_lstm.WORD_VECTORS = train_lstm.WORD_VECTORS = "none"
"""


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def all_outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def count_figures(notebook):
    return sum("image/png" in output.get("data", {}) for output in all_outputs(notebook))


def find_settings(notebook):
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    return cell


def test_the_stored_outputs_are_those_of_one_complete_run(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        if re.search(r"print\(|plt\.show\(|main\(\)|^pd\.DataFrame|^Image", cell.source, re.M):
            assert cell.outputs, cell.source
    for output in all_outputs(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
    assert count_figures(notebook) >= FEWEST_FIGURES


def test_the_notebook_is_small_and_names_no_folder_of_the_machine_it_ran_on(notebook):
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text.encode()) < LARGEST
    absolute = r"/(?:home|root|tmp|usr|opt|Users|work|mnt|content|private)/|\b[A-Z]:\\\\"
    images = re.compile(r'"image/png": "[^"]*"')
    assert not re.search(absolute, images.sub("", text))
    assert notebook.metadata.kernelspec.name == "python3"


def test_each_exercise_has_an_answer(notebook):
    exercises = [cell.source for cell in notebook.cells if cell.source.startswith("### ")]
    assert len(exercises) == EXERCISES
    for exercise in exercises:
        _, answer = exercise.split("<details><summary>Answer</summary>")
        assert re.search(r"\d\d\.\d", answer) and answer.rstrip().endswith("</details>")
        for code in re.findall(r"```python\n(.*?)```", exercise, re.S):
            compile(code, "exercise", "exec")


def test_links_lead_to_sections_and_files(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = {heading.replace(" ", "-") for heading in re.findall(r"^#+ (.*)", text, re.M)}
    for link in re.findall(r"\]\(([^)]+)\)", text):
        name, _, anchor = link.partition("#")
        assert (PROJECT / name).is_file() if name else anchor in headings, link


@pytest.mark.extended
def test_all_cells_run(notebook, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    for package in ("ipykernel", "sklearn"):
        pytest.importorskip(package)
    executed = nbformat.from_dict(notebook)
    for cell in code_cells(executed):
        cell.outputs = []
    find_settings(executed).source = SMALL_SETTINGS
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    client = nbclient.NotebookClient(
        executed,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute(env=environment)  # raises an error if a cell fails
    assert count_figures(executed) >= FEWEST_FIGURES
    runs = {path.name for path in (tmp_path / "models").iterdir()}
    assert runs and all(name.startswith("tutorial") for name in runs)

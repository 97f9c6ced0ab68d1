"""Check the figures of README, docs, models and docstrings against records and logs.

    python -m benchmarks.check_docs

``make check-docs`` runs it. It prints a line for each figure that differs, with what to change, and
then exits with status 1. It reads files only: no script is run, and nothing needs to be installed.
"""

import ast
import json
import re
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

from benchmarks.check_results import (
    check_baselines,
    check_calibration,
    check_docstrings,
    check_evaluations,
    check_models,
    check_refit,
    check_sentences,
    check_short_texts,
    check_tables_of_results,
    compare,
    name_of,
)
from benchmarks.networks import check_networks

PROJECT = Path(__file__).resolve().parents[1]
SEEDS = [1, 2, 3]
NOT_COMPARED = ("SEED", "DATA")  # constants that may differ between a recipe and its records
MODELS = ("lstm", "cnn_lstm", "naive_bayes_lstm")  # the trained networks that come with the project


class Files:
    """The project's files that are compared."""

    def __init__(self, project):
        self.project = project
        self.records = defaultdict(list)  # of each recipe, by its name
        for path in sorted(project.glob("benchmarks/recipes/*/run.json")):
            self.records[re.sub(r"-\d+$", "", path.parent.name)].append(json.loads(_read(path)))
        self.sentences = defaultdict(list)  # runs of each script that were trained on sentences
        for path in sorted(project.glob("benchmarks/sentences/*/run.json")):
            self.sentences[re.sub(r"-\d+$", "", path.parent.name)].append(json.loads(_read(path)))
        self.refit = defaultdict(list)  # runs of each script with refit
        for path in sorted(project.glob("benchmarks/refit/*/run.json")):
            self.refit[re.sub(r"-\d+$", "", path.parent.name)].append(json.loads(_read(path)))
        self.short_texts = json.loads(self.read("benchmarks/evaluation/short_texts.json"))
        self.models = {name: json.loads(self.read(f"models/{name}/run.json")) for name in MODELS}
        self.baselines = {
            path.stem: json.loads(_read(path))
            for path in sorted(project.glob("benchmarks/baselines/*.json"))
        }
        self.evaluations = {
            split: json.loads(self.read(f"benchmarks/evaluation/{split}.json"))
            for split in ("validation", "test")
        }
        self.recipes = {
            path.stem: tomllib.loads(_read(path)) for path in sorted(project.glob("recipes/*.toml"))
        }
        # A user's own scripts are not checked, only those of records and of the README's table.
        scripts = {record["script"] for records in self.records.values() for record in records}
        scripts |= set(re.findall(r"^\| `(train_\w+\.py)` \|", self.read("README.md"), re.M))
        self.scripts = {name: ast.parse(self.read(name)) for name in sorted(scripts)}

    def read(self, name):
        return _read(self.project / name)

    def rows(self, name):
        """Return the cells of each table row of a file in Markdown."""
        lines = self.read(name).splitlines()
        return [_cells(line) for line in lines if line.startswith("|")]


def check_records(files):
    """Yield what is missing: each recipe and each script has a record for each seed."""
    scripts = [name_of(script) for script in files.scripts]
    for folder, names, records in (
        ("recipes", [*files.recipes, *scripts], files.records),
        ("refit", scripts, files.refit),
    ):
        for name in names:
            seeds = sorted(record["constants"]["SEED"] for record in records.get(name, []))
            if seeds != SEEDS:
                yield (
                    f"benchmarks/{folder}: {name} has records of the seeds {seeds}, not {SEEDS}: "
                    "train it with these seeds and add the run folders"
                )


def check_recipes(files):
    """Yield recipes that don't name all constants, or whose records have other ones."""
    for name, recipe in files.recipes.items():
        path, constants = f"recipes/{name}.toml", recipe["constants"]
        if recipe["script"] not in files.scripts:
            yield f"{path}: its script is {recipe['script']}, which doesn't exist: name another one"
            continue
        known = _read_constants(files.scripts[recipe["script"]])
        for constant in sorted(known - set(constants)):
            yield f"{path}: {constant} of {recipe['script']} is missing: add it"
        for constant in sorted(set(constants) - known):
            yield f"{path}: {constant} is no constant of {recipe['script']}: remove it"
        for record in files.records[name]:
            source = f"the record of seed {record['constants']['SEED']} in benchmarks/recipes"
            yield from compare(path, "script", recipe["script"], record["script"], source)
            for constant, value in record["constants"].items():
                if constant in constants and constant not in NOT_COMPARED:
                    yield from compare(path, constant, constants[constant], value, source)


def check_commands(files):
    """Yield commands and printed lines in README.md and docs that records or recipes contradict."""
    for file in ("README.md", *_list_docs(files.project)):
        text = files.read(file)
        for name, stated in re.findall(r"models/(\w+), validation accuracy ([\d.]+%)", text):
            if name in files.models:
                expected = f"{100 * files.models[name]['validation']['accuracy']:.1f}%"
                source = f"models/{name}/run.json"
                yield from compare(file, f"printed accuracy of {name}", stated, expected, source)
        for script, name in re.findall(r"python (train_\w+\.py) --like recipes/(\w+)", text):
            path = f"recipes/{name}.toml"
            if name in files.recipes:
                expected = files.recipes[name]["script"]
                yield from compare(file, f"script of recipes/{name}", script, expected, path)
            else:
                yield f"{file}: {path} doesn't exist: name a recipe that does"
    for split, pattern in (
        ("test", r"Test accuracy +([\d.]+%) on"),
        ("validation", r"epoch \d+, validation accuracy ([\d.]+%)"),
    ):
        (record,) = (run for run in files.records["lstm"] if run["constants"]["SEED"] == 1)
        expected = f"{100 * record[split]['accuracy']:.2f}%"
        for stated in re.findall(pattern, files.read("README.md")):
            what = f"printed {split} accuracy"
            yield from compare("README.md", what, stated, expected, "benchmarks/recipes/lstm")


def check_speed(files):
    """Yield rows of docs/speed.md that don't stand in a table of benchmarks/speed.md."""
    log = _read_tables(files.read("benchmarks/speed.md"))
    for table in _read_tables(files.read("docs/speed.md")):
        candidates = [other for other in log if other[0] == table[0]]
        if any(set(table) <= set(other) for other in candidates):
            continue
        closest = max(candidates, key=lambda other: len(set(table) & set(other)), default=[])
        for row in table:
            if row not in closest:
                same = [other for other in closest if _cells(other)[0] == _cells(row)[0]]
                yield (
                    f"docs/speed.md: the row {row} differs from benchmarks/speed.md, which says "
                    f"{same[0] if same else 'nothing about it'}: copy it from there"
                )


def check_ablations(files):
    """Yield figures of docs/accuracy.md that are no rounded figure of a log."""
    logs = files.read("benchmarks/accuracy.md") + files.read("benchmarks/tutorial.md")
    log = re.findall(r"([\d.]+) ± ([\d.]+)", logs)
    text = re.sub(r"(?m)^\| `train_.*$", "", files.read("docs/accuracy.md"))  # see check_refit
    for stated in re.findall(r"([\d.]+) ± ([\d.]+)", text):
        digits = [len(figure.partition(".")[2]) for figure in stated]
        if not any(
            stated == tuple(f"{float(x):.{n}f}" for x, n in zip(pair, digits, strict=True))
            for pair in log
        ):
            yield (
                f"docs/accuracy.md: {' ± '.join(stated)} is no figure of benchmarks/accuracy.md: "
                "round the one that is meant"
            )


def check_guarantees(files):
    """Yield tests that docs/guarantees.md names and that don't exist."""
    file = "docs/guarantees.md"
    tests = {
        f"tests/{path.name}": set(re.findall(r"^ *def (test_\w+)\(", _read(path), re.M))
        for path in files.project.glob("tests/test_*.py")
    }
    rows = [cells for cells in files.rows(file) if cells[0] not in ("guarantee", "---")]
    for cells in rows:
        row = " ".join(cells)
        paths = re.findall(r"tests/\w+\.py", row)
        if not paths:
            yield f"{file}: {cells[0]!r} names no test: add the test that checks it"
        for path in sorted(set(paths) - set(tests)):
            yield f"{file}: {path} doesn't exist: name the file that has the test now"
        for test in re.findall(r"\b(test_\w+)\b(?!\.py)", row):
            if not any(test in tests.get(path, ()) for path in paths):
                found = [path for path, names in tests.items() if test in names]
                where = (
                    f"{found[0]} has it: write that" if found else "no file has it: name another"
                )
                yield f"{file}: {' or '.join(paths)} has no {test}, but {where}"


def _read(path):
    return path.read_text(encoding="utf-8")


def _cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _list_docs(project):
    return [f"docs/{path.name}" for path in sorted(project.glob("docs/*.md"))]


def _read_constants(tree):
    """Return the names of a script's constants."""
    targets = [node.targets[0] for node in tree.body if isinstance(node, ast.Assign)]
    return {target.id for target in targets if isinstance(target, ast.Name) and target.id.isupper()}


def _read_tables(text):
    """Return the tables of a file in Markdown, each a list of rows."""
    return [block.splitlines() for block in re.findall(r"(?:^\|.*\n?)+", text, re.M)]


CHECKS = (
    check_recipes,
    check_tables_of_results,
    check_baselines,
    check_docstrings,
    check_models,
    check_refit,
    check_sentences,
    check_short_texts,
    check_calibration,
    check_evaluations,
    check_commands,
    check_speed,
    check_ablations,
    check_guarantees,
    check_networks,
)


def main():
    try:
        files = Files(PROJECT)
        mismatches = list(check_records(files))
        if not mismatches:  # the other checks take their means
            mismatches = [line for check in CHECKS for line in check(files)]
    except FileNotFoundError as error:
        name = Path(error.filename).relative_to(PROJECT)
        mismatches = [f"{name}: the file is missing: restore it, or change this check"]
    for line in mismatches:
        print(line, file=sys.stderr)
    if mismatches:
        sys.exit(1)
    groups = (*files.records.values(), *files.refit.values(), files.models, files.baselines)
    records = sum(map(len, groups))
    print(f"README and docs agree with {records} records.")


if __name__ == "__main__":
    main()

"""Train the networks of docs/networks.md, as the diffs there change train_lstm.py.

    python -m benchmarks.networks           all of them, three seeds each
    python -m benchmarks.networks gru       one of them

The runs go to benchmarks/networks; ``python plot_history.py benchmarks/networks`` compares them.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
SCRIPT = PROJECT / "train_lstm.py"
PAGE = PROJECT / "docs" / "networks.md"
RUNS = PROJECT / "benchmarks" / "networks"
RECORDED = ("run.json", "history.csv")  # what is kept of a run


def read_diffs(page: str) -> dict[str, str]:
    """Return the diff of each section of a page that has one, by the section's name."""
    sections = re.findall(r"^## (.+)\n(?:(?!^## )(?s:.))*?^```diff\n((?s:.)*?)^```", page, re.M)
    return {slugify(title): diff for title, diff in sections}


def apply_diff(diff: str, source: str) -> str:
    """Return a script as a diff changes it.

    Raises:
        ValueError: if what the diff changes doesn't occur in the script exactly once.
    """
    lines = diff.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    if source.count(old) != 1:
        raise ValueError(f"the script doesn't have these lines once:\n{old}")
    return source.replace(old, new)


def check_networks(files):
    """Yield diffs that don't fit train_lstm.py, and rows that differ from the recorded runs."""
    page, source = "docs/networks.md", files.read("train_lstm.py")
    rows = {
        slugify(re.split(r"\](?=\()|:", cells[0])[0].strip("[")): cells
        for cells in files.rows(page)
    }
    diffs = read_diffs(files.read(page))
    for name, diff in diffs.items():
        try:
            apply_diff(diff, source)
        except ValueError as error:
            yield f"{page}: the diff of {name} doesn't fit: {error}"
    for name in ("lstm", *diffs):
        expected = describe_runs(files.project, name)
        if rows.get(name, [""])[1:] != expected:
            yield f"{page}: the row of {name} must end with | {' | '.join(expected)} |"


def describe_runs(project: Path, name: str) -> list[str]:
    """Return parameters, validation and test accuracy of a network's recorded runs."""
    runs = [
        json.loads(path.read_text(encoding="utf-8"))
        for folder in ("networks", "recipes")
        for path in project.glob(f"benchmarks/{folder}/*/run.json")
        if re.fullmatch(rf"{name}(-\d+)?", path.parent.name)
    ]
    cells = [f"{runs[0]['parameters']:,}" if runs else "missing"]
    for split in ("validation", "test"):
        values = [100 * run[split]["accuracy"] for run in runs]
        if len(values) > 1:
            cells.append(f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f} %")
    return cells


def slugify(title: str) -> str:
    """Return a section's title as the name of its runs."""
    return re.sub(r"\W+", "_", title.lower())


def main():
    diffs = read_diffs(PAGE.read_text(encoding="utf-8"))
    for name in sys.argv[1:] or diffs:
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder, SCRIPT.name)
            source = SCRIPT.read_text(encoding="utf-8")
            script.write_text(apply_diff(diffs[name], source), encoding="utf-8")
            options = ["--name", name, "--seeds", "1,2,3", "--data", "imdb-package"]
            environment = {"PYTHONPATH": str(PROJECT), "SENTIMENT_MODELS": str(RUNS)}
            command = [sys.executable, str(script), *options]
            subprocess.run(command, env={**os.environ, **environment}, check=True)
        for path in RUNS.glob("*/*"):
            if path.name not in RECORDED:
                path.unlink()


if __name__ == "__main__":
    main()

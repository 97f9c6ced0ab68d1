"""Compare trainings: overlay their curves in one plot, and print a table of them.

    python plot_history.py                          all runs in models/
    python plot_history.py lstm cnn_lstm-2          these runs, or any folder or history file
    python plot_history.py --markdown               the table for a README

Runs that differ only in their seed are shown as one, with mean and standard deviation.
"""

import json
import statistics
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import pandas

from sentiment.cli import ArgumentParser, run
from sentiment.console import strip_control_characters
from sentiment.errors import SentimentError
from sentiment.plots import draw_comparison
from sentiment.runs.atomic import write_atomically
from sentiment.runs.folder import MODELS, exists
from sentiment.runs.record import RunRecord, find_runs, read_record

# Constants that don't change the network or its training. The data has its own column.
NOT_COMPARED = ("NAME", "SEED", "DATA")
IMAGE_FORMATS = (".png", ".svg", ".pdf", ".jpg")


@dataclass
class Group:
    """Runs that differ only in their seed.

    Attributes:
        runs: the runs.
        differences: the constants in which they differ from other groups.
        is_comparable: whether they used the same data as most groups.
    """

    runs: list[RunRecord]
    differences: str = ""
    is_comparable: bool = True

    @property
    def metadata(self) -> dict:
        return self.runs[0].metadata

    @property
    def name(self) -> str:
        return strip_control_characters(self.runs[0].name)

    @property
    def title(self) -> str:
        seeds = f" ({len(self.runs)} seeds)" if len(self.runs) > 1 else ""
        return self.name + seeds

    @property
    def constants(self) -> dict:
        constants = self.metadata.get("constants", {})
        return {name: value for name, value in constants.items() if name not in NOT_COMPARED}

    @property
    def network(self) -> str:
        script = strip_control_characters(Path(self.metadata.get("script", "")).stem)
        return script.removeprefix("train_").replace("_", "-").upper() or "unknown"

    @property
    def data(self) -> str:
        data = self.metadata.get("data")
        if not data:
            return "unknown"
        counts = "{training:,} training, {validation:,} validation, {test:,} test".format(**data)
        return strip_control_characters(f"{data['source']} ({counts})")

    @property
    def validation_accuracies(self) -> list[float]:
        if self.metadata:
            return [record.metadata["validation"]["accuracy"] for record in self.runs]
        accuracies = self.runs[0].history.get("val_accuracy")
        return [accuracies[self.best_epochs[0] - 1]] if accuracies else []

    @property
    def test_accuracies(self) -> list[float]:
        return [
            record.metadata["test"]["accuracy"]
            for record in self.runs
            if record.metadata.get("test")
        ]

    @property
    def best_epochs(self) -> list[int]:
        return [
            record.metadata["best_epoch"] if record.metadata else find_best_epoch(record.history)
            for record in self.runs
        ]

    @property
    def seconds(self) -> float | None:
        seconds = [record.metadata["seconds_per_epoch"] for record in self.runs if record.metadata]
        return statistics.median(seconds) if seconds else None


def main():
    parser = ArgumentParser(
        prog="plot_history.py", description=__doc__.partition("\n")[0], allow_abbrev=False
    )
    text = (
        "a run's name, its folder, a folder of runs, or a .csv or .json history (default: models/)"
    )
    parser.add_argument("runs", nargs="*", default=[str(MODELS)], metavar="RUN", help=text)
    text = "the plot (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("comparison.png"), help=text)
    layout = parser.add_mutually_exclusive_group()
    layout.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    layout.add_argument("--csv", action="store_true", help="print the table as CSV")
    arguments = parser.parse_args()
    if arguments.output.suffix not in IMAGE_FORMATS:
        parser.error(f"--output must end in one of {', '.join(IMAGE_FORMATS)}")

    groups = group_runs(read_runs(arguments.runs))
    if not groups:
        raise SentimentError("there is nothing to plot; train first, with python train_lstm.py")
    note = mark_incomparable(groups)
    describe_differences(groups)
    groups.sort(key=lambda group: _mean(group.validation_accuracies) or 0, reverse=True)

    if arguments.csv:
        print(make_csv_table(groups).to_csv(index=False, lineterminator="\n"), end="")
    elif arguments.markdown:
        print_markdown(make_table(groups))
    else:
        print(align_left(make_table(groups)).to_string(index=False, justify="left"))
    histories = [(label(group), [record.history for record in group.runs]) for group in groups]
    write_atomically(arguments.output, lambda path: draw_comparison(histories, note, path))
    print(f"{note}\nPlot: {arguments.output}".strip(), file=sys.stderr)


def read_runs(arguments: list[str]) -> list[RunRecord]:
    """Read the runs that are named, and report all else that is found."""
    runs = []
    for argument in arguments:
        path = Path(argument)
        if not exists(path):
            path = MODELS / argument
        for found in find_runs(path):
            try:
                runs.append(read_record(found))
            except ValueError as error:
                _report(f"Skipped {found}: {error}")
    return runs


def group_runs(runs: list[RunRecord]) -> list[Group]:
    """Group the runs that differ only in their seed, without repetitions."""
    groups: dict = {}
    for record in runs:
        group = Group([record])
        # The constants of a history alone are not known, so it is a group of its own.
        same = (group.network, group.constants, group.data, record.metadata.get("parameters"))
        key = json.dumps(same, sort_keys=True) if record.metadata else id(record)
        group = groups.setdefault(key, Group([]))
        seed = record.metadata.get("constants", {}).get("SEED")
        twins = [twin for twin in group.runs if twin.metadata["constants"].get("SEED") == seed]
        if any(twin.history == record.history for twin in twins):
            _report(f"Skipped {record.name}: it repeats {twins[0].name}")
        elif twins:  # another history with the same seed: the network in the script was edited
            groups[id(record)] = Group([record])
        else:
            group.runs.append(record)
    return list(groups.values())


def mark_incomparable(groups: list[Group]) -> str:
    """Mark the groups whose data differs from that of most groups, and return a note on them."""
    known = Counter(group.data for group in groups if group.metadata)
    if not known:
        return ""
    usual, _ = known.most_common(1)[0]
    for group in groups:
        group.is_comparable = group.data == usual
    if all(group.is_comparable for group in groups):
        return ""
    return f"* not comparable: other data than that of the other runs, {usual}"


def describe_differences(groups: list[Group]):
    """Describe in which constants each group differs from most groups."""
    differences: dict[int, list[str]] = {id(group): [] for group in groups}
    for name in dict.fromkeys(name for group in groups for name in group.constants):
        networks = {group.network for group in groups if name in group.constants}
        # Constants of one network alone don't distinguish it from others.
        values = {
            id(group): json.dumps(group.constants.get(name))
            for group in groups
            if group.network in networks
        }
        usual, times = Counter(values.values()).most_common(1)[0]
        for key, value in values.items():
            if times < len(values) and (value != usual or times <= len(values) / 2):
                shown = {"true": "yes", "false": "no", "null": "none"}.get(value, value.strip('"'))
                differences[key].append(f"{name.lower().replace('_', ' ')} {shown}")
    for group in groups:
        group.differences = strip_control_characters(", ".join(differences[id(group)]))


def label(group: Group) -> str:
    """Return the group's text in the legend."""
    mark = "" if group.is_comparable else "* "
    accuracy = format_accuracy(group.validation_accuracies)
    parts = [group.title, *([group.network] if group.metadata else []), group.differences]
    return f"{mark}{accuracy}  {', '.join(filter(None, parts))}"


def make_table(groups: list[Group]) -> pandas.DataFrame:
    """Return the table to read, whose cells are text."""
    rows = []
    for group in groups:
        epochs = sorted(set(group.best_epochs))
        rows.append(
            {
                "Run": group.title,
                "Network": group.network,
                "Parameters": f"{group.metadata['parameters']:,}" if group.metadata else "",
                "Seconds per epoch": "" if group.seconds is None else f"{group.seconds:.1f}",
                "Best epoch": "-".join(map(str, (epochs[0], *epochs[1:][-1:]))),
                "Validation accuracy": format_accuracy(group.validation_accuracies),
                "Test accuracy": format_accuracy(group.test_accuracies),
                "Data": ("" if group.is_comparable else "* ") + group.data,
                "Differences": group.differences,
            }
        )
    return pandas.DataFrame(rows)


def align_left(table: pandas.DataFrame) -> pandas.DataFrame:
    return table.apply(lambda column: column.str.ljust(column.str.len().max()))


def make_csv_table(groups: list[Group]) -> pandas.DataFrame:
    """Return the table to compute with."""
    return pandas.DataFrame(
        {
            "run": group.name,
            "network": group.network,
            "seeds": len(group.runs),
            "parameters": str(group.metadata.get("parameters", "")),
            "seconds_per_epoch": group.seconds,
            "best_epoch": statistics.median(group.best_epochs),
            "validation_accuracy": _mean(group.validation_accuracies),
            "validation_deviation": _deviation(group.validation_accuracies),
            "test_accuracy": _mean(group.test_accuracies),
            "test_deviation": _deviation(group.test_accuracies),
            "data": group.data,
            "comparable": group.is_comparable,
            "differences": group.differences,
        }
        for group in groups
    )


def print_markdown(table: pandas.DataFrame):
    rows = [list(table.columns), ["---"] * len(table.columns), *table.values.tolist()]
    for row in rows:
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")


def find_best_epoch(history: dict[str, list[float]]) -> int:
    """Return the best epoch of a history, counted from 1."""
    for key, best in (("val_loss", min), ("val_accuracy", max), ("loss", min), ("accuracy", max)):
        if key in history:
            return history[key].index(best(history[key])) + 1
    raise AssertionError("read_record returns no history without these")


def format_accuracy(values: list[float]) -> str:
    if not values:
        return "-"
    deviation = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{deviation} %"


def _mean(values):
    return statistics.fmean(values) if values else None


def _deviation(values):
    return statistics.stdev(values) if len(values) > 1 else None


def _report(message):
    print(strip_control_characters(message), file=sys.stderr)


if __name__ == "__main__":
    run(main)

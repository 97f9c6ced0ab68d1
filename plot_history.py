"""Compare trainings: overlay their curves in one picture and print their table.

    python plot_history.py                          all runs in models/
    python plot_history.py lstm cnn_lstm-2          those named, or any folder or history file
    python plot_history.py --markdown               the table for a README

Runs that differ only in their seed are drawn and counted as one.
"""

import csv
import json
import statistics
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sentiment.plots import draw_comparison
from sentiment.runs import MODELS, PastRun, find_runs, read_run, write_whole
from sentiment.settings import OneLineParser
from sentiment.terminal import make_printable

# Constants that make no other network and no other training: the data has its own column.
NOT_COMPARED = ("NAME", "SEED", "DATA")
PICTURE_FORMATS = (".png", ".svg", ".pdf", ".jpg")


@dataclass
class Group:
    """Runs that differ only in their seed."""

    runs: list[PastRun]
    differences: str = ""
    comparable: bool = True

    @property
    def record(self) -> dict:
        return self.runs[0].record

    @property
    def name(self) -> str:
        return make_printable(self.runs[0].name)

    @property
    def title(self) -> str:
        seeds = f" ({len(self.runs)} seeds)" if len(self.runs) > 1 else ""
        return self.name + seeds

    @property
    def constants(self) -> dict:
        return {
            key: value
            for key, value in self.record.get("constants", {}).items()
            if key not in NOT_COMPARED
        }

    @property
    def network(self) -> str:
        script = make_printable(Path(self.record.get("script", "")).stem)
        return script.removeprefix("train_").replace("_", "-").upper() or "unknown"

    @property
    def data(self) -> str:
        data = self.record.get("data")
        if not data:
            return "unknown"
        counts = "{training:,} + {validation:,}, {test:,} tested".format(**data)
        return make_printable(f"{data['source']} ({counts})")

    def measure(self, part: str) -> list[float]:
        """Return the runs' accuracies on the ``validation`` or ``test`` part, as far as known."""
        if self.record:
            return [run.record[part]["accuracy"] for run in self.runs]
        history = self.runs[0].history
        if part == "test" or "val_accuracy" not in history:
            return []
        return [history["val_accuracy"][_find_best_epoch(history) - 1]]

    def best_epochs(self) -> list[int]:
        return [
            run.record["best_epoch"] if run.record else _find_best_epoch(run.history)
            for run in self.runs
        ]

    def seconds(self) -> list[float]:
        return [run.record["seconds_per_epoch"] for run in self.runs if run.record]


def main():
    parser = OneLineParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument(
        "runs", nargs="*", default=[str(MODELS)], metavar="RUN",
        help="a run's name, its folder, a folder of runs, or a history as .csv or .json "
        "(default: all in models/)",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, default=Path("comparison.png"),
        help="the picture (default: %(default)s)",
    )  # fmt: skip
    layout = parser.add_mutually_exclusive_group()
    layout.add_argument("--markdown", action="store_true", help="print the table for a README")
    layout.add_argument("--csv", action="store_true", help="print the table for a spreadsheet")
    options = parser.parse_args()
    if options.output.suffix not in PICTURE_FORMATS:
        parser.error(f"--output must end in one of {', '.join(PICTURE_FORMATS)}")

    groups = group_runs(read_runs(options.runs))
    if not groups:
        raise SystemExit("There is nothing to plot: train first (python train_lstm.py).")
    note = mark_incomparable(groups)
    describe_differences(groups)
    groups.sort(key=lambda group: _mean(group.measure("validation")), reverse=True)

    if options.csv:
        write_csv(groups)
    else:
        print_table(groups, options.markdown)
    histories = [(label(group), [run.history for run in group.runs]) for group in groups]
    write_whole(options.output, lambda path: draw_comparison(histories, note, path))
    print(f"{note}\nPicture: {options.output}".strip(), file=sys.stderr)


def read_runs(arguments: list[str]) -> list[PastRun]:
    """Read the runs that the command line names; say of each other thing why it is left out."""
    runs = []
    for argument in arguments:
        path = Path(argument)
        if not path.exists():
            path = MODELS / argument
        for found in find_runs(path):
            try:
                runs.append(read_run(found))
            except ValueError as error:
                print(make_printable(f"Left out {found}: {error}"), file=sys.stderr)
    return runs


def group_runs(runs: list[PastRun]) -> list[Group]:
    """Group the runs that differ only in their seed; a repetition adds nothing and is left out."""
    groups = {}
    for run in runs:
        group = Group([run])
        # A bare history tells nothing of its constants, so it stands alone.
        same = (group.network, group.constants, group.data, run.record.get("parameters"))
        group = groups.setdefault(json.dumps(same) if run.record else id(run), Group([]))
        seed = run.record.get("constants", {}).get("SEED")
        twins = [twin for twin in group.runs if twin.record["constants"].get("SEED") == seed]
        if twins:
            message = f"Left out {run.name}: it repeats {twins[0].name}"
            print(make_printable(message), file=sys.stderr)
        else:
            group.runs.append(run)
    return list(groups.values())


def mark_incomparable(groups: list[Group]) -> str:
    """Mark the groups whose data is not that of most, and return a sentence about them."""
    known = Counter(group.data for group in groups if group.record)
    if not known:
        return ""
    usual, _ = known.most_common(1)[0]
    for group in groups:
        group.comparable = group.data == usual
    if all(group.comparable for group in groups):
        return ""
    return f"* not comparable: not known to use the same data as the others, {usual}."


def describe_differences(groups: list[Group]):
    """Say of each group in which constants it differs, leaving out what most groups have."""
    differences = {id(group): [] for group in groups}
    for name in dict.fromkeys(name for group in groups for name in group.constants):
        networks = {group.network for group in groups if name in group.constants}
        # Constants that another network alone has tell no runs apart.
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
        group.differences = make_printable(", ".join(differences[id(group)]))


def label(group: Group) -> str:
    """Return the group's text in the legend."""
    mark = "" if group.comparable else "* "
    accuracy = _format_accuracy(group.measure("validation"))
    parts = [group.title, *([group.network] if group.record else []), group.differences]
    return f"{mark}{accuracy}  {', '.join(filter(None, parts))}"


def print_table(groups: list[Group], markdown: bool):
    rows = [
        (
            "Run", "Network", "Parameters", "Seconds per epoch", "Best epoch",
            "Validation accuracy", "Test accuracy", "Data", "What differs",
        )
    ]  # fmt: skip
    for group in groups:
        epochs, seconds = sorted(set(group.best_epochs())), group.seconds()
        rows.append(
            (
                group.title,
                group.network,
                f"{group.record['parameters']:,}" if group.record else "",
                f"{statistics.median(seconds):.1f}" if seconds else "",
                f"{epochs[0]}-{epochs[-1]}" if len(epochs) > 1 else str(epochs[0]),
                _format_accuracy(group.measure("validation")),
                _format_accuracy(group.measure("test")),
                ("" if group.comparable else "* ") + group.data,
                group.differences,
            )
        )
    if markdown:
        rows.insert(1, ["---"] * len(rows[0]))
        for row in rows:
            print("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def write_csv(groups: list[Group]):
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(
        [
            *("run", "network", "seeds", "parameters", "seconds_per_epoch", "best_epoch"),
            *("validation_accuracy", "validation_deviation", "test_accuracy", "test_deviation"),
            *("data", "comparable", "differences"),
        ]
    )
    for group in groups:
        accuracies = []
        for part in ("validation", "test"):
            values = group.measure(part)
            accuracies += [_mean(values) if values else "", _deviation(values)]
        writer.writerow(
            [
                group.name,
                group.network,
                len(group.runs),
                group.record.get("parameters", ""),
                statistics.median(group.seconds()) if group.record else "",
                statistics.median(group.best_epochs()),
                *accuracies,
                group.data,
                group.comparable,
                group.differences,
            ]
        )


def _find_best_epoch(history: dict) -> int:
    for key, best in (("val_loss", min), ("val_accuracy", max), ("loss", min), ("accuracy", max)):
        if key in history:
            return history[key].index(best(history[key])) + 1
    raise AssertionError("read_run lets no history without these pass")


def _format_accuracy(values: list[float]) -> str:
    if not values:
        return "-"
    deviation = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * _mean(values):.1f}{deviation} %"


def _mean(values: list[float]) -> float:
    return statistics.fmean(values) if values else 0.0


def _deviation(values: list[float]):
    return statistics.stdev(values) if len(values) > 1 else ""


if __name__ == "__main__":
    main()

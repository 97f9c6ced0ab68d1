"""Compare trainings: overlay their curves in one plot, and print a table of them.

    python plot_history.py                          all runs in models/
    python plot_history.py lstm cnn_lstm-2          these runs, or any folder or history file
    python plot_history.py --markdown               the table for a README

Runs that differ only in their seed are shown as one, with mean and standard deviation.
"""

import sentiment  # noqa: F401, before Keras: it sets the backend and quiets TensorFlow

import dataclasses
import shutil
import statistics
import sys
from collections import Counter
from pathlib import Path

import pandas
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sentiment.cli import ArgumentParser, run
from sentiment.console import format_message, print_to_stderr
from sentiment.errors import SentimentError
from sentiment.paths import models_folder
from sentiment.plots import LEGEND_CHARACTERS, draw_comparison
from sentiment.runs.atomic import write_atomically
from sentiment.runs.comparison import (
    Group,
    describe_differences,
    group_runs,
    mark_incomparable,
    note_refits,
)
from sentiment.runs.folder import RESERVED_NAMES, exists, find_run_folder
from sentiment.runs.record import RunRecord, find_finished, find_runs, read_record
from sentiment.runs.seeds import compare_seeds

IMAGE_FORMATS = (".png", ".svg", ".pdf", ".jpg")
PLOTTED_GROUPS = 20  # more curves can't be told apart
# What a terminal that is too narrow doesn't show, in this order.
DISPENSABLE = (
    "Data",
    "Seconds per epoch",
    "Parameters",
    "Best epoch",
    "Network",
    "Sentence validation accuracy",
    "Differences",
    "Test accuracy",
)
# Accuracy on one-sentence reviews, which only runs with SENTENCE_WEIGHT have.
SENTENCE_COLUMNS = {
    "Sentence validation accuracy": "validation",
    "Sentence test accuracy": "test",
}
NO_ACCURACY = "-"
# Columns whose text can be wrapped, the width that they need for that, and which grows first.
WRAPPED = {"Run": 18, "Differences": 28, "Data": 24}
GAP = 2  # spaces between two columns


def main():
    parser = ArgumentParser(
        prog="plot_history.py", description=__doc__.partition("\n")[0], allow_abbrev=False
    )
    text = (
        "a run's name, its folder, newest or best, a folder of runs, or a .csv or .json history "
        "(default: models/)"
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help=text)
    text = "the plot (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("comparison.png"), help=text)
    layout = parser.add_mutually_exclusive_group()
    layout.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    layout.add_argument("--csv", action="store_true", help="print the table as CSV")
    arguments = parser.parse_args()
    if arguments.output.suffix.lower() not in IMAGE_FORMATS:
        parser.error(f"--output must end in one of {', '.join(IMAGE_FORMATS)}")

    groups, repetitions = group_runs(read_runs(arguments.runs))
    _report(*repetitions)
    notes = [mark_incomparable(groups), note_refits(groups)]
    describe_differences(groups)
    groups.sort(key=lambda group: _mean(group.validation_accuracies) or 0, reverse=True)
    notes.append(compare_seeds(groups))
    if len(groups) > PLOTTED_GROUPS:
        what = f"the {PLOTTED_GROUPS} of {len(groups)} rows with the highest validation accuracy"
        notes.append(f"The plot shows only {what}")

    if arguments.csv:
        print(make_csv_table(groups).to_csv(index=False, lineterminator="\n"), end="")
    elif arguments.markdown:
        print_markdown(make_table(groups))
    elif sys.stdout.isatty():
        print_to_terminal(make_table(groups), groups)
    else:
        print(align_left(make_table(groups)).to_string(index=False, justify="left"))
    has_one_network = len({group.network for group in groups}) == 1
    histories = [
        (label(group, has_one_network), [record.history for record in group.runs])
        for group in groups[:PLOTTED_GROUPS]
    ]
    note = "\n".join(filter(None, notes))
    write_atomically(arguments.output, lambda path: draw_comparison(histories, note, path))
    _report(*filter(None, notes), f"Plot: {arguments.output}")


def read_runs(arguments: list[str]) -> list[RunRecord]:
    """Read the runs that are named, and those in the folders that are named.

    Raises:
        SentimentError: if one that is named can't be read, or if there is none.
    """
    records: dict[Path, RunRecord] = {}
    for path in map(find, arguments) if arguments else [models_folder()]:
        found = find_runs(path)
        for run_path in found:
            try:
                records[run_path] = read_record(run_path)
            except ValueError as error:
                if found != [path]:
                    _report(f"Skipped {run_path}: {error}")
                elif arguments:
                    raise SentimentError(f"{path} can't be plotted: {error}") from None
        if arguments and not any(run_path in records for run_path in found):
            raise SentimentError(f"there is no finished run in {path}")
    if not records:
        raise SentimentError(
            f"there is nothing to plot, no finished run in {models_folder()}/; train first, with "
            "python train_lstm.py"
        )
    # Runs of the same name in different folders are shown with their paths.
    times = Counter(record.name for record in records.values())
    return [
        dataclasses.replace(record, name=str(path)) if times[record.name] > 1 else record
        for path, record in records.items()
    ]


def find(argument: str) -> Path:
    """Return the path of a file, a folder, or a run in ``models/``, which may be newest or best.

    Raises:
        SentimentError: if there is none.
    """
    if argument in RESERVED_NAMES:
        return find_finished(argument)[0]
    path = Path(argument)
    return path if exists(path) else find_run_folder(argument)


def label(group: Group, has_one_network: bool) -> str:
    """Return the group's text in the legend, in one line if it can be."""
    is_obvious = has_one_network or group.name.replace("_", "-").upper() == group.network
    parts = [group.title, *([] if is_obvious or not group.metadata else [group.network])]
    start = ("" if group.is_comparable else "* ") + format_accuracy(group.validation_accuracies)
    text = f"{start}  {', '.join(parts)}"
    for i, difference in enumerate(group.differences):
        rest = len(group.differences) - i
        more = f" and {rest - 1} more" if rest > 1 else ""
        if i and len(f"{text}, {difference}{more}") > LEGEND_CHARACTERS:
            return f"{text} and {rest} more"
        text += f", {difference}"
    return text


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
                **{
                    name: format_accuracy(group.sentence_accuracies(split))
                    for name, split in SENTENCE_COLUMNS.items()
                },
                "Data": ("" if group.is_comparable else "* ") + group.data,
                "Differences": ", ".join(group.differences),
            }
        )
    table = pandas.DataFrame(rows)
    is_empty = (table[list(SENTENCE_COLUMNS)] == NO_ACCURACY).all()
    return table.drop(columns=is_empty.index[is_empty])


def align_left(table: pandas.DataFrame) -> pandas.DataFrame:
    return table.apply(lambda column: column.str.ljust(column.str.len().max()))


def print_to_terminal(table: pandas.DataFrame, groups: list[Group]):
    """Print the table as wide as the terminal, without the columns that don't fit."""
    columns = shutil.get_terminal_size().columns
    footer, hidden = [], []
    if len(set(table["Data"])) == 1:
        footer.append(f"Data: {table['Data'][0]}")
        table = table.drop(columns="Data")
    longest = {name: max(table[name].str.len().max(), *map(len, name.split())) for name in table}
    widths = {name: min(width, WRAPPED.get(name, width)) for name, width in longest.items()}
    for name in DISPENSABLE:
        if name in widths and sum(widths.values()) + GAP * len(widths) > columns:
            hidden.append(name)
            del widths[name]
    if "Data" in hidden:
        marks = ["" if group.is_comparable else "* " for group in groups]
        table["Run"] = [mark + name for mark, name in zip(marks, table["Run"], strict=True)]
    if hidden:
        footer.append(f"Too narrow for: {', '.join(hidden)} (--csv prints all columns)")
    for name in filter(widths.__contains__, WRAPPED):
        spare = columns - sum(widths.values()) - GAP * len(widths)
        widths[name] += max(0, min(spare, longest[name] - widths[name]))
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for name, width in widths.items():
        shown.add_column(Text(name), width=width, overflow="fold")
    for _, row in table[list(widths)].iterrows():
        shown.add_row(*map(Text, row))
    # What is wider than the terminal is wrapped by it.
    Console(width=max(columns, sum(widths.values()) + GAP * len(widths))).print(shown)
    print(*footer, sep="\n", end="\n" if footer else "")


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
            **{
                f"sentence_{split}_{name}": summarize(group.sentence_accuracies(split))
                for split in SENTENCE_COLUMNS.values()
                for name, summarize in (("accuracy", _mean), ("deviation", _deviation))
            },
            "data": group.data,
            "comparable": group.is_comparable,
            "differences": ", ".join(group.differences),
        }
        for group in groups
    )


def print_markdown(table: pandas.DataFrame):
    rows = [list(table.columns), ["---"] * len(table.columns), *table.values.tolist()]
    for row in rows:
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")


def format_accuracy(values: list[float]) -> str:
    if not values:
        return NO_ACCURACY
    deviation = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{deviation} %"


def _mean(values):
    return statistics.fmean(values) if values else None


def _deviation(values):
    return statistics.stdev(values) if len(values) > 1 else None


def _report(*lines):
    for line in lines:
        print_to_stderr(format_message(line))


if __name__ == "__main__":
    run(main)

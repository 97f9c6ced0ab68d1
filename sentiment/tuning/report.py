"""What a study has found, as tables."""

import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from sentiment.plots.study import FANOVA
from sentiment.tuning.queue import FINISHED, PLACE

COMPLETE_TRIALS = 4  # for importances, at least
# Attributes of a trial.
CONSTANTS, EPOCHS, REMARK, REVIEWS = "constants", "epochs", "remark", "validation reviews"


@dataclass
class Row:
    """The result of one trial, and of its repetitions with other seeds.

    Attributes:
        place: the number of the trial.
        constants: those that the study varies.
        values: the validation accuracy or loss with each seed; none, if the trial was pruned.
        seconds: how long the trial took.
        epochs: how many epochs it trained.
        remark: why it has no value, or that the values are those of the script.
        reviews: the number of validation reviews.
    """

    place: int
    constants: dict
    values: list[float]
    seconds: float
    epochs: int
    remark: str
    reviews: int

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)


def read_rows(study: optuna.Study, repetitions: dict[int, list[float]]) -> list[Row]:
    """Return the finished trials, the best first.

    If some were repeated with other seeds, these are first: the best single value is a lucky one.

    Args:
        study: the study.
        repetitions: for each place that was repeated, the values with the other seeds.
    """
    rows = []
    for trial in study.get_trials(deepcopy=False, states=FINISHED):
        attributes, place = trial.user_attrs, trial.user_attrs[PLACE]
        values = [trial.value] if trial.state == TrialState.COMPLETE else []
        rows.append(
            Row(
                place,
                attributes.get(CONSTANTS, trial.params),
                [value for value in values if value is not None] + repetitions.get(place, []),
                trial.duration.total_seconds() if trial.duration else 0.0,
                attributes.get(EPOCHS, 0),
                attributes.get(REMARK, ""),
                attributes.get(REVIEWS, 0),
            )
        )
    sign = 1 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1
    complete = [row for row in rows if row.values]
    complete.sort(key=lambda row: (row.place not in repetitions, sign * row.mean))
    return complete + [row for row in rows if not row.values]


def format_value(values: list[float], metric: str) -> str:
    """Return an accuracy in percent or a loss, with its standard deviation over seeds."""
    if not values:
        return "-"
    scale, unit, digits = (1, "", 4) if metric == "loss" else (100, " %", 2)
    deviation = f" ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{scale * statistics.fmean(values):.{digits}f}{deviation}{unit}"


def format_rows(rows: Sequence[Row], metric: str) -> str:
    """Return rows as a Markdown table whose columns are aligned, for a terminal as well."""
    names = list(dict.fromkeys(name for row in rows for name in row.constants))
    cells = [["Trial", *names, f"Validation {metric}", "Seeds", "Epochs", "Seconds", "Remark"]]
    for row in rows:
        constants = [str(row.constants.get(name, "")) for name in names]
        numbers = [str(len(row.values) or 1), str(row.epochs), f"{row.seconds:.0f}"]
        value = format_value(row.values, metric)
        cells.append([str(row.place), *constants, value, *numbers, row.remark])
    if not any(row.remark for row in rows):
        cells = [line[:-1] for line in cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in cells)


def compute_importances(study: optuna.Study) -> dict[str, float]:
    """Return the share of each constant in the variance of the results, estimated by fANOVA.

    It is empty if fewer than two are varied, or if there are too few different results.
    """
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if len(complete) < COMPLETE_TRIALS or len(complete[0].params) < 2:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return optuna.importance.get_param_importances(study, evaluator=FANOVA)
    except (ValueError, RuntimeError):
        return {}

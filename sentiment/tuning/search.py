"""A study of one script: its trials, and the best ones again with other seeds."""

import json
import math
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
from optuna.trial import TrialState

from sentiment.console import format_message
from sentiment.errors import DivergenceError, SentimentError
from sentiment.runs.atomic import hash_file
from sentiment.tuning.queue import (
    FINISHED,
    PLACE,
    Plan,
    SeededSampler,
    SuccessiveHalvingPruner,
    Worker,
)
from sentiment.tuning.report import (
    CONSTANTS,
    EPOCHS,
    REMARK,
    REVIEWS,
    Row,
    format_value,
    read_rows,
)
from sentiment.tuning.training import Trainer, never
from sentiment.tuning.values import Choices, Range

SETTINGS = "settings"  # the attribute of a study that says what it searches
REPEATED = 10  # of the best trials, the most that are trained with several seeds
MAXIMUM_SEEDS = 100


class Search:
    """Searches for the values of a script's constants that are best on the validation set.

    Args:
        script: the training script.
        values: the values of each constant that differs from the script's.
        folder: the folder of the study, which has the same name.
        storage: where Optuna keeps it.
        metric: ``"accuracy"`` or ``"loss"``.
        folds: the number of networks of each trial, each with another validation set.
        is_pruning: whether trials that fall behind end early.
        is_grid: whether all combinations of choices are tried.

    Attributes:
        study: the trials.
        fixed: the constants that are the same in all trials.
        trainer: trains the networks.

    Raises:
        SentimentError: if the storage has a study of this name that searches something else.
    """

    def __init__(
        self,
        script: ModuleType,
        values: dict[str, Choices | Range],
        folder: Path,
        storage: optuna.storages.BaseStorage,
        metric: str,
        folds: int,
        is_pruning: bool,
        is_grid: bool,
    ):
        self.script, self.values, self.metric, self.folds = script, values, metric, folds
        self.fixed = {
            name: choices.values[0]
            for name, choices in values.items()
            if isinstance(choices, Choices) and not choices.is_varied
        }
        self.seed = self.fixed.get("SEED", script.SEED)
        self.trainer = Trainer(script, folder)
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if is_pruning:
            pruner = SuccessiveHalvingPruner(min_resource=1)
        options: dict[str, Any] = {
            "storage": storage,
            "direction": "minimize" if metric == "loss" else "maximize",
            "load_if_exists": True,
        }
        self.study = optuna.create_study(
            study_name=folder.name, sampler=SeededSampler(self.seed), pruner=pruner, **options
        )
        self._repetitions = optuna.create_study(study_name=f"{folder.name}-seeds", **options)
        path = Path(str(script.__file__))
        settings = {
            "script": path.name,
            f"version of {path.name}": hash_file(path),
            "set of values": {name: asdict(value) for name, value in values.items()},
            "metric": metric,
            "number of folds": folds,
            "kind of search": "grid" if is_grid else "sampler",
        }
        settings = json.loads(json.dumps(settings))
        found = self.study.user_attrs.get(SETTINGS, settings)
        for what, value in settings.items():
            if found.get(what) != value:
                raise SentimentError(
                    f"the study {folder.name} was started with another {what}; "
                    "choose another name with --name"
                )
        self.study.set_user_attr(SETTINGS, settings)

    def run(self, worker: Worker, plan: Plan, deadline: float | None):
        """Do the trials that are left.

        Args:
            worker: does them.
            plan: the trials.
            deadline: when the last one may begin, as `Worker.work` takes it.
        """
        self._begin(plan, deadline)
        worker.work(self.study, plan, self._train_trial, deadline)

    def repeat(self, worker: Worker, seeds: int):
        """Train the best third of the completed trials, at most `REPEATED`, with more seeds.

        The trial with the script's values is always among them, if it was completed.
        """
        complete = [row for row in self.rows(1) if row.values]
        number = min(REPEATED, math.ceil(len(complete) / 3))
        rest = [row for row in complete[number:] if self._is_baseline(row.constants)]
        repeated = complete[:number] + rest
        places = [row.place * MAXIMUM_SEEDS + i for row in repeated for i in range(1, seeds)]
        plan = Plan(places)
        self._begin(plan, None)
        worker.work(self._repetitions, plan, self._train_repetition)

    def rows(self, seeds: int) -> list[Row]:
        """Return the finished trials, the best first; with several seeds, their means count."""
        repetitions: dict[int, list[float]] = {}
        for trial in self._repetitions.get_trials(states=[TrialState.COMPLETE]):
            place, number = divmod(trial.user_attrs[PLACE], MAXIMUM_SEEDS)
            if number < seeds:
                repetitions.setdefault(place, []).append(trial.value)
        rows = read_rows(self.study, repetitions)
        for row in rows:
            if row.values and self._is_baseline(row.constants):
                row.remark = "the script's values"
        return rows

    def finished(self) -> optuna.Study:
        """Return a study in memory of the finished trials alone, in the order of their places."""
        trials = self.study.get_trials(states=FINISHED)
        trials.sort(key=lambda trial: trial.user_attrs[PLACE])
        study = optuna.create_study(direction=self.study.direction)
        study.add_trials(trials)
        return study

    @property
    def _sign(self) -> int:
        return 1 if self.metric == "loss" else -1

    def _is_baseline(self, constants: dict) -> bool:
        """Return whether these values are the script's own."""
        return all(value == getattr(self.script, name) for name, value in constants.items())

    def _begin(self, plan: Plan, deadline: float | None):
        self._places, self._deadline = plan.places, deadline
        self._started, self._done = time.monotonic(), 0

    def _train_trial(self, trial: optuna.Trial, place: int) -> float:
        constants = {name: values.suggest(trial, name) for name, values in self.values.items()}
        varied = {name: value for name, value in constants.items() if name not in self.fixed}
        trial.set_user_attr(CONSTANTS, varied)
        text = " ".join([f"Trial {place},", *(f"{name}={varied[name]}" for name in varied)])
        epochs, is_pruned, remark = 0, False, ""
        # While the script trains, it has the constants of the trial.
        is_baseline = self._is_baseline(varied)
        planned = constants.get("EPOCHS", self.script.EPOCHS)

        def is_last(row: dict) -> bool:
            nonlocal epochs, is_pruned
            epochs += 1
            if epochs <= planned:  # in the first fold; the values of others are not comparable
                trial.report(row[f"val_{self.metric}"], epochs)
                may_end = epochs < planned and not is_baseline
                is_pruned = is_pruned or (may_end and trial.should_prune())
            return is_pruned

        records = []
        try:
            for fold in range(1, self.folds + 1):
                records.append(self._train(f"trial-{place}", fold, constants, is_last))
                if is_pruned or "unsure" not in records[-1]:  # or was pruned by another worker
                    remark = f"pruned after epoch {epochs}"
                    break
        except DivergenceError:
            remark = "diverged"
        except (SentimentError, OSError, optuna.exceptions.OptunaError):
            raise
        except Exception as error:  # some values may not fit together
            remark = f"{type(error).__name__}: {error}"
            if place == 0:
                raise SentimentError(f"the first trial failed, {remark}") from error
        trial.set_user_attr(EPOCHS, epochs)
        if remark:
            trial.set_user_attr(REMARK, format_message(remark))
            self._report(trial, text, remark)
            raise optuna.TrialPruned
        trial.set_user_attr(REVIEWS, sum(record["data"]["validation"] for record in records))
        value = self._mean(records)
        self._report(trial, text, format_value([value], self.metric), value)
        return value

    def _train_repetition(self, trial: optuna.Trial, place: int) -> float:
        original, number = divmod(place, MAXIMUM_SEEDS)
        (row,) = (row for row in self.rows(1) if row.place == original)
        seed = self.seed + number
        constants = {**self.fixed, **row.constants, "SEED": seed}
        name, text = f"trial-{original}-seed-{seed}", f"Trial {original} with seed {seed}"
        try:
            folds = range(1, self.folds + 1)
            value = self._mean([self._train(name, fold, constants) for fold in folds])
        except DivergenceError:
            self._report(trial, text, "diverged")
            raise optuna.TrialPruned from None
        self._report(trial, text, format_value([value], self.metric))
        return value

    def _train(self, name: str, fold: int, constants: dict, is_last=never) -> dict:
        name = f"{name}-fold-{fold}" if fold > 1 else name
        return self.trainer.train(name, constants, is_last, fold)

    def _mean(self, records: list[dict]) -> float:
        return statistics.fmean(record["validation"][self.metric] for record in records)

    def _report(self, trial: optuna.Trial, name: str, result: str, value: float | None = None):
        """Print the line of a trial that has ended."""
        self._done += 1
        finished = len(trial.study.get_trials(deepcopy=False, states=FINISHED)) + 1
        parts = [f"{name}: {result}"]
        if trial.study is self.study:  # a mean over seeds can't be compared with a single value
            complete = {
                other.user_attrs[PLACE]: other.value
                for other in self.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
            }
            if value is not None:
                complete[trial.user_attrs[PLACE]] = value
            if complete:
                best = min(complete, key=lambda place: self._sign * complete[place])
                parts.append(f"best {format_value([complete[best]], self.metric)} (trial {best})")
        now = time.monotonic()
        seconds = math.inf
        if self._places is not None:
            seconds = (now - self._started) / self._done * (len(self._places) - finished)
        if self._deadline is not None:
            seconds = min(seconds, self._deadline - now)
        total = f" of {len(self._places)}" if self._places else ""
        parts.append(f"{finished}{total} done, {max(0, math.ceil(seconds / 60))} min left")
        print(format_message("; ".join(parts)), flush=True)

"""Which trials of a study are left to do, for one worker or many, on one machine or many.

Each trial has a place in the plan of the study, a number from 0. A worker puts a waiting trial for
the first free place into the study and takes it; the storage gives it to one worker only. If two
workers do so for the same place, the later trial is dropped. A trial whose worker has died fails,
so that its place is free again.
"""

import contextlib
import copy
import itertools
import re
import time
import uuid
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import filelock
import optuna
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalRedisBackend
from optuna.trial import FrozenTrial, TrialState

from sentiment.console import format_message
from sentiment.errors import SentimentError

PLACE, WORKER = "place", "worker"  # attributes of a trial
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
HEARTBEAT_SECONDS, GRACE_SECONDS = 10, 60  # of a database
WAIT_SECONDS = 2  # between two looks at what other workers do
STARTUP_TIME = timedelta(seconds=60)  # in which a new trial gets its attributes
JOURNAL = "study.journal"
ATTEMPTS = 3  # to open a database


class PlaceTakenError(Exception):
    """Another trial has the place of this one."""


@dataclass
class Plan:
    """The trials of a study.

    Attributes:
        places: the numbers of the trials; None: there are ever more.
        points: for some of the places, values of the trial. The sampler chooses the others.
        is_grid: whether the points are all combinations of choices.
    """

    places: Collection[int] | None
    points: dict[int, dict] = field(default_factory=dict)
    is_grid: bool = False


class SeededSampler(BaseSampler):
    """A `TPESampler` whose suggestion depends on a seed, a trial's place and the trials before."""

    def __init__(self, seed: int):
        self.seed = seed
        self.tpe = TPESampler()

    def before_trial(self, study, trial):
        place = trial.user_attrs.get(PLACE, trial.number)
        self.tpe = TPESampler(seed=(self.seed + 1_000_003 * place) % 2**32)
        self.tpe.before_trial(study, trial)

    def infer_relative_search_space(self, study, trial):
        return self.tpe.infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):
        return self.tpe.sample_relative(study, trial, search_space)

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self.tpe.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study, trial, state, values):
        self.tpe.after_trial(study, trial, state, values)


class SuccessiveHalvingPruner(optuna.pruners.SuccessiveHalvingPruner):
    """Optuna's pruner, which counts a trial that has failed only when it is repeated."""

    def prune(self, study, trial):
        def get_trials(*arguments, **options):
            trials = study.get_trials(*arguments, **options)
            return [other for other in trials if other.state != TrialState.FAIL]

        counted = copy.copy(study)
        counted.get_trials = get_trials
        return super().prune(counted, trial)


class Worker:
    """Works on the trials of studies, alone or beside others.

    A worker holds a lock in the folder of the study, by which others on the same disk see that it
    is alive. Databases also have heartbeats, for workers elsewhere.

    Args:
        folder: the folder of the study.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.name = f".worker-{uuid.uuid4().hex[:12]}.lock"

    def __enter__(self):
        self.lock = filelock.FileLock(self.folder / self.name)
        self.lock.acquire()
        return self

    def __exit__(self, kind, *_):
        self.lock.release()
        if kind is None:  # otherwise a trial may be running still, for all that the storage knows
            (self.folder / self.name).unlink(missing_ok=True)

    def work(
        self,
        study: optuna.Study,
        plan: Plan,
        objective: Callable[[optuna.Trial, int], float],
        deadline: float | None = None,
    ):
        """Do the trials that nobody else does, until all are finished.

        Args:
            study: the study.
            plan: its trials.
            objective: called with a trial and its place; returns the value.
            deadline: the time, as `time.monotonic` has it, after which no trial is begun.
        """

        def do(trial: optuna.Trial) -> float:
            trial.set_user_attr(WORKER, self.name)
            place = trial.user_attrs.get(PLACE)
            if place is None or _is_taken(study.get_trials(deepcopy=False), place, trial.number):
                raise PlaceTakenError
            return objective(trial, place)

        while deadline is None or time.monotonic() < deadline:
            self.fail_dead_trials(study)
            fill_queue(study, plan)
            states = [trial.state for trial in study.get_trials(deepcopy=False)]
            if TrialState.WAITING in states:
                try:
                    study.optimize(do, n_trials=1, catch=(PlaceTakenError,))
                except optuna.exceptions.UpdateFinishedTrialError:
                    pass  # others took this worker for dead: the storage had no heartbeat of it
                except (AssertionError, UnboundLocalError) as error:
                    # So Optuna ends if the storage fails or Ctrl-C is pressed while it saves.
                    raise (error.__context__ or error) from None
            elif TrialState.RUNNING in states:
                time.sleep(WAIT_SECONDS)
            else:
                return

    def fail_dead_trials(self, study: optuna.Study):
        """Mark the running trials whose workers have died as failed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)
        for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if self._is_dead(trial):
                # Another worker may be faster.
                with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):
                    study.tell(trial.number, state=TrialState.FAIL)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        name = trial.user_attrs.get(WORKER)
        if name is None:
            return bool(
                trial.datetime_start and datetime.now() - trial.datetime_start > STARTUP_TIME
            )
        if name == self.name:  # this worker begins no trial before the last one has ended
            return True
        path = self.folder / Path(name).name
        if not path.exists():  # the worker may be on another machine
            return False
        try:
            with filelock.FileLock(path, timeout=0):
                pass
        except (filelock.Timeout, NotImplementedError):
            return False
        path.unlink(missing_ok=True)
        return True


def fill_queue(study: optuna.Study, plan: Plan):
    """Add a waiting trial for the first place that has no trial, unless one is waiting already."""
    trials = study.get_trials(deepcopy=False)
    if any(trial.state == TrialState.WAITING for trial in trials):
        return
    taken = {trial.user_attrs.get(PLACE) for trial in trials if trial.state != TrialState.FAIL}
    places = itertools.count() if plan.places is None else plan.places
    place = next((place for place in places if place not in taken), None)
    if place is None:
        return
    # Where a trial has failed, its values are tried again.
    values = plan.points.get(place, {})
    for trial in trials:
        if trial.user_attrs.get(PLACE) == place and trial.params:
            values = {**values, **trial.params}  # it may have failed before it had all of them
    study.enqueue_trial(values, user_attrs={PLACE: place})


def _is_taken(trials: list[FrozenTrial], place: int, number: int) -> bool:
    """Return whether an earlier trial than this one has the place."""
    return any(
        trial.number < number
        and trial.user_attrs.get(PLACE) == place
        and trial.state != TrialState.FAIL
        for trial in trials
    )


def open_storage(address: str, folder: Path) -> optuna.storages.BaseStorage:
    """Open the storage of a study.

    Args:
        address: that of a database or of Redis, or the path of a journal file; empty: a journal
            in the folder of the study.
        folder: the folder of the study.

    Raises:
        SentimentError: if it can't be opened.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for _ in range(ATTEMPTS if "://" in address else 1):
            try:
                return _open(address, folder / JOURNAL)
            except Exception as error:  # a database or its driver can fail in any way
                reason = format_message(error)
            time.sleep(WAIT_SECONDS)  # another worker may be creating the tables
    raise SentimentError(
        f"can't open the storage {hide_password(address) or folder / JOURNAL}: {reason}"
    )


def hide_password(address: str) -> str:
    """Return the address of a storage with asterisks in place of its password."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", address)


def _open(address: str, journal: Path) -> optuna.storages.BaseStorage:
    if address.startswith(("redis://", "rediss://")):
        return optuna.storages.JournalStorage(JournalRedisBackend(address))
    if "://" in address:
        return optuna.storages.RDBStorage(
            address,
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
        )
    path = Path(address) if address else journal
    lock = JournalFileOpenLock(str(path))
    backend = JournalFileBackend(str(path), lock)
    _repair(path, lock)
    return optuna.storages.JournalStorage(backend)


def _repair(path: Path, lock: JournalFileOpenLock):
    """Remove a last line that was not written to its end, because the disk was full."""
    lock.acquire()
    try:
        with path.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()

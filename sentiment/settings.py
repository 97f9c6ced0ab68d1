"""What a training is started with."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from sentiment.console import is_interactive


@dataclass(frozen=True)
class Settings:
    """What a training is started with.

    Attributes:
        constants: name and value of each constant, in the order of the script.
        options: those that the command line, a recipe or another run set.
        script_hash: the SHA-256 of the script.
        resumed: the folder of the run to resume, if any.
        like: the folder of the run to repeat, if any.
        evaluate_test: whether to evaluate the test set.
        seeds: the seeds to train one after another, if several are given.
        is_refit: whether this is the second of the two trainings of a run with ``REFIT``.
        on_exit: closes what the training has opened, when it ends.
    """

    constants: dict
    options: dict
    script_hash: str
    resumed: Path | None
    like: Path | None
    evaluate_test: bool
    seeds: list[int]
    is_refit: bool = False
    on_exit: ExitStack = field(default_factory=ExitStack)

    @property
    def is_followed_by_refit(self) -> bool:
        """Whether this is the first of the two trainings of a run with ``REFIT``."""
        return bool(self.constants.get("REFIT")) and not self.is_refit

    @property
    def verbose(self) -> str | int:
        """What Keras takes as ``verbose``: a log file needs no progress bar."""
        return "auto" if is_interactive() else 0

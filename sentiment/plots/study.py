"""The pictures of a study: Optuna's own, drawn by Matplotlib."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import optuna
from matplotlib import pyplot
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from optuna.importance import FanovaImportanceEvaluator
from optuna.visualization import matplotlib as pictures

FANOVA = FanovaImportanceEvaluator(seed=0)  # the same study gives the same importances
DOTS_PER_INCH = 120
LABEL_SIZE = 8  # of constants with long names


def draw_optimization_history(study: optuna.Study, target: str, path: Path):
    """Draw the value of each trial that was not pruned, and the best so far."""
    with _figure(path):
        axes = pictures.plot_optimization_history(study, target_name=target)
        axes.legend(loc="best")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_importances(study: optuna.Study, target: str, path: Path):
    """Draw the share of each constant in the variance of the values."""
    with _figure(path):
        axes = pictures.plot_param_importances(study, evaluator=FANOVA)
        axes.get_legend().remove()
        axes.set(xlabel=f"share in the variance of the {target}", ylabel="")


def draw_slices(study: optuna.Study, target: str, path: Path):
    """Draw the value of each trial that was not pruned over each constant."""
    with _figure(path):
        axes = np.atleast_1d(pictures.plot_slice(study, target_name=target))
        for one in axes:
            one.tick_params(axis="x", labelrotation=45)
            one.xaxis.label.set_size(LABEL_SIZE)
            if one.get_xscale() == "log":
                one.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                one.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                one.xaxis.set_minor_locator(NullLocator())
        axes[0].figure.set_size_inches(max(6, 3.2 * len(axes)), 4)


@contextlib.contextmanager
def _figure(path: Path) -> Iterator[None]:
    """Save the figure that is drawn meanwhile."""
    with warnings.catch_warnings(), matplotlib.rc_context({"backend": "Agg"}):
        warnings.simplefilter("ignore")  # Optuna calls these plots experimental
        yield
        pyplot.savefig(path, dpi=DOTS_PER_INCH, bbox_inches="tight", format="png")
        pyplot.close("all")

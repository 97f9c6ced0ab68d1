"""All that is drawn with Matplotlib.

history.py       the curves of a training, and of several
explanation.py   the probability after each word of a review
evaluation.py    confusion matrix, ROC curve, calibration, accuracy by length
study.py         a study of tune.py, by Optuna's own plots; it needs Optuna
fonts.py         characters that a plot's font lacks
style.py         colors, and how long texts are wrapped
"""

from sentiment.plots.evaluation import draw_evaluation
from sentiment.plots.explanation import draw_explanation
from sentiment.plots.history import LEGEND_CHARACTERS, draw_comparison, draw_history

__all__ = [
    "LEGEND_CHARACTERS",
    "draw_comparison",
    "draw_evaluation",
    "draw_explanation",
    "draw_history",
]

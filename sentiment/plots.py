"""The only file that draws."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

# Two colours of the palette of Okabe and Ito, which colour-blind readers can tell apart.
TRAINING_COLOUR = "#0072B2"
VALIDATION_COLOUR = "#D55E00"


def draw_history(history: list[dict], best_epoch: int, title: str, path):
    """Draw accuracy and loss against epochs, for training and validation.

    Args:
        history: one dictionary an epoch, with the keys ``epoch``, ``accuracy``, ``loss``,
            ``val_accuracy`` and ``val_loss``.
        best_epoch: the epoch to mark.
        title: stands above the plot.
        path: the picture's file; its ending chooses the format.
    """
    figure = Figure(figsize=(9, 3.8), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=12)
    epochs = [row["epoch"] for row in history]
    for axes, key, label in zip(
        figure.subplots(1, 2),
        ("accuracy", "loss"),
        ("Accuracy", "Loss (binary cross-entropy)"),
        strict=True,
    ):
        for prefix, colour, style, name in (
            ("", TRAINING_COLOUR, "o--", "training"),
            ("val_", VALIDATION_COLOUR, "o-", "validation"),
        ):
            values = [row[prefix + key] for row in history]
            axes.plot(epochs, values, style, color=colour, label=name, markersize=4)
        best = history[epochs.index(best_epoch)]["val_" + key]
        axes.plot(
            best_epoch,
            best,
            "o",
            color=VALIDATION_COLOUR,
            markersize=11,
            fillstyle="none",
            markeredgewidth=2,
            label=f"kept: epoch {best_epoch}",
        )
        axes.set_xlabel("Epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
        if key == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    figure.savefig(path)

"""The table of what a run misclassifies in its validation set."""

import pandas

CHARACTERS = 160  # of a review in the table
COLUMNS = ("No.", "True label", "Probability", "Words", "Review")
ORDERS = {  # column and whether it ascends
    "most confident first": ("No.", True),
    "longest first": ("Words", False),
    "shortest first": ("Words", True),
}


def make_table(mistakes: pandas.DataFrame, order: str) -> pandas.DataFrame:
    """Return the table to show.

    Args:
        mistakes: as `sentiment.evaluation.find_mistakes` returns them.
        order: a key of `ORDERS`.
    """
    texts = mistakes["text"].str.replace(r"\s+", " ", regex=True)
    table = pandas.DataFrame(
        {
            "No.": range(1, len(mistakes) + 1),
            "Review": [
                text if len(text) <= CHARACTERS else text[:CHARACTERS] + "…" for text in texts
            ],
            "True label": mistakes["label"],
            "Probability": [f"{value:.1%}" for value in mistakes["probability"]],
            "Words": mistakes["tokens"] - 1,  # without the start token
        },
        columns=COLUMNS,
    )
    column, ascends = ORDERS[order]
    return table.sort_values(column, ascending=ascends, kind="stable")

"""What a finished run is measured on, besides the accuracy and the loss of each epoch."""

from typing import Any

import keras
import numpy as np

from sentiment.data.dataset import Dataset
from sentiment.runs.network import predict_probabilities

BATCH_SIZE = 64
REVIEWS_NEEDED = 100  # to choose a threshold; with fewer, it is the one of `DEFAULT_UNSURE`
UNSURE_ACCURACY = 2 / 3  # an unsure prediction is right at most two times in three
UNSURE_SHARE = 0.28  # of the validation reviews may be unsure
EPSILON = 1e-7  # as in Keras' binary cross-entropy
DEFAULT_UNSURE: dict[str, Any] = {"margin": 0.1, "words": 5}


def measure(
    model: keras.Model, data: Dataset, padding: str, with_test: bool, first: dict | None = None
) -> dict:
    """Measure a network on the one-sentence reviews, and choose when a prediction is unsure.

    Args:
        model: the trained network.
        data: what it was trained on.
        padding: how the reviews are padded, ``"post"`` or ``"pre"``.
        with_test: whether to evaluate the test set, too.
        first: what was returned for the network of the first training, if this is that of the
            second one, which knows the validation set.

    Returns:
        ``unsure``, what `choose_unsure` returns, chosen on the one-sentence reviews of the
        validation set if there are any, otherwise on all reviews of it; and ``sentences``, if there
        are any: accuracy and loss on each set of them. The test set alone is new if there is a
        ``first``.
    """
    padded_length = data.maximum_tokens if padding == "pre" else None

    def predict(sequences):
        return predict_probabilities(model, sequences, BATCH_SIZE, padded_length)

    chosen_on, sentences = data.sentences or data, data.sentences
    if first is None:
        probabilities, labels = predict(chosen_on.x_validation), chosen_on.y_validation
        unsure = choose_unsure(probabilities, labels, chosen_on.x_validation.lengths)
        first = {"unsure": unsure, "sentences": {"validation": _evaluate(probabilities, labels)}}
    results: dict = {"unsure": first["unsure"]}
    if sentences:
        test = _evaluate(predict(sentences.x_test), sentences.y_test) if with_test else None
        results["sentences"] = {"validation": first["sentences"]["validation"], "test": test}
    return results


def choose_unsure(probabilities: np.ndarray, labels: np.ndarray, lengths: np.ndarray) -> dict:
    """Choose when a prediction is unsure.

    Args:
        probabilities: the predicted ones of the validation reviews, shape ``(reviews,)``.
        labels: 0 or 1 per review.
        lengths: their numbers of tokens, the start token included.

    Returns:
        ``margin``: a probability closer than that to 0.5 is unsure. It is the largest margin with
        which the unsure predictions are right at most two times in three, and at most 28 percent of
        predictions are unsure. And ``words``: the prediction for a review of fewer words is unsure,
        too; at most 5, or the length of the shortest validation review.
    """
    if len(labels) < REVIEWS_NEEDED:
        return DEFAULT_UNSURE
    # An edited network may have no sigmoid.
    margins = np.abs(np.clip(probabilities, 0, 1) - 0.5)
    order = np.argsort(margins, kind="stable")
    is_right = ((probabilities > 0.5) == (labels == 1))[order]
    accuracies = np.cumsum(is_right) / np.arange(1, len(order) + 1)
    most = int(UNSURE_SHARE * len(order))
    unsure = np.flatnonzero(accuracies[:most] <= UNSURE_ACCURACY)
    margin = margins[order[unsure[-1] + 1]] if len(unsure) else 0.0
    words = min(int(lengths.min()) - 1, DEFAULT_UNSURE["words"])
    return {"margin": round(float(margin), 4), "words": words}


def _evaluate(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return accuracy and loss, the mean binary cross-entropy."""
    probability_of_label = np.where(labels == 1, probabilities, 1 - probabilities)
    loss = -np.mean(np.log(np.clip(probability_of_label, EPSILON, 1 - EPSILON)))
    accuracy = np.mean((probabilities > 0.5) == (labels == 1))
    return {"accuracy": float(accuracy), "loss": float(loss)}

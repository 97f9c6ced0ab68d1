"""Logistic regression on sparse features, in NumPy."""

import numpy as np

C = 100.0  # inverse of the regularization strength, as in scikit-learn
MAXIMUM_ITERATIONS = 60
TOLERANCE = 1e-5  # fitting ends if an iteration lowers the loss by a smaller share
MEMORY = 8  # pairs of differences that L-BFGS keeps


def fit_logistic_regression(rows, columns, values, size, labels, sample_weights):
    """Fit an L2-regularized logistic regression with L-BFGS.

    Minimizes ``C * sum(sample_weights * cross-entropy) + sum(coefficients ** 2) / 2``. The bias is
    not penalized. The features are sparse: ``values`` contains the nonzero ones. Source: Nocedal
    and Wright (2006), "Numerical optimization", algorithm 7.5, with a backtracking line search.

    Args:
        rows: the sample that each value belongs to, ``(values,)``.
        columns: the feature that each value belongs to, ``(values,)``.
        values: the nonzero features, ``(values,)``.
        size: the number of features.
        labels: 0 or 1 per sample.
        sample_weights: a weight per sample.

    Returns:
        the coefficients, ``(size,)``, and the bias.
    """
    signs = 2.0 * np.asarray(labels) - 1
    strengths = C * np.asarray(sample_weights, dtype=np.float64)

    def compute_loss(weights):
        """Return the loss and its gradient; the last weight is the bias."""
        sums = np.bincount(rows, values * weights[columns], len(signs)) + weights[-1]
        margins = signs * sums
        loss = strengths @ np.logaddexp(0, -margins) + weights[:-1] @ weights[:-1] / 2
        slopes = -strengths * signs * np.exp(-np.logaddexp(0, margins))
        gradient = np.bincount(columns, values * slopes[rows], size)
        return loss, np.append(gradient + weights[:-1], slopes.sum())

    weights = np.zeros(size + 1)
    loss, gradient = compute_loss(weights)
    history = []  # of steps and how they changed the gradient
    for _ in range(MAXIMUM_ITERATIONS):
        direction = _find_direction(gradient, history)
        slope, step = gradient @ direction, 1.0
        while True:
            new = weights + step * direction
            new_loss, new_gradient = compute_loss(new)
            if new_loss <= loss + 1e-4 * step * slope or step < 1e-6:
                break
            step /= 2
        if not new_loss < loss * (1 - TOLERANCE):  # also if it is NaN
            break
        history = [*history, (new - weights, new_gradient - gradient)][-MEMORY:]
        weights, loss, gradient = new, new_loss, new_gradient
    return weights[:-1], weights[-1]


def _find_direction(gradient, history):
    """Return minus the gradient times the approximate inverse of the Hessian matrix."""
    direction, shares = -gradient, []
    for step, change in reversed(history):
        shares.append(step @ direction / (step @ change))
        direction -= shares[-1] * change
    if history:
        step, change = history[-1]
        direction *= (step @ change) / (change @ change)
    else:  # the first step has length 1
        direction /= max(np.linalg.norm(gradient), 1e-12)
    for (step, change), share in zip(history, reversed(shares), strict=True):
        direction += (share - change @ direction / (step @ change)) * step
    return direction

"""Learning rate schedules."""

import keras

SCHEDULES = ("constant", "cosine", "cosine_with_warmup")
WARMUP_SHARE = 0.1  # of the training steps


def make_schedule(
    name: str, learning_rate: float, steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return what an optimizer takes as its learning rate.

    Args:
        name: ``"constant"``; ``"cosine"``: the learning rate falls to 0 along half a cosine wave
            (Loshchilov and Hutter, 2017, "SGDR: stochastic gradient descent with warm restarts");
            ``"cosine_with_warmup"``: in the first tenth of the steps it rises from 0 first.
        learning_rate: the highest learning rate.
        steps: number of training steps, over all epochs.
    """
    if name == "constant":
        return learning_rate
    warmup = int(WARMUP_SHARE * steps) if name == "cosine_with_warmup" else 0
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else learning_rate,
        decay_steps=max(steps - warmup, 1),
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
    )

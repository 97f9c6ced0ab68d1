"""Reviews as padded batches."""

from sentiment.devices import count_devices, find_own_rows
from sentiment.reviews import Reviews, join

import keras
import numpy as np

BATCHES_SORTED_TOGETHER = 50  # large enough for little padding, small enough for mixed batches
LENGTHS_TO_COMPILE = 8  # each costs a compilation, fewer cost padding


class Batches(keras.utils.PyDataset):
    """Batches for ``fit`` and ``evaluate``, each padded no further than it needs.

    Reviews of similar length come together and are padded behind their last word, so that a
    network which masks padding sees the same review whatever its batch. Where the backend
    compiles a network anew for each length, as JAX does, there are few lengths.

    A batch is a pair: word ids of shape ``(reviews, tokens)`` in int32, and labels of shape
    ``(reviews,)`` in float32. Without labels it holds the word ids alone; `predict` then brings
    the results back into the order of the reviews.

    Where several devices share a batch (see `sentiment.devices`), each gets as many rows, so some
    reviews may stand in it twice; a third array, their weights, then makes up for it, in the loss
    and in metrics that Keras weighs. Of several processes each gets its own rows.

    Args:
        sequences: one array of word ids a review.
        labels: 0 or 1 a review, or None.
        batch_size: reviews in a batch; the last one may be smaller.
        shuffle_seed: mixes the reviews anew each epoch; without it each epoch is the same.
        front_padded_to: pads every review in front to this number of tokens instead, as the
            classic scripts do. Reviews then come in any order of length.
        epoch: number of the first epoch, from 0; where a broken-off training goes on, a later one.
    """

    def __init__(
        self, sequences, labels, batch_size, shuffle_seed=None, front_padded_to=None, epoch=0
    ):
        # With two workers Keras leaves tf.data's tuning off, whose thread TensorFlow 2.21 otherwise
        # waits for after many an epoch: until 5, 10, 20, 41 or more seconds since its beginning.
        # On other backends Keras 3.15 begins an epoch with what workers had made ready for the one
        # before, so there the batches are made where they are used.
        super().__init__(workers=2 if keras.backend.backend() == "tensorflow" else 1)
        is_joined = isinstance(sequences, Reviews)
        self.reviews = sequences if is_joined else join(sequences, hashed=False)
        self.labels = None if labels is None else np.asarray(labels, dtype=np.float32)
        self.lengths = self.reviews.lengths
        self.batch_size = batch_size
        self.shuffle_seed = shuffle_seed
        self.front_padded_to = front_padded_to
        self.rounding = 1
        if keras.backend.backend() == "jax":
            # A power of two, so that other reviews come in much the same lengths.
            power = 1 << int(self.lengths.max() - 1).bit_length()
            self.rounding = max(power // LENGTHS_TO_COMPILE, 1)
        self.epoch = epoch
        self.devices = 1 if labels is None else count_devices()
        self._plan_epoch()

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        positions, weights = self._share(self.batches[index])
        tokens = self.front_padded_to or self._longest(index)
        if index == 0 and not self.front_padded_to and self.rounding == 1 and len(self) > 1:
            # On TensorFlow, Keras expects of every batch what the first two have in common, so
            # those two must not be of the same length.
            tokens += tokens == self._longest(1)
        x = self.reviews.pad(positions, tokens, in_front=bool(self.front_padded_to))
        if self.labels is None:
            return (x,)
        return (x, self.labels[positions], *weights)

    def on_epoch_end(self):
        self.epoch += 1
        self._plan_epoch()

    def _share(self, positions):
        """Return the positions of this process' rows in a batch, and their weights, if any."""
        if self.devices == 1:
            return positions, ()
        reviews, rows = len(positions), self._count_rows(len(positions))
        weights = np.zeros(rows, dtype=np.float32)
        # Keras divides a batch's loss by its rows, and a mean over batches by theirs. A training
        # step is to have the mean loss of its reviews, and an evaluation that of all reviews.
        if self.shuffle_seed is not None:
            weights[:reviews] = rows / reviews
        else:
            weights[:reviews] = self.rows / len(self.labels)
        mine = find_own_rows(rows)
        return np.resize(positions, rows)[mine], (weights[mine],)

    def _count_rows(self, reviews):
        return -(-reviews // self.devices) * self.devices

    def _longest(self, index):
        batch = self.batches[index]
        # Where each length is compiled, the last batch of an epoch is compiled only once.
        is_rest = self.rounding > 1 and len(batch) < self.batch_size
        longest = (self.lengths if is_rest else self.lengths[batch]).max()
        return -(-longest // self.rounding) * self.rounding

    def _plan_epoch(self):
        """Decide which reviews make up each batch of this epoch, and the batches' order."""
        order = np.arange(len(self.reviews))
        generator = None
        if self.shuffle_seed is not None:
            generator = np.random.default_rng([self.shuffle_seed, self.epoch])
            generator.shuffle(order)
        if not self.front_padded_to:
            pool = len(order) if generator is None else self.batch_size * BATCHES_SORTED_TOGETHER
            order = np.concatenate(
                [
                    members[np.argsort(self.lengths[members], kind="stable")]
                    for members in np.split(order, range(pool, len(order), pool))
                ]
            )
        self.batches = np.split(order, range(self.batch_size, len(order), self.batch_size))
        if generator is not None:
            generator.shuffle(self.batches)
        self.rows = sum(self._count_rows(len(batch)) for batch in self.batches)


def predict(predict_on_batch, sequences, batch_size, front_padded_to=None):
    """Return results for word ids, shape ``(reviews, …)``, in the reviews' order.

    Args:
        predict_on_batch: a model's method of this name, or what does the same in another runtime.
        sequences, batch_size, front_padded_to: as for `Batches`.
    """
    batches = Batches(sequences, None, batch_size, front_padded_to=front_padded_to)
    # `Model.predict` would bring each batch through tf.data, a quarter of a CNN-LSTM's time.
    results = np.concatenate([predict_on_batch(*batch) for batch in batches])
    ordered = np.empty_like(results)
    ordered[np.concatenate(batches.batches)] = results
    return ordered

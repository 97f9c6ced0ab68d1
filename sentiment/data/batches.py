"""Reviews as padded batches."""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from sentiment.data.dataset import Dataset
from sentiment.data.sequences import Sequences, concatenate
from sentiment.distribution import device_count, local_rows

BATCHES_SORTED_TOGETHER = 50  # more: less padding; fewer: better shuffled batches
LENGTHS_TO_COMPILE = 8  # more: less padding; fewer: fewer compilations


class Batches(keras.utils.PyDataset):
    """Batches for ``fit`` and ``evaluate``, each padded no further than it needs.

    Reviews of similar length share a batch and are post-padded. A network that masks the padding
    computes the same for a review whatever its batch. On JAX, which compiles the network for each
    length, there are few lengths.

    A batch has the word ids, int32 ``(reviews, tokens)``, the labels, float32 ``(reviews,)``, and
    the sample weights, if there are any, float32 ``(reviews,)``. Without labels it has the word ids
    alone, and `predict_in_batches` restores the order of the reviews.

    If several devices share a batch (see `sentiment.distribution`), all get the same number of
    rows, so some reviews may occur in it twice. Sample weights correct the loss and weighted
    metrics for it. Each process gets its own rows.

    Args:
        sequences: one int32 array of word ids per review.
        labels: 0 or 1 per review, or None.
        batch_size: reviews in a batch; the last batch may be smaller.
        shuffle_seed: reviews are shuffled with it before each epoch; None: all epochs are the same.
        padded_length: pre-pad every review to this number of tokens instead, as classic scripts do.
            Batches then hold reviews of any length.
        initial_epoch: index of the first epoch, as in ``fit``.
        sample_weights: a float32 per review; None: all weigh the same.
    """

    def __init__(
        self,
        sequences: Sequence[np.ndarray],
        labels: np.ndarray | None,
        batch_size: int,
        shuffle_seed: int | None = None,
        padded_length: int | None = None,
        initial_epoch: int = 0,
        sample_weights: np.ndarray | None = None,
    ):
        # With two workers Keras turns the auto-tuning of tf.data off. Otherwise TensorFlow 2.21 may
        # wait for the tuning thread at the end of an epoch, which can double its time. On other
        # backends Keras 3.15 would begin an epoch with batches that its workers prepared for the
        # previous one.
        super().__init__(workers=2 if keras.backend.backend() == "tensorflow" else 1)
        if not isinstance(sequences, Sequences):
            sequences = concatenate(sequences, hashed=False)
        self.sequences = sequences
        self.labels = None if labels is None else np.asarray(labels, dtype=np.float32)
        self.lengths = self.sequences.lengths
        if sample_weights is not None and len(sample_weights) != len(sequences):
            raise ValueError(f"{len(sample_weights)} sample weights for {len(sequences)} reviews")
        self.sample_weights = sample_weights
        self.batch_size = batch_size
        self.shuffle_seed = shuffle_seed
        self.padded_length = padded_length
        self.length_multiple = 1
        if keras.backend.backend() == "jax":
            # Derived from a power of two, so that other sets of reviews share these lengths.
            power = 1 << int(self.lengths.max() - 1).bit_length()
            self.length_multiple = max(power // LENGTHS_TO_COMPILE, 1)
        self.epoch = initial_epoch
        self.devices = 1 if labels is None else device_count()
        self._plan_epoch()

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        positions, weights = self._share(self.batches[index])
        if self.padded_length:
            x = self.sequences.pad(positions, self.padded_length, "pre")
        else:
            x = self.sequences.pad(positions, self._length(index))
        if self.labels is None:
            return (x,)
        if self.sample_weights is not None:
            weights = (np.prod([self.sample_weights[positions], *weights], axis=0),)
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
        # Keras divides the loss of a batch by its number of rows. The weights make it the mean over
        # the reviews: of the batch in a training step, of the whole set in an evaluation.
        if self.shuffle_seed is not None:
            weights[:reviews] = rows / reviews
        else:
            weights[:reviews] = self.rows / len(self.labels)
        local = local_rows(rows)
        return np.resize(positions, rows)[local], (weights[local],)

    def _count_rows(self, reviews):
        return -(-reviews // self.devices) * self.devices

    def _length(self, index):
        """Return the number of tokens to which a batch is padded."""
        length = self._longest(index)
        # On TensorFlow, Keras infers from the first two batches which dimensions are fixed. The
        # number of tokens must not look fixed, so the two must differ in it.
        is_first = index == 0 and self.length_multiple == 1 and len(self) > 1
        return length + 1 if is_first and length == self._longest(1) else length

    def _longest(self, index):
        batch = self.batches[index]
        # Where each length is compiled, the smaller last batch of an epoch has one length only.
        is_remainder = self.length_multiple > 1 and len(batch) < self.batch_size
        longest = (self.lengths if is_remainder else self.lengths[batch]).max()
        return -(-longest // self.length_multiple) * self.length_multiple

    def _plan_epoch(self):
        """Choose the reviews of each batch of this epoch, and the order of the batches."""
        order = np.arange(len(self.sequences))
        generator = None
        if self.shuffle_seed is not None:
            generator = np.random.default_rng([self.shuffle_seed, self.epoch])
            generator.shuffle(order)
        if not self.padded_length:
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


def make_batches(
    data: Dataset, batch_size: int, padding: str, seed: int, initial_epoch: int = 0
) -> tuple[Batches, Batches | None, Batches]:
    """Return the batches of the training, the validation and the test set.

    Those of the validation set are None if it is empty, as ``fit`` takes it.

    Args:
        data: the reviews.
        batch_size: reviews in a batch.
        padding: ``"post"``, for a network that masks the padding, or ``"pre"``, which pads every
            review to ``data.maximum_tokens``.
        seed: shuffles the training reviews.
        initial_epoch: index of the first epoch, as in ``fit``.
    """
    length = data.maximum_tokens if padding == "pre" else None
    validation = None
    if len(data.x_validation):
        validation = Batches(data.x_validation, data.y_validation, batch_size, None, length)
    return (
        Batches(
            data.x_train, data.y_train, batch_size, seed, length, initial_epoch, data.sample_weights
        ),
        validation,
        Batches(data.x_test, data.y_test, batch_size, None, length),
    )


def predict_in_batches(
    predict_on_batch: Callable[[np.ndarray], np.ndarray],
    sequences: Sequence[np.ndarray],
    batch_size: int,
    padded_length: int | None = None,
) -> np.ndarray:
    """Return a network's outputs for reviews, shape ``(reviews, …)``, in the reviews' order.

    Args:
        predict_on_batch: a model's method of this name, or its equivalent in another runtime.
        sequences, batch_size, padded_length: as for `Batches`.
    """
    batches = Batches(sequences, None, batch_size, padded_length=padded_length)
    # `Model.predict` would pass each batch through tf.data, which takes time.
    outputs = np.concatenate([predict_on_batch(*batches[index]) for index in range(len(batches))])
    ordered = np.empty_like(outputs)
    ordered[np.concatenate(batches.batches)] = outputs
    return ordered

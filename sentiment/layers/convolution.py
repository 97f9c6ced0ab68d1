"""Convolution and pooling that leave the padding out: Keras' own layers ignore masks."""

from keras import layers, ops

from sentiment.data.tokenizer import PADDING_ID


def padding_mask(word_ids, padding: str):
    """Return which word ids a network is to read.

    Args:
        word_ids: ``(batch, tokens)``.
        padding: ``"post"``: all but the padding; ``"pre"``: all of them.

    Returns:
        float32 ``(batch, tokens, 1)``: 1 for an id to read, otherwise 0.
    """
    mask = ops.not_equal(word_ids, PADDING_ID) if padding == "post" else ops.ones_like(word_ids)
    return ops.expand_dims(ops.cast(mask, "float32"), -1)


def masked_conv_pool(x, mask, filters: int, kernel_size: int, pool_size: int):
    """Apply a convolution with ReLU, then max pooling; masked steps count as zeros.

    Args:
        x: ``(batch, steps, features)``.
        mask: what `padding_mask` returns, ``(batch, steps, 1)``.
        filters, kernel_size: as for `keras.layers.Conv1D`.
        pool_size: as for `keras.layers.MaxPooling1D`.

    Returns:
        The pooled output ``(batch, pooled_steps, filters)``, and its mask
        ``(batch, pooled_steps)``, true where a group has a step that is not masked.
    """

    def pool(x):
        # The zeros complete the last group, so that no step is lost with it.
        return layers.MaxPooling1D(pool_size)(layers.ZeroPadding1D((0, pool_size - 1))(x))

    x = x * mask
    x = layers.Conv1D(filters, kernel_size, padding="same", activation="relu")(x) * mask
    return pool(x), ops.squeeze(pool(mask), -1) > 0

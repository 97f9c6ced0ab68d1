"""The layers of the networks, and the weights that they start from.

lstm.py             LSTM, a drop-in keras.layers.LSTM; lstm_tensorflow.py with block_lstm.py
                    is its fast implementation on CPUs, lstm_jax.py that on GPUs
naive_bayes.py      NaiveBayes: word and bigram counts as a layer
convolution.py      convolution and pooling that leave the padding out
initializers.py     what a network starts from: word vectors, chrono initialization, counts
"""

from sentiment.layers.convolution import masked_conv_pool, padding_mask
from sentiment.layers.initializers import count_words, set_chrono_bias, set_word_vectors
from sentiment.layers.lstm import LSTM
from sentiment.layers.naive_bayes import NaiveBayes

__all__ = [
    "LSTM",
    "NaiveBayes",
    "count_words",
    "masked_conv_pool",
    "padding_mask",
    "set_chrono_bias",
    "set_word_vectors",
]

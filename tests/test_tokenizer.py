"""Text is split and encoded exactly as keras.datasets.imdb was made."""

import numpy as np
import pytest

from sentiment.data.tokenizer import (
    OOV_ID,
    START_ID,
    encode,
    encode_corpus,
    split_as_spelled,
    tokenize,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's GOOD.<br />Very-good", ["it's", "good", "br", "very", "good"]),
        ("ÉCOLE Été\x85 naïve\r x", ["École", "Été\x85", "naïve\r", "x"]),
        ("tab\tnew\nline", ["tab", "new", "line"]),
        ("", []),
        ("!?.", []),
        ("\ud800 lone surrogate", ["lone", "surrogate"]),
    ],
)
def test_text_is_split_as_keras_split_bytes(text, words):
    assert tokenize(text) == words
    assert [tokenize(word) for word in split_as_spelled(text)] == [[word] for word in words]


def test_oov_words_and_the_order_of_equally_frequent_words():
    texts = ["b a c", "C b", "c"]
    sequences, vocabulary = encode_corpus(texts)
    assert vocabulary[4:] == ["c", "b", "a"]
    assert encode_corpus(["b a"])[1][4:] == ["a", "b"]
    ids = {word: i for i, word in enumerate(vocabulary)}
    assert encode("A z c", ids).tolist() == [START_ID, 6, OOV_ID, 4]
    for text, sequence in zip(texts, sequences, strict=True):
        np.testing.assert_array_equal(sequence, encode(text, ids), strict=True)

"""Text is split and encoded exactly as keras.datasets.imdb was made; typed text is normalized."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.data.tokenizer import (
    OOV_ID,
    START_ID,
    encode,
    encode_corpus,
    normalize,
    split_as_spelled,
    tokenize,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's GOOD.<br />Very-good", ["it's", "good", "br", "very", "good"]),
        ("ÉCOLE Été\x85 naïve\r x", ["École", "Été\x85", "naïve\r", "x"]),
        ("It\u2019s \u201cfine\u201d is n't", ["it\u2019s", "\u201cfine\u201d", "is", "n't"]),
        ("tab\tnew\nline", ["tab", "new", "line"]),
        ("", []),
        ("!?.", []),
        ("\ud800 lone surrogate", ["lone", "surrogate"]),
    ],
)
def test_text_is_split_as_keras_split_bytes(text, words):
    assert tokenize(text) == words
    assert set(encode_corpus([text, "x"])[1][4:]) == {*words, "x"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It\u2019s, isn\u2018t, don\u02bct, WON\u00b4T, can\x92t", "It's isn't don't WON'T can't"),
        ("a \u201cgreat\u201d film\u2014and fun\u2026 \u00bfno?", "a great film and fun no"),
        ("great\U0001f44d\U0001f44d\U0001f3fd film", "great \U0001f44d \U0001f44d film"),
        ("I \u2764\ufe0f it", "I \u2764 it"),
        ("5\u20ac for \u00bd a star\u2122", "5 \u20ac for \u00bd a star \u2122"),
        ("no\u00a0break, wide\u2003space, new\u2028line", "no break wide space new line"),
        ("\ufeffin\u200bvis\u00adi\u2060ble", "invisible"),
        ("caf\u00e9\x85 bell\x07bell", "caf\u00e9 bell bell"),
        ("lines of\r\nWindows", "lines of Windows"),
        ("cafe\u0301 cafe\u200b\u0301", "caf\u00e9 caf\u00e9"),
        ("\u7535\u5f71, \u0928\u092e\u0938\u094d\u0924\u0947", "\u7535\u5f71 नमस्ते"),
        ("a \ud800lone\udfff surrogate", "a lone surrogate"),
        ("It is n't. IS N'T it?", "It isn't ISN'T it"),
        ("a film 's end , I 'M , you \u2019re", "a film's end I'M you're"),
        ("I 've , we 'll , he 'd", "I've we'll he'd"),
        (
            "the 's' of 'M*A*S*H' 're-made' in the '80s. 's",
            "the 's' of 'M A S H' 're made' in the '80s 's",
        ),
        ("!?\u2026", ""),
    ],
)
def test_typed_text_is_normalized(text, words):
    assert split_as_spelled(text) == words.split()


@given(st.text("a'nstN \n\r\u2019\u200b\u0301\ufe0f\U0001f44d\u201c\ud800"))
def test_any_text_is_normalized_once_and_for_all(text):
    normalized = normalize(text)
    assert normalize(normalized) == normalized
    assert [tokenize(word) for word in split_as_spelled(text)] == [
        [word] for word in tokenize(normalized)
    ]


def test_oov_words_and_the_order_of_equally_frequent_words():
    texts = ["b a c", "C b", "c"]
    sequences, vocabulary = encode_corpus(texts)
    assert vocabulary[4:] == ["c", "b", "a"]
    assert encode_corpus(["b a"])[1][4:] == ["a", "b"]
    ids = {word: i for i, word in enumerate(vocabulary)}
    assert encode("A z c", ids).tolist() == [START_ID, 6, OOV_ID, 4]
    for text, sequence in zip(texts, sequences, strict=True):
        np.testing.assert_array_equal(sequence, encode(text, ids), strict=True)


def test_typed_words_are_found_in_the_vocabulary():
    ids = {"isn't": 4, "great": 5, "'quoted'": 6, "caf\u00e9": 7}
    text = "is n't 'Great' \u2018quoted\u2019 '' \U0001f44d \u201ccafe\u0301\u201d great\u2026"
    assert encode(text, ids).tolist() == [START_ID, 4, 5, 6, OOV_ID, OOV_ID, 7, 5]

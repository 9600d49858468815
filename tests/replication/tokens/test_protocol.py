from __future__ import annotations

import numpy as np
import pytest

from replication.tokens.encodings import Paper
from replication.tokens.protocol import CLS, PAD, SEP, SPECIAL_TOKENS, from_text, pack, strip_special, to_text
from replication.util.errors import UserError

PAPER = Paper()


def test_special_tokens_are_the_first_words() -> None:
    assert [SPECIAL_TOKENS[token] for token in (PAD, CLS, SEP)] == ["[PAD]", "[CLS]", "[SEP]"]
    assert sorted((PAD, CLS, SEP)) == [0, 1, 2]


def test_an_unknown_word_is_named() -> None:
    with pytest.raises(UserError, match="'p200' is not a word"):
        from_text(PAPER, "v64 p200")


def test_text_shows_numbers_that_are_not_tokens() -> None:
    ids = from_text(PAPER, "[CLS] v64 d8 p60 [SEP]")
    assert to_text(PAPER, [*ids, PAD, -1, 10**9, PAD]) == "[CLS] v64 d8 p60 [SEP] ? ?"


@pytest.mark.parametrize(
    ("tokens", "inside", "repairs"),
    [
        ([CLS, 7, 8, SEP, PAD, PAD], [7, 8], 0),
        ([CLS, SEP], [], 0),
        ([7, SEP], [7], 1),  # no beginning
        ([CLS, 7, PAD], [7, PAD], 1),  # no end
        ([CLS, SEP, 7, PAD, SEP], [], 2),  # tokens after the end
        ([], [], 2),
    ],
)
def test_special_tokens_enclose_the_music(tokens: list[int], inside: list[int], repairs: int) -> None:
    assert strip_special(tokens) == (inside, repairs)
    assert strip_special(np.array(tokens, dtype=np.uint16)) == (inside, repairs)


def test_notes_are_packed_until_one_does_not_fit() -> None:
    onsets = np.array([5, 6, 9, 9], dtype=np.int32)
    slots = ((7, np.array([0, 1, 0, 90]), 2), (np.array([10, 11, 12, 13]), 1, 1))
    windows, starts = pack(onsets, slots, 8)
    assert windows.tolist() == [
        [CLS, 7, 7, 10, 7, 11, 12, SEP],  # completely full
        [CLS, 7, 7, 13, SEP, PAD, PAD, PAD],
    ]
    assert starts.tolist() == [5, 9]
    windows, starts = pack(onsets, slots, 7)
    assert windows[:, 1:-1].tolist() == [[7, 7, 10, 7, 11], [7, 7, 12, SEP, PAD], [7, 7, 13, SEP, PAD]]
    assert starts.tolist() == [5, 9, 9]
    assert windows.dtype == np.uint16
    assert starts.dtype == np.int32


def test_a_window_must_hold_a_note() -> None:
    with pytest.raises(UserError, match="a window of 4 tokens cannot hold a note of this encoding; use at least 5"):
        pack(np.zeros(1, dtype=np.int32), ((7, 0, 2), (8, 1, 1)), 4)

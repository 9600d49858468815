from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.errors import UserError
from replication.piece import sorted_notes
from replication.tokens import CLS, ENCODINGS, PAD, SEP, Paper, from_text, to_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAPER = Paper()
LONG = 4000

# On the code's grid: what it can write without loss.
NOTES = st.lists(
    st.tuples(st.integers(0, 400), st.integers(1, 56), st.integers(30, 95), st.integers(8, 31).map(lambda v: 4 * v)),
    min_size=1,
    max_size=60,
).map(sorted_notes)
ANY_NOTES = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(1, 500), st.integers(0, 127), st.integers(1, 127)),
    min_size=1,
    max_size=60,
).map(sorted_notes)


def test_the_vocabulary_is_the_papers() -> None:
    kinds = [word[0] for word in PAPER.vocabulary]
    counts = {kind: kinds.count(kind) for kind in "[apvd"}
    assert counts == {"[": 3, "a": 1, "p": 66, "v": 24, "d": 56}
    assert len(set(PAPER.vocabulary)) == len(PAPER.vocabulary) == 150


def test_a_chord_is_a_run_of_notes_and_state_is_written_once() -> None:
    notes = sorted_notes([(0, 8, 60, 64), (0, 8, 64, 64), (0, 8, 67, 64), (8, 8, 65, 64), (12, 4, 72, 100)])
    (window,) = PAPER.windows(notes, 30)
    text = "[CLS] v64 d8 p60 p64 p67 a p65 d4 a v100 p72 [SEP]"
    assert to_text(PAPER, window) == text
    assert from_text(PAPER, text) == window[window != PAD].tolist()


def test_a_long_wait_is_written_in_parts() -> None:
    notes = sorted_notes([(0, 1, 60, 64), (130, 1, 60, 64)])
    (window,) = PAPER.windows(notes, 30)
    assert to_text(PAPER, window) == "[CLS] v64 d1 p60 d56 a a d18 a d1 p60 [SEP]"


@given(NOTES)
@settings(max_examples=100, deadline=None)
def test_decode_after_encode_is_the_identity_on_the_grid(notes: NDArray[Any]) -> None:
    (window,) = PAPER.windows(notes, LONG)
    decoded = PAPER.decode(window)
    moved = notes.copy()
    moved["onset"] -= notes["onset"][0]  # a window starts at its first note
    np.testing.assert_array_equal(decoded.notes, moved)
    assert decoded.valid


@given(ANY_NOTES, st.integers(5, 66))
@settings(max_examples=100, deadline=None)
def test_windows_are_valid_and_together_hold_every_note(notes: NDArray[Any], length: int) -> None:
    written = PAPER.representable(notes)
    windows = PAPER.windows(notes, length)
    decoded = [PAPER.decode(window) for window in windows]
    assert all(item.valid for item in decoded)
    assert all(len(window) == length and window.dtype == np.uint16 for window in windows)
    for name in ("duration", "pitch", "velocity"):
        np.testing.assert_array_equal(np.concatenate([item.notes[name] for item in decoded]), written[name])


@given(ANY_NOTES)
@settings(max_examples=50, deadline=None)
def test_what_is_representable_stays_as_it_is(notes: NDArray[Any]) -> None:
    once = PAPER.representable(notes)
    np.testing.assert_array_equal(PAPER.representable(once), once)
    assert once["pitch"].min() >= 30
    assert once["pitch"].max() < 96
    assert set(once["velocity"] % 4) == {0}


def test_pitches_fold_by_octaves_and_velocities_floor_to_classes() -> None:
    notes = sorted_notes([(0, 80, 21, 127), (1, 1, 29, 1), (2, 1, 108, 63), (3, 1, 96, 64), (4, 1, 127, 35)])
    written = PAPER.representable(notes)
    assert written["pitch"].tolist() == [33, 41, 84, 84, 91]
    assert written["velocity"].tolist() == [124, 32, 60, 64, 32]
    assert written["duration"].tolist() == [56, 1, 1, 1, 1]


@given(st.lists(st.integers(0, len(PAPER.vocabulary) - 1), max_size=80))
@settings(max_examples=200, deadline=None)
def test_decode_reads_anything(tokens: list[int]) -> None:
    decoded = PAPER.decode(tokens)
    assert decoded.repairs >= 0
    assert decoded.notes["duration"].min(initial=1) >= 1


@pytest.mark.parametrize(
    ("text", "repairs", "notes"),
    [
        ("[CLS] v64 d8 p60 [SEP]", 0, 1),
        ("v64 d8 p60 [SEP]", 1, 1),  # no beginning
        ("[CLS] v64 d8 p60", 1, 1),  # no end
        ("[CLS] p60 v64 d8 p62 [SEP]", 1, 1),  # a note before its state is set
        ("[CLS] a v64 d8 p60 [SEP]", 1, 1),  # a wait before its duration is set
        ("[CLS] v64 d8 [CLS] p60 [SEP]", 1, 1),  # a mark inside
        ("[CLS] v64 d8 p60 [SEP] p62 p64", 2, 1),  # music after the end
        ("[CLS] [SEP]", 0, 0),
    ],
)
def test_the_grammar_counts_repairs(text: str, repairs: int, notes: int) -> None:
    decoded = PAPER.decode(from_text(PAPER, text))
    assert (decoded.repairs, len(decoded.notes)) == (repairs, notes)
    assert decoded.valid == (repairs == 0 and notes > 0)


def test_an_unknown_word_is_named() -> None:
    with pytest.raises(UserError, match="'p200' is no word"):
        from_text(PAPER, "v64 p200")


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
def test_every_encoding_begins_with_the_marks(encoding: Paper) -> None:
    assert encoding.vocabulary[:3] == ("[PAD]", "[CLS]", "[SEP]")
    assert (PAD, CLS, SEP) == (0, 1, 2)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.midi.piece import PAPER_GRID, Seconds, sorted_notes
from replication.midi.synthetic import compose
from replication.tokens.encodings import ENCODINGS, Paper, Triples, encoding_on
from replication.tokens.protocol import CLS, PAD, SEP, SPECIAL_TOKENS, Encoding, from_text, to_text
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Write = Callable[[tuple[int, int, int, int], tuple[int, int, int, int] | None], str]

PAPER, TRIPLES = Paper(), Triples()
LONG = 4000
SHORTEST = 7  # length of a window that can hold a note in every encoding

FAR = 2**24  # steps of the longest piece
PITCH, VELOCITY = st.integers(0, 127), st.integers(1, 127)
NOTES = st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 500), PITCH, VELOCITY), max_size=60).map(sorted_notes)
SPARSE = st.lists(st.tuples(st.integers(0, FAR), st.integers(1, FAR), PITCH, VELOCITY), max_size=20).map(sorted_notes)
LENGTHS = st.integers(SHORTEST, 66)

every_encoding = pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
fifty = settings(max_examples=50, deadline=None)


def read(encoding: Encoding, windows: NDArray[Any], starts: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the notes of each window at their steps in the piece."""
    decoded = [encoding.decode(window) for window in windows]
    assert all(item.valid for item in decoded)
    for item, start in zip(decoded, starts, strict=True):
        assert item.notes["onset"][0] == 0
        item.notes["onset"] += start
    return [item.notes for item in decoded]


@every_encoding
def test_a_vocabulary_begins_with_the_special_tokens_and_has_unique_words(encoding: Encoding) -> None:
    assert encoding.vocabulary[:3] == SPECIAL_TOKENS == ("[PAD]", "[CLS]", "[SEP]")
    assert len(set(encoding.vocabulary)) == len(encoding.vocabulary) < 2**16


@every_encoding
@given(notes=NOTES | SPARSE, length=LENGTHS)
@fifty
def test_windows_together_contain_the_representable_notes(encoding: Encoding, notes: NDArray[Any], length: int) -> None:
    windows, starts = encoding.windows(notes, length)
    assert windows.shape == (len(starts), length)
    assert windows.dtype == np.uint16
    assert starts.dtype == np.int32
    held = read(encoding, windows, starts)
    np.testing.assert_array_equal(np.concatenate([notes[:0], *held]), encoding.representable(notes))


@every_encoding
@given(notes=NOTES, length=LENGTHS)
@fifty
def test_a_window_can_be_decoded_alone_and_is_full(encoding: Encoding, notes: NDArray[Any], length: int) -> None:
    windows, starts = encoding.windows(notes, length)
    notes = encoding.representable(notes)
    first = 0
    for window, held in zip(windows, read(encoding, windows, starts), strict=True):
        after = first + len(held)
        ((alone,), _) = encoding.windows(notes[first:after], LONG)
        assert alone[alone != PAD].tolist() == window[window != PAD].tolist()
        if after < len(notes):
            ((longer,), _) = encoding.windows(notes[first : after + 1], LONG)
            assert np.count_nonzero(longer != PAD) > length
        first = after


@every_encoding
@given(notes=NOTES | SPARSE)
@fifty
def test_representable_notes_are_unchanged(encoding: Encoding, notes: NDArray[Any]) -> None:
    once = encoding.representable(notes)
    np.testing.assert_array_equal(encoding.representable(once), once)


@every_encoding
@given(data=st.data())
@fifty
def test_decode_accepts_any_integers(encoding: Encoding, data: st.DataObject) -> None:
    count = len(encoding.vocabulary)
    tokens = data.draw(st.lists(st.integers(0, count - 1) | st.integers(), max_size=80))
    decoded = encoding.decode(tokens)
    assert 0 <= decoded.repairs <= len(tokens) + 2
    assert decoded.repairs >= sum(not 0 <= token < count for token in tokens)
    np.testing.assert_array_equal(encoding.representable(decoded.notes), decoded.notes)


@every_encoding
@given(notes=NOTES.filter(len), data=st.data())
@fifty
def test_decode_skips_an_inserted_token(encoding: Encoding, notes: NDArray[Any], data: st.DataObject) -> None:
    ((window,), _) = encoding.windows(notes, LONG)
    tokens = window[window != PAD].tolist()
    at = data.draw(st.integers(1, len(tokens) - 1))
    decoded = encoding.decode([*tokens[:at], len(encoding.vocabulary), *tokens[at:]])
    whole = encoding.decode(tokens).notes
    assert decoded.repairs >= 1
    assert len(whole) - 1 <= len(decoded.notes) <= len(whole)  # a token inserted into a note costs the note


@every_encoding
def test_no_notes_give_no_windows(encoding: Encoding) -> None:
    windows, starts = encoding.windows(sorted_notes([]), 66)
    assert (windows.shape, starts.shape) == ((0, 66), (0,))
    assert not encoding.decode([CLS, SEP]).valid


@every_encoding
def test_a_window_too_short_for_a_note_is_an_error(encoding: Encoding) -> None:
    notes = sorted_notes([(0, 8, 60, 64)])
    with pytest.raises(UserError, match="a window of 4 tokens cannot hold a note"):
        encoding.windows(notes, 4)
    assert encoding.windows(notes, SHORTEST)[0].shape == (1, SHORTEST)


def test_all_encodings_keep_the_same_music() -> None:
    for index in range(30):
        notes = compose(np.random.default_rng([0, index]))
        decoded = {name: np.concatenate(read(code, *code.windows(notes, 66))) for name, code in ENCODINGS.items()}
        np.testing.assert_array_equal(decoded["paper"], notes)
        np.testing.assert_array_equal(decoded["triples"], notes)
        for name in ("onset", "duration", "pitch"):
            np.testing.assert_array_equal(decoded["remi"][name], notes[name])
        assert np.abs(decoded["remi"]["velocity"].astype(int) - notes["velocity"]).max() <= 2


def paper_words(note: tuple[int, int, int, int], last: tuple[int, int, int, int] | None) -> str:
    onset, steps, pitch, velocity = note
    now, duration, _, loudness = last or (onset, 0, 0, 0)
    words = []
    while now < onset:
        wait = min(onset - now, 56)
        words += ["a"] if wait == duration else [f"d{wait}", "a"]
        now, duration = now + wait, wait
    words += [f"v{velocity}"] * (velocity != loudness) + [f"d{steps}"] * (steps != duration)
    return " ".join([*words, f"p{pitch}"])


def triples_words(note: tuple[int, int, int, int], last: tuple[int, int, int, int] | None) -> str:
    onset, steps, pitch, velocity = note
    gap = onset - last[0] if last else 0
    shifts = ["t56"] * (gap // 56) + [f"t{gap % 56}"] * (gap % 56 > 0)
    return " ".join([*shifts, f"p{pitch}", f"v{velocity}", f"d{steps}"])


def one_by_one(encoding: Encoding, write: Write, notes: NDArray[Any], length: int) -> Iterator[str]:
    """Yield the windows as texts, encoded note by note: the reference for the encoding by arrays."""
    text, last = "", None
    for note in encoding.representable(notes).tolist():
        words = write(note, last)
        if last is None or len(f"{text} {words}".split()) > length - 2:
            if last is not None:
                yield f"[CLS] {text} [SEP]"
            text, words = "", write(note, None)
        text, last = f"{text} {words}".strip(), note
    if last is not None:
        yield f"[CLS] {text} [SEP]"


BY_ARRAYS = pytest.mark.parametrize(
    ("encoding", "write"), [(PAPER, paper_words), (TRIPLES, triples_words)], ids=["paper", "triples"]
)


@BY_ARRAYS
@given(notes=NOTES, length=st.integers(5, 80))
@settings(max_examples=150, deadline=None)
def test_encoding_by_arrays_equals_encoding_note_by_note(
    encoding: Encoding, write: Write, notes: NDArray[Any], length: int
) -> None:
    windows, _ = encoding.windows(notes, length)
    assert [to_text(encoding, window) for window in windows] == list(one_by_one(encoding, write, notes, length))


@BY_ARRAYS
def test_encoding_whole_pieces_by_arrays_equals_encoding_note_by_note(encoding: Encoding, write: Write) -> None:
    for index in range(10):
        notes = compose(np.random.default_rng([1, index]))
        windows, _ = encoding.windows(notes, 66)
        assert [to_text(encoding, window) for window in windows] == list(one_by_one(encoding, write, notes, 66))


def test_the_vocabulary_of_paper() -> None:
    kinds = [word[0] for word in PAPER.vocabulary]
    assert {kind: kinds.count(kind) for kind in kinds} == {"[": 3, "a": 1, "p": 66, "v": 24, "d": 56}


def test_the_vocabulary_of_triples() -> None:
    kinds = [word[0] for word in TRIPLES.vocabulary]
    assert {kind: kinds.count(kind) for kind in kinds} == {"[": 3, "t": 56, "p": 66, "v": 24, "d": 56}


def test_a_chord_is_a_run_of_notes_and_state_is_written_once() -> None:
    notes = sorted_notes([(0, 8, 60, 64), (0, 8, 64, 64), (0, 8, 67, 64), (8, 8, 65, 64), (12, 4, 72, 100)])
    ((window,), _) = PAPER.windows(notes, 30)
    text = "[CLS] v64 d8 p60 p64 p67 a p65 d4 a v100 p72 [SEP]"
    assert to_text(PAPER, window) == text
    assert from_text(PAPER, text) == window[window != PAD].tolist()


def test_triples_write_every_note_in_full() -> None:
    notes = sorted_notes([(3, 8, 60, 64), (3, 8, 64, 64), (11, 4, 72, 100)])
    ((window,), (start,)) = TRIPLES.windows(notes, 30)
    assert to_text(TRIPLES, window) == "[CLS] p60 v64 d8 p64 v64 d8 t8 p72 v100 d4 [SEP]"
    assert start == 3


def test_a_long_wait_takes_several_tokens() -> None:
    notes = sorted_notes([(0, 1, 60, 64), (130, 1, 60, 64)])
    ((window,), _) = PAPER.windows(notes, 30)
    assert to_text(PAPER, window) == "[CLS] v64 d1 p60 d56 a a d18 a d1 p60 [SEP]"
    ((window,), _) = TRIPLES.windows(notes, 30)
    assert to_text(TRIPLES, window) == "[CLS] p60 v64 d1 t56 t56 t18 p60 v64 d1 [SEP]"


@every_encoding
def test_a_wait_longer_than_a_window_is_not_written(encoding: Encoding) -> None:
    notes = sorted_notes([(k * (FAR // 500), 8, 60, 64) for k in range(501)])
    windows, starts = encoding.windows(notes, 66)
    assert starts.tolist() == notes["onset"].tolist()
    np.testing.assert_array_equal(np.concatenate(read(encoding, windows, starts)), encoding.representable(notes))


def test_pitches_are_folded_by_octaves_and_velocities_floored_to_classes() -> None:
    notes = sorted_notes([(0, 80, 21, 127), (1, 1, 29, 1), (2, 1, 108, 63), (3, 1, 96, 64), (4, 1, 127, 35)])
    for encoding in (PAPER, TRIPLES):
        written = encoding.representable(notes)
        assert written["pitch"].tolist() == [33, 41, 84, 84, 91]
        assert written["velocity"].tolist() == [124, 32, 60, 64, 32]
        assert written["duration"].tolist() == [56, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("text", "repairs", "notes"),
    [
        ("[CLS] v64 d8 p60 [SEP]", 0, 1),
        ("v64 d8 p60 [SEP]", 1, 1),  # no beginning
        ("[CLS] v64 d8 p60", 1, 1),  # no end
        ("[CLS] p60 v64 d8 p62 [SEP]", 1, 1),  # a note before its state is set
        ("[CLS] a v64 d8 p60 [SEP]", 1, 1),  # a wait before its duration is set
        ("[CLS] v64 d8 [CLS] p60 [SEP]", 1, 1),  # a special token inside
        ("[CLS] v64 d8 p60 [SEP] p62 p64", 2, 1),  # music after the end
        ("[CLS] [SEP]", 0, 0),
    ],
)
def test_the_grammar_of_paper_counts_repairs(text: str, repairs: int, notes: int) -> None:
    decoded = PAPER.decode(from_text(PAPER, text))
    assert (decoded.repairs, len(decoded.notes)) == (repairs, notes)
    assert decoded.valid == (repairs == 0 and notes > 0)


@pytest.mark.parametrize(
    ("text", "repairs", "notes"),
    [
        ("p60 v64 d8", 0, [(0, 60)]),
        ("t3 t4 p60 v64 d8 p62 v64 d8 t1 p64 v64 d8", 0, [(7, 60), (7, 62), (8, 64)]),
        ("p60 v64 p62 v64 d8", 2, [(0, 62)]),  # no duration
        ("p60 d8 v64 t2 p62 v64 d8", 3, [(2, 62)]),  # in the wrong order
        ("p60 v64 t2 d8 p62 v64 d8", 3, [(2, 62)]),  # a shift inside a note
        ("v64 d8 p62 v64 d8", 2, [(0, 62)]),  # no pitch
        ("p60 p62 v64 d8 d9", 2, [(0, 62)]),  # one word too many
        ("p60 v64 d8 [PAD] p62 v64 d8", 1, [(0, 60), (0, 62)]),  # a special token between notes
        ("p60 v64 [CLS] d8", 4, []),  # a special token inside a note
        ("p60 v64 d8 t4", 1, [(0, 60)]),  # a shift without a note after it
        ("p60 v64 d8 t4 t5 p60 v64", 4, [(0, 60)]),
        ("t4 t4", 2, []),
    ],
)
def test_the_grammar_of_triples_counts_repairs(text: str, repairs: int, notes: list[tuple[int, int]]) -> None:
    decoded = TRIPLES.decode(from_text(TRIPLES, f"[CLS] {text} [SEP]"))
    assert decoded.repairs == repairs
    assert decoded.notes[["onset", "pitch"]].tolist() == notes


def test_an_encoding_uses_the_grid_of_its_corpus() -> None:
    played = Seconds(steps_per_second=16)
    assert encoding_on("triples", played).grid == played
    assert encoding_on("paper", PAPER_GRID) == ENCODINGS["paper"]
    with pytest.raises(UserError, match="REMI needs a grid in beats, not Seconds"):
        encoding_on("remi", played)

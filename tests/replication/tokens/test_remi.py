from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic import Note, Score, Track

from replication.midi.piece import Beats, sorted_notes
from replication.midi.synthetic import compose
from replication.tokens.protocol import PAD, from_text, strip_special, to_text
from replication.tokens.remi import Remi, _tokenizer

REMI = Remi()
MIDITOK = _tokenizer(REMI)
N60, N62, N64 = (f"Pitch_{pitch} Velocity_63 Duration_1.0.8" for pitch in (60, 62, 64))


@pytest.mark.parametrize("remi", [REMI, Remi(velocities=24, longest=12, grid=Beats(steps_per_beat=12))])
def test_the_vocabulary_equals_that_of_miditok(remi: Remi) -> None:
    theirs = _tokenizer(remi).vocab
    assert list(theirs.values()) == list(range(len(theirs)))
    assert list(theirs)[:3] == ["PAD_None", "BOS_None", "EOS_None"]
    assert list(theirs)[3:] == list(remi.vocabulary[3:])


def test_only_encoding_and_decoding_need_miditok() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['miditok', 'symusic']));"
        " from replication.midi.piece import sorted_notes; from replication.tokens.remi import Remi;"
        " print(len(Remi().vocabulary), Remi().representable(sorted_notes([(0, 1, 60, 64)])))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3], capture_output=True
    )
    assert answer.stdout.decode().split()[0] == "252"


@given(
    st.lists(
        st.tuples(st.integers(0, 500), st.integers(1, 500), st.integers(0, 127), st.integers(1, 127)),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=50, deadline=None)
def test_representable_notes_are_those_that_miditok_returns(rows: list[tuple[int, int, int, int]]) -> None:
    notes = sorted_notes(rows)
    score: Any = Score(8)
    score.tracks.append(Track(notes=[Note(*row) for row in notes.tolist()]))
    (track,) = MIDITOK.decode(MIDITOK.encode(score)).tracks
    heard = sorted_notes((note.time, note.duration, note.pitch, note.velocity) for note in track.notes)
    np.testing.assert_array_equal(heard, REMI.representable(notes))


def test_a_window_begins_with_a_bar_and_continues_as_in_miditok() -> None:
    notes = sorted_notes([(37, 8, 60, 64), (37, 8, 64, 64), (40, 9, 60, 1), (160, 56, 127, 127)])
    ((window,), (start,)) = REMI.windows(notes, 30)
    assert to_text(REMI, window) == (
        f"[CLS] Bar_None Position_5 {N60} {N64} Position_8 Pitch_60 Velocity_3 Duration_1.1.8"
        " Bar_None Bar_None Bar_None Bar_None Position_0 Pitch_127 Velocity_127 Duration_7.0.8 [SEP]"
    )
    assert start == 37
    windows, starts = REMI.windows(notes, 9)
    assert to_text(REMI, windows[1]).startswith("[CLS] Bar_None Position_5 Pitch_64")
    assert starts.tolist() == [37, 37, 40, 160]


def test_a_piece_in_one_window_equals_the_sequence_of_miditok() -> None:
    notes = compose(np.random.default_rng(3))
    score: Any = Score(8)
    score.tracks.append(Track(notes=[Note(*row) for row in notes.tolist()]))
    (sequence,) = MIDITOK.encode(score)
    ((window,), _) = REMI.windows(notes, 2000)
    assert strip_special(window) == (sequence.ids, 0)


@given(st.lists(st.integers(0, 251) | st.sampled_from(from_text(REMI, f"Bar_None Position_3 {N60}")), max_size=80))
@settings(max_examples=100, deadline=None)
def test_miditok_finds_no_error_in_repaired_tokens(tokens: list[int]) -> None:
    kept = REMI._grammatical(tokens)
    assert PAD not in kept
    assert MIDITOK.tokens_errors([kept]) == [0]


@pytest.mark.parametrize(
    ("text", "repairs", "notes"),
    [
        (f"Bar_None Position_4 {N60}", 0, [(0, 60)]),
        (f"Bar_None Bar_None Position_4 {N60} {N62} Position_5 {N64}", 0, [(0, 60), (0, 62), (1, 64)]),
        (f"Bar_None Position_4 {N60} Bar_None Bar_None Position_0 {N62}", 0, [(0, 60), (60, 62)]),
        (f"Position_4 {N60} Bar_None Position_4 {N62}", 4, [(0, 62)]),  # before the first bar
        (f"Bar_None {N60} Position_4 {N62}", 3, [(0, 62)]),  # before the first position
        (f"Bar_None Position_4 Position_5 {N60}", 1, [(0, 60)]),  # a position without notes
        (f"Bar_None Position_4 Bar_None Position_4 {N60}", 1, [(0, 60)]),
        (f"Bar_None Position_4 {N60} Position_3 {N62}", 1, [(0, 60), (0, 62)]),  # backwards
        (f"Bar_None Position_4 {N60} Position_4 {N62}", 1, [(0, 60), (0, 62)]),  # a repeated position
        (f"Bar_None Position_4 {N60} Pitch_61 Velocity_63 Position_6 {N62}", 2, [(0, 60), (2, 62)]),  # no duration
        (f"Bar_None Position_4 Pitch_61 Duration_1.0.8 {N62}", 2, [(0, 62)]),  # no velocity
        (f"Bar_None Position_4 {N60} Velocity_63 {N62}", 1, [(0, 60), (0, 62)]),  # no pitch
        (f"Bar_None Position_4 [PAD] {N60}", 1, [(0, 60)]),  # a special token inside
        (f"Bar_None Position_4 {N60} Bar_None", 1, [(0, 60)]),  # a bar without notes
        (f"Bar_None Position_4 {N60} Bar_None Position_4 Pitch_60", 3, [(0, 60)]),
        ("Bar_None Bar_None", 2, []),
    ],
)
def test_the_grammar_counts_repairs(text: str, repairs: int, notes: list[tuple[int, int]]) -> None:
    decoded = REMI.decode(from_text(REMI, f"[CLS] {text} [SEP]"))
    assert decoded.repairs == repairs
    assert decoded.notes[["onset", "pitch"]].tolist() == notes

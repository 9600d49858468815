from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replication.midi import LONGEST, MidiError, Reason, read_midi, write_midi
from replication.piece import NOTE, PAPER_GRID, Beats, Piece, Seconds, sorted_notes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from replication.piece import Grid

Row = tuple[int, int, int, int]

ROW = st.tuples(st.integers(0, 400), st.integers(1, 60), st.integers(0, 127), st.integers(1, 127))
ROWS = st.lists(ROW, min_size=1, max_size=30)


def piece_of(rows: list[Row], grid: Grid = PAPER_GRID) -> Piece:
    return Piece(notes=sorted_notes(rows), id="a", group="a", grid=grid)


def without_overlaps(rows: list[Row]) -> list[Row]:
    """Keep a note only where its key is silent."""
    silent_from: dict[int, int] = {}
    kept = []
    for row in sorted_notes(rows).tolist():
        onset, duration, pitch, _ = row
        if onset >= silent_from.get(pitch, 0):
            silent_from[pitch] = onset + duration
            kept.append(row)
    return kept


def track(*events: bytes) -> bytes:
    body = b"".join(events) + b"\0\xff\x2f\0"
    return b"MTrk" + len(body).to_bytes(4, "big") + body


def midi(*tracks: bytes, ticks_per_beat: int = 480) -> bytes:
    header = (1).to_bytes(2, "big") + len(tracks).to_bytes(2, "big") + ticks_per_beat.to_bytes(2, "big")
    return b"MThd" + (6).to_bytes(4, "big") + header + b"".join(tracks)


def after(ticks: int, *event: int) -> bytes:
    """Return an event with its delta time, a variable-length quantity."""
    digits = [ticks & 127]
    while ticks := ticks >> 7:
        digits.insert(0, ticks & 127 | 128)
    return bytes(digits) + bytes(event)


def read(content: bytes, grid: Grid = PAPER_GRID) -> NDArray[Any]:
    return read_midi(content, id="a", group="a", grid=grid).notes


def reason_of(content: bytes, grid: Grid = PAPER_GRID) -> Reason:
    with pytest.raises(MidiError) as caught:
        read(content, grid)
    return caught.value.reason


@pytest.mark.parametrize("grid", [Beats(steps_per_beat=8), Beats(steps_per_beat=12), Beats(steps_per_beat=7)])
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_reading_what_was_written_gives_the_same_notes(tmp_path: Path, grid: Grid, rows: list[Row]) -> None:
    piece = piece_of(without_overlaps(rows), grid)
    write_midi(piece, tmp_path / "a.mid")
    assert read((tmp_path / "a.mid").read_bytes(), grid).tolist() == piece.notes.tolist()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_the_law_holds_in_seconds_too(tmp_path: Path, rows: list[Row]) -> None:
    grid = Seconds(steps_per_second=100)
    piece = piece_of(without_overlaps(rows), grid)
    write_midi(piece, tmp_path / "a.mid")
    assert read((tmp_path / "a.mid").read_bytes(), grid).tolist() == piece.notes.tolist()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_overlaps_of_one_key_lose_length_and_nothing_else(tmp_path: Path, rows: list[Row]) -> None:
    piece = piece_of(rows)
    before = piece.notes.copy()
    write_midi(piece, tmp_path / "a.mid")
    after_ = read((tmp_path / "a.mid").read_bytes())
    assert piece.notes.tolist() == before.tolist()
    assert after_[["onset", "pitch", "velocity"]].tolist() == before[["onset", "pitch", "velocity"]].tolist()
    assert (after_["duration"] <= before["duration"]).all()


def test_a_struck_key_ends_the_note_that_sounds(tmp_path: Path) -> None:
    write_midi(piece_of([(0, 32, 60, 64), (8, 4, 60, 80), (0, 32, 64, 64)]), tmp_path / "a.mid")
    assert read((tmp_path / "a.mid").read_bytes()).tolist() == [(0, 8, 60, 64), (0, 32, 64, 64), (8, 4, 60, 80)]


def test_equal_pieces_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_midi(piece_of([(0, 8, 60, 64), (8, 8, 62, 80)]), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_piece_without_notes_is_a_valid_file_without_notes(tmp_path: Path) -> None:
    write_midi(Piece(notes=np.empty(0, NOTE), id="a", group="a"), tmp_path / "a.mid")
    assert reason_of((tmp_path / "a.mid").read_bytes()) is Reason.EMPTY


def test_tracks_are_merged_and_drums_left_out() -> None:
    piano = track(after(0, 0x90, 60, 64), after(480, 0x80, 60, 0))
    violin = track(after(240, 0xC1, 40), after(0, 0x91, 72, 33), after(60, 0x81, 72, 0))
    drums = track(after(0, 0x99, 36, 127), after(480, 0x89, 36, 0))
    assert read(midi(piano, violin, drums)).tolist() == [(0, 8, 60, 64), (4, 1, 72, 33)]
    assert reason_of(midi(drums)) is Reason.EMPTY


def test_onsets_and_ends_are_rounded_and_no_note_vanishes() -> None:
    notes = track(after(31, 0x90, 60, 64), after(1, 0x80, 60, 0), after(80, 0x90, 62, 64), after(50, 0x90, 62, 0))
    # At 60 ticks a step: 31..32 is a point at step 1; 112..162 is 1.9..2.7, steps 2 to 3.
    assert read(midi(notes)).tolist() == [(1, 1, 60, 64), (2, 1, 62, 64)]


def test_the_tempo_counts_on_a_grid_in_seconds_alone() -> None:
    slow = after(0, 0xFF, 0x51, 3, *(1_000_000).to_bytes(3, "big"))
    content = midi(track(slow, after(480, 0x90, 60, 64), after(480, 0x80, 60, 0)))
    assert read(content).tolist() == [(8, 8, 60, 64)]
    assert read(content, Seconds(steps_per_second=16)).tolist() == [(16, 16, 60, 64)]


GRIDS: list[Grid] = [PAPER_GRID, Seconds(steps_per_second=16)]

NOTE_ON_OFF = track(after(0, 0x90, 60, 64), after(480, 0x80, 60, 0))

HOSTILE = {
    "nothing": (b"", Reason.UNREADABLE),
    "text": (b"<html>404 Not Found</html>", Reason.UNREADABLE),
    "header alone": (b"MThd\0\0\0\6", Reason.UNREADABLE),
    "wrong header": (b"RIFF" + midi(NOTE_ON_OFF)[4:], Reason.UNREADABLE),
    "truncated": (midi(NOTE_ON_OFF)[:-7], Reason.UNREADABLE),
    "data byte over 127": (midi(track(after(0, 0x90, 60, 200))), Reason.UNREADABLE),
    "no unit of time": (midi(NOTE_ON_OFF, ticks_per_beat=0), Reason.UNREADABLE),
    "frames instead of beats": (midi(NOTE_ON_OFF, ticks_per_beat=0xE728), Reason.UNREADABLE),
    "no tracks": (midi(), Reason.EMPTY),
    "no notes": (midi(track()), Reason.EMPTY),
    "a note of velocity 0": (midi(track(after(0, 0x90, 60, 0), after(480, 0x80, 60, 0))), Reason.EMPTY),
    "years of silence": (
        midi(track(*[after(2**28 - 1, 0xC0, 0)] * 4, NOTE_ON_OFF[8:-4]), ticks_per_beat=1),
        Reason.TOO_LONG,
    ),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_has_a_reason(name: str, grid: Grid) -> None:
    content, reason = HOSTILE[name]
    assert reason_of(content, grid) is reason


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_flipped_bytes_give_sound_notes_or_a_reason(data: st.DataObject) -> None:
    content = bytearray(midi(NOTE_ON_OFF, track(after(0, 0x91, 72, 33), after(60, 0x81, 72, 0))))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    grid = data.draw(st.sampled_from(GRIDS))
    try:
        notes = read(bytes(content), grid)
    except MidiError:
        return
    assert (notes["onset"] >= 0).all()
    assert (notes["duration"] >= 1).all()
    assert (notes["onset"] + notes["duration"].astype(int) <= LONGEST + 1).all()
    assert ((notes["velocity"] >= 1) & (notes["velocity"] <= 127) & (notes["pitch"] <= 127)).all()


@given(content=st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_random_bytes_have_a_reason(content: bytes) -> None:
    assert reason_of(content) in {Reason.UNREADABLE, Reason.EMPTY}

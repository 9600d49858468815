from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replication.midi.piece import NOTE, PAPER_GRID, Beats, Piece, Seconds, sorted_notes
from replication.midi.smf import (
    MAX_NOTES,
    MAX_NOTES_PER_ONSET,
    First,
    MidiError,
    Named,
    Reading,
    Reason,
    on_grid,
    read_midi,
    read_seconds,
    write_midi,
)
from tests.support.midi_bytes import after, meta, midi, music, note, track

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from replication.midi.piece import TimeGrid

Row = tuple[int, int, int, int]

ROW = st.tuples(st.integers(0, 400), st.integers(1, 60), st.integers(0, 127), st.integers(1, 127))
ROWS = st.lists(ROW, min_size=1, max_size=30)


def piece_of(rows: list[Row], grid: TimeGrid = PAPER_GRID) -> Piece:
    return Piece(notes=sorted_notes(rows), id="a", group="a", grid=grid)


def without_overlaps(rows: list[Row]) -> list[Row]:
    """Return the rows without notes that begin while their key sounds."""
    silent_from: dict[int, int] = {}
    kept = []
    for row in sorted_notes(rows).tolist():
        onset, duration, pitch, _ = row
        if onset >= silent_from.get(pitch, 0):
            silent_from[pitch] = onset + duration
            kept.append(row)
    return kept


def read(content: bytes, grid: TimeGrid = PAPER_GRID, **choices: Any) -> NDArray[Any]:  # noqa: ANN401 - fields of Reading
    return read_midi(content, id="a", group="a", reading=Reading(grid=grid, **choices)).notes


def reason_of(content: bytes, grid: TimeGrid = PAPER_GRID, **choices: Any) -> Reason:  # noqa: ANN401 - fields of Reading
    with pytest.raises(MidiError) as caught:
        read(content, grid, **choices)
    return caught.value.reason


@pytest.mark.parametrize("grid", [Beats(steps_per_beat=8), Beats(steps_per_beat=12), Beats(steps_per_beat=7)])
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_reading_a_written_file_gives_the_same_notes(tmp_path: Path, grid: TimeGrid, rows: list[Row]) -> None:
    piece = piece_of(without_overlaps(rows), grid)
    write_midi(piece, tmp_path / "a.mid")
    assert read((tmp_path / "a.mid").read_bytes(), grid).tolist() == piece.notes.tolist()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_reading_a_written_file_gives_the_same_notes_in_seconds(tmp_path: Path, rows: list[Row]) -> None:
    grid = Seconds(steps_per_second=100)
    piece = piece_of(without_overlaps(rows), grid)
    write_midi(piece, tmp_path / "a.mid")
    assert read((tmp_path / "a.mid").read_bytes(), grid).tolist() == piece.notes.tolist()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_overlapping_notes_of_one_key_are_only_shortened(tmp_path: Path, rows: list[Row]) -> None:
    piece = piece_of(rows)
    before = piece.notes.copy()
    write_midi(piece, tmp_path / "a.mid")
    after_ = read((tmp_path / "a.mid").read_bytes())
    assert piece.notes.tolist() == before.tolist()
    assert after_[["onset", "pitch", "velocity"]].tolist() == before[["onset", "pitch", "velocity"]].tolist()
    assert (after_["duration"] <= before["duration"]).all()


def test_a_note_ends_when_its_key_is_struck_again(tmp_path: Path) -> None:
    write_midi(piece_of([(0, 32, 60, 64), (8, 4, 60, 80), (0, 32, 64, 64)]), tmp_path / "a.mid")
    assert read((tmp_path / "a.mid").read_bytes()).tolist() == [(0, 8, 60, 64), (0, 32, 64, 64), (8, 4, 60, 80)]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("grid", [Seconds(steps_per_second=16), Seconds(steps_per_second=1000)])
def test_notes_in_seconds_are_those_of_a_grid_of_seconds(number: int, grid: Seconds) -> None:
    found = read_seconds(music(number))
    columns = (found[name] for name in ("onset", "end", "pitch", "velocity"))
    expected = read_midi(music(number), id="", group="", reading=Reading(grid=grid)).notes
    assert on_grid(*columns, steps=grid.steps_per_second).tolist() == expected.tolist()


def test_of_notes_that_begin_together_on_one_key_the_longest_is_given_in_seconds() -> None:
    voices = track(note(60, length=240)), track(note(60, length=480), note(60, length=0)), track(note(59, length=240))
    assert read_seconds(midi(*voices)).tolist() == [
        (0, 0.25, 59, 64),
        (0, 0.5, 60, 64),
        (0.5, pytest.approx(0.5 + 0.5 / 480), 60, 64),
    ]


def test_equal_pieces_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_midi(piece_of([(0, 8, 60, 64), (8, 8, 62, 80)]), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_piece_without_notes_is_a_valid_file_without_notes(tmp_path: Path) -> None:
    write_midi(Piece(notes=np.empty(0, NOTE), id="a", group="a"), tmp_path / "a.mid")
    assert reason_of((tmp_path / "a.mid").read_bytes()) is Reason.EMPTY


def by_four_columns(rows: list[Row]) -> list[Row]:
    kept: dict[tuple[int, int], Row] = {}
    for row in sorted(rows, key=lambda row: (row[0], row[2], -row[1], -row[3])):
        kept.setdefault((row[0], row[2]), row)
    return list(kept.values())


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from((0, 1, 2, 2**24, 2**25 - 1)),
            st.sampled_from((1, 2, 2**24, 2**25 - 1)),
            st.sampled_from((0, 1, 127)),
            st.sampled_from((0, 1, 127)),
        )
        | ROW,
        max_size=60,
    )
)
def test_notes_are_sorted_and_the_longest_and_loudest_of_one_key_is_kept(rows: list[Row]) -> None:
    notes = sorted_notes(rows)
    assert notes.dtype == NOTE
    assert notes.tolist() == by_four_columns(rows)
    assert sorted_notes(notes).tolist() == notes.tolist()


@pytest.mark.parametrize(
    "row", [(-1, 1, 0, 1), (0, -1, 0, 1), (2**25, 1, 0, 1), (0, 2**25, 0, 1), (0, 1, 128, 1), (0, 1, 0, 128)]
)
def test_a_note_out_of_range_is_an_error(row: Row) -> None:
    with pytest.raises(ValueError, match="out of range"):
        sorted_notes([row])


PIANO = track(meta(3, b"piano"), note(60, length=480))
VIOLIN = track(meta(3, b"chords"), after(0, 0xC1, 40), after(240, 0x91, 72, 33), after(60, 0x81, 72, 0))
DRUMS = track(after(0, 0x99, 36, 127), after(480, 0x89, 36, 0))
ON_PIANO, ON_VIOLIN, ON_DRUMS = (0, 8, 60, 64), (4, 1, 72, 33), (0, 8, 36, 127)


@pytest.mark.parametrize(
    ("choices", "notes"),
    [
        ({}, [ON_PIANO, ON_VIOLIN]),
        ({"drums": True}, [ON_DRUMS, ON_PIANO, ON_VIOLIN]),
        ({"programs": (0, 7)}, [ON_PIANO]),
        ({"programs": (40, 40)}, [ON_VIOLIN]),
        ({"programs": (41, 127), "drums": True}, [ON_DRUMS]),
        ({"tracks": First()}, [ON_PIANO]),
        ({"tracks": First(), "programs": (40, 47)}, [ON_VIOLIN]),
        ({"tracks": Named(("piano",))}, [ON_PIANO]),
        ({"tracks": Named(("strings", "chords"))}, [ON_VIOLIN]),
        ({"tracks": Named(("piano", "chords"))}, [ON_PIANO, ON_VIOLIN]),
        ({"shortest": 2}, [ON_PIANO, ON_VIOLIN]),
    ],
)
def test_a_reading_selects_tracks(choices: dict[str, Any], notes: list[Row]) -> None:
    silent = track(meta(3, b"piano"), after(0, 0xC0, 0))
    assert read(midi(silent, PIANO, VIOLIN, DRUMS), **choices).tolist() == notes


@pytest.mark.parametrize(
    "choices",
    [{"programs": (8, 39)}, {"tracks": Named(("Piano",))}, {"tracks": Named(("piano",)), "programs": (40, 40)}],
)
def test_a_file_without_selected_notes_has_no_piano(choices: dict[str, Any]) -> None:
    assert reason_of(midi(PIANO, VIOLIN), **choices) is Reason.NO_PIANO
    assert reason_of(midi(track()), **choices) is Reason.EMPTY


def test_a_file_of_drums_has_no_piano() -> None:
    assert reason_of(midi(DRUMS)) is Reason.NO_PIANO


def test_notes_are_counted_after_merging() -> None:
    assert reason_of(midi(PIANO, PIANO), shortest=2) is Reason.TOO_SHORT


def test_files_of_more_than_a_million_notes_are_rejected() -> None:
    half = track(after(0, 0x90, 60, 0), b"\1\x3c\x40\1\x3c\0" * (MAX_NOTES // 2))
    assert len(read(midi(half, half), Beats(steps_per_beat=480))) == MAX_NOTES // 2
    assert reason_of(midi(half, half, PIANO)) is Reason.TOO_MANY


def test_a_piece_ends_at_the_last_step_at_the_latest() -> None:
    last = [midi(track(note(60, wait=2**23, length=2**23 - less)), ticks_per_beat=8) for less in (1, 0)]
    assert read(last[0]).tolist() == [(2**23, 2**23 - 1, 60, 64)]
    assert reason_of(last[1]) is Reason.TOO_LONG


def test_thick_chords_are_read_and_denser_ones_rejected() -> None:
    chord = [
        [after(0, 0x90, pitch, 64) for pitch in range(count)]
        for count in (MAX_NOTES_PER_ONSET, MAX_NOTES_PER_ONSET + 1)
    ]
    ends = [after(pitch == 0, 0x80, pitch, 0) for pitch in range(MAX_NOTES_PER_ONSET + 1)]
    assert len(read(midi(track(*chord[0], *ends)))) == MAX_NOTES_PER_ONSET
    assert reason_of(midi(track(*chord[1], *ends))) is Reason.TOO_DENSE


def test_onsets_and_ends_are_rounded_and_every_note_is_kept() -> None:
    notes = track(after(31, 0x90, 60, 64), after(1, 0x80, 60, 0), after(80, 0x90, 62, 64), after(50, 0x90, 62, 0))
    # At 60 ticks per step, 31..32 rounds to a point at step 1, and 112..162 is 1.9..2.7: steps 2 to 3.
    assert read(midi(notes)).tolist() == [(1, 1, 60, 64), (2, 1, 62, 64)]

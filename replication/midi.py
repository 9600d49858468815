"""Standard MIDI files to pieces and back.

Reading keeps the notes and forgets the rest: tracks are merged; drums, pedals and programs are left out. On a `Beats`
grid the tempo does not matter; on a `Seconds` grid it is all that does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.files import atomic
from replication.piece import NOTE, PAPER_GRID, Beats, Piece, Seconds, sorted_notes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from replication.piece import Grid

# 2**24 steps are twelve days at the paper's resolution: only a damaged file is longer.
LONGEST = 2**24

# Of the files written here.
TEMPO = 120
TICKS_PER_BEAT = 480


class Reason(StrEnum):
    """Why a file gave no piece."""

    UNREADABLE = "unreadable"
    EMPTY = "empty"
    TOO_LONG = "too long"
    TOO_LARGE = "too large"


class MidiError(Exception):
    """A file that gives no piece.

    Attributes:
        reason: why.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def read_midi(
    content: bytes,
    *,
    id: str,  # noqa: A002 - the name of the piece's field
    group: str,
    grid: Grid = PAPER_GRID,
) -> Piece:
    """Read the notes of all tracks but drums, their onsets and ends rounded to the nearest grid step.

    Args:
        content: the bytes of a MIDI file.
        id: the piece's id.
        group: the piece's group.
        grid: the length of a step, in beats of the file or in seconds.

    Raises:
        MidiError: the bytes are no MIDI file, it has no notes, or notes end after step `LONGEST`.
    """
    from symusic import Score

    # The parser meets whatever is on people's disks, and reports damage as several types of exception.
    try:
        ticks: Any = Score.from_midi(content)
        timed = ticks.to("second") if isinstance(grid, Seconds) else ticks
        tracks = [track.notes.numpy() for track in timed.tracks if not track.is_drum]
    except Exception as error:
        raise MidiError(Reason.UNREADABLE) from error
    if ticks.tpq == 0:  # no unit of time
        raise MidiError(Reason.UNREADABLE)
    if not any(len(track["time"]) for track in tracks):
        raise MidiError(Reason.EMPTY)

    steps = grid.steps_per_beat / ticks.tpq if isinstance(grid, Beats) else grid.steps_per_second
    time, length, pitch, velocity = (
        np.concatenate([track[name] for track in tracks]) for name in ("time", "duration", "pitch", "velocity")
    )
    # In float64: a file's own integers may add up to more than they can hold.
    time = time.astype(np.float64)
    if not (time.min() >= 0 and (time + length).max() * steps <= LONGEST):
        raise MidiError(Reason.TOO_LONG)
    notes = on_grid(time, time + length, pitch, np.clip(velocity, 1, 127), steps=steps)
    return Piece(notes=notes, id=id, group=group, grid=grid)


def on_grid(
    time: NDArray[Any], end: NDArray[Any], pitch: NDArray[Any], velocity: NDArray[Any], *, steps: float
) -> NDArray[Any]:
    """Return notes of any time unit as a piece's notes: onsets and ends rounded, durations at least 1.

    Args:
        time: (n,) onsets in some unit.
        end: (n,) ends in that unit.
        pitch: (n,) pitches, 0..127.
        velocity: (n,) velocities, 1..127.
        steps: grid steps to the unit.
    """
    notes = np.empty(len(time), NOTE)
    onset = np.rint(time * steps)
    notes["onset"], notes["duration"] = onset, np.maximum(np.rint(end * steps) - onset, 1)
    notes["pitch"], notes["velocity"] = pitch, velocity
    return sorted_notes(notes)


def write_midi(piece: Piece, path: Path) -> None:
    """Write the piece as one piano track at 120 beats a minute; equal pieces give equal bytes.

    A key that is struck while it sounds ends its first note there, for MIDI cannot say which of two equal notes stops.
    A piece without notes gives a valid file without notes.

    Args:
        piece: the notes, and how long a step of theirs is.
        path: a `.mid` file to create or replace, whole or not at all.
    """
    from pretty_midi import Instrument, Note, PrettyMIDI

    resolution = TICKS_PER_BEAT
    if isinstance(piece.grid, Beats):
        # A step is a whole number of ticks, so that reading finds the grid again.
        resolution = piece.grid.steps_per_beat * max(1, TICKS_PER_BEAT // piece.grid.steps_per_beat)
        seconds = 60 / TEMPO / piece.grid.steps_per_beat
    else:
        seconds = 1 / piece.grid.steps_per_second
    piano = Instrument(program=0)
    piano.notes = [
        Note(velocity=velocity, pitch=pitch, start=onset * seconds, end=(onset + duration) * seconds)
        for onset, duration, pitch, velocity in _playable(piece.notes).tolist()
    ]
    score = PrettyMIDI(resolution=resolution, initial_tempo=TEMPO)
    score.instruments.append(piano)
    with atomic(path) as draft:
        score.write(str(draft))


def _playable(notes: NDArray[Any]) -> NDArray[Any]:
    """Return the (n,) notes with each ended where its key is struck again."""
    notes = sorted_notes(notes)
    order = np.lexsort((notes["onset"], notes["pitch"]))
    by_key = notes[order]
    again = by_key["pitch"][1:] == by_key["pitch"][:-1]
    gap = np.where(again, np.diff(by_key["onset"]), by_key["duration"][:-1])
    notes["duration"][order[:-1]] = np.minimum(by_key["duration"][:-1], gap)
    return notes

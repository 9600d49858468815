"""Standard MIDI files to pieces and back.

Reading keeps the notes and forgets the rest; `Reading` says which notes. On a `Beats` grid the tempo does not matter;
on a `Seconds` grid it is all that does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.midi.piece import NOTE, PAPER_GRID, Beats, Piece, sorted_notes
from replication.midi.ticks import TEMPO, Ticks
from replication.util.errors import UserError
from replication.util.files import atomic

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from replication.midi.piece import Grid

# 2**24 steps are twelve days at the paper's resolution: only a damaged file is longer.
LONGEST = 2**24

# Notes of a file. The longest performances have some tens of thousands.
MOST = 1_000_000

# Notes to an onset, on average: two hands, twice over. Of the 11,072 readable files of ADL none has more than 7.
DENSEST = 20

TICKS_PER_BEAT = 480  # of the files written here


class Reason(StrEnum):
    """Why a file gave no piece."""

    UNREADABLE = "unreadable"
    EMPTY = "empty"
    NO_PIANO = "no piano"
    TOO_SHORT = "too short"
    TOO_LONG = "too long"
    TOO_DENSE = "too dense"
    TOO_MANY = "too many notes"
    TOO_LARGE = "too large"
    OFF_GRID = "off the grid"
    TOO_SLOW = "too slow"
    CRASHED = "crashed the reader"


class MidiError(Exception):
    """A file that gives no piece.

    Attributes:
        reason: why.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True)
class Merged:
    """All tracks, as one."""


@dataclass(frozen=True)
class First:
    """The first track that has notes: of hands with a track each, one is lost."""


@dataclass(frozen=True)
class Named:
    """The tracks with these names, as one: for files that hold more than the music."""

    names: tuple[str, ...]


Tracks = Merged | First | Named


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How files become pieces.

    A track here is what one track of the file plays on one channel with one program.

    Attributes:
        grid: the length of a step, in beats of the file or in seconds.
        tracks: which tracks count, of those that `drums` and `programs` admit.
        pedal: whether the sustain pedal lengthens notes.
        drums: whether the drum channel counts; programs do not matter there.
        programs: the first and the last program (0..127) that counts; 0 to 7 are pianos.
        shortest: the least number of notes of a piece.
        aligned: the least share of onsets within 1/48 beat of a quarter or a third of a beat; chance has a quarter of
            them there. Only with a grid of `Beats`.
    """

    grid: Grid = PAPER_GRID
    tracks: Tracks = Merged()
    pedal: bool = False
    drums: bool = False
    programs: tuple[int, int] = (0, 127)
    shortest: int = 1
    aligned: float = 0.0

    def __post_init__(self) -> None:
        if self.aligned and not isinstance(self.grid, Beats):
            raise UserError(f"{self.grid} has no beats to align to: read on a grid of Beats, or with aligned=0.")


PLAIN = Reading()


def read_midi(
    content: bytes,
    *,
    id: str,  # noqa: A002 - the name of the piece's field
    group: str,
    reading: Reading = PLAIN,
) -> Piece:
    """Read the notes of a file, their onsets and ends rounded to the nearest grid step.

    Args:
        content: the bytes of a MIDI file, or any bytes.
        id: the piece's id.
        group: the piece's group.
        reading: which notes, and on what grid.

    Raises:
        MidiError: the file gives no piece. That it is `TOO_SLOW` or has `CRASHED` the reader is for the caller to find.
    """
    # The parser meets whatever is on people's disks, and reports damage as several types of exception.
    try:
        ticks = _parse(content, reading)
    except MidiError:
        raise
    except MemoryError as error:
        raise MidiError(Reason.TOO_LARGE) from error
    except Exception as error:
        raise MidiError(Reason.UNREADABLE) from error

    if reading.aligned and ticks.aligned() < reading.aligned:
        raise MidiError(Reason.OFF_GRID)
    time, end = ticks.time, ticks.silent() if reading.pedal else ticks.end
    seconds = float(ticks.seconds(end.max()))
    if isinstance(reading.grid, Beats):
        steps = reading.grid.steps_per_beat / ticks.per_beat
    else:
        time, end, steps = ticks.seconds(time), ticks.seconds(end), reading.grid.steps_per_second
    # Less than LONGEST, for a note takes a step even at the very end.
    if end.max() * steps > LONGEST - 1:
        raise MidiError(Reason.TOO_LONG)
    notes = on_grid(time, end, ticks.pitch, ticks.velocity, steps=steps)
    if len(notes) < reading.shortest:
        raise MidiError(Reason.TOO_SHORT)
    if len(notes) > DENSEST * (1 + np.count_nonzero(np.diff(notes["onset"]))):
        raise MidiError(Reason.TOO_DENSE)
    return Piece(notes=notes, id=id, group=group, grid=reading.grid, seconds=seconds)


def _parse(content: bytes, reading: Reading) -> Ticks:
    from symusic import Score

    score: Any = Score.from_midi(content)
    if score.tpq == 0:  # no unit of time
        raise MidiError(Reason.UNREADABLE)
    tracks = [track for track in score.tracks if len(track.notes)]
    if not tracks:
        raise MidiError(Reason.EMPTY)
    low, high = reading.programs
    tracks = [track for track in tracks if (reading.drums if track.is_drum else low <= track.program <= high)]
    match reading.tracks:
        case First():
            tracks = tracks[:1]
        case Named(names):
            tracks = [track for track in tracks if track.name in names]
    if not tracks:
        raise MidiError(Reason.NO_PIANO)
    if sum(len(track.notes) for track in tracks) > MOST:
        raise MidiError(Reason.TOO_MANY)
    notes = [track.notes.numpy() for track in tracks]
    time, duration, pitch, velocity = (
        np.concatenate([part[name] for part in notes]) for name in ("time", "duration", "pitch", "velocity")
    )
    if time.min() < 0:  # the file's own integers add up to more than the parser's can hold
        raise MidiError(Reason.TOO_LONG)
    time = time.astype(np.int64)
    return Ticks(
        per_beat=score.tpq,
        time=time,
        end=time + duration,
        pitch=pitch,
        velocity=np.maximum(velocity, 1),
        tempos=score.tempos.numpy(),
        # Not the parser's `pedals`: on all channels but one, their first may begin with the file.
        controls=[track.controls.numpy() for track in tracks if reading.pedal],
    )


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

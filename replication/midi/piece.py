"""Pieces of music: notes on a grid of equal time steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

# onset and duration in grid steps (duration >= 1), pitch 0..127 (MIDI), velocity 1..127.
NOTE = np.dtype([("onset", "<i4"), ("duration", "<i4"), ("pitch", "u1"), ("velocity", "u1")])


@dataclass(frozen=True, kw_only=True)
class Beats:
    """A time grid in beats, for corpora whose files mark the beats.

    Attributes:
        steps_per_beat: Time steps per beat.
    """

    steps_per_beat: int


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """A time grid in seconds, for performances without a fixed tempo.

    Attributes:
        steps_per_second: Time steps per second.
    """

    steps_per_second: float


TimeGrid = Beats | Seconds

# Onsets and durations have 25 bits each, twice what the longest piece needs (smf.py: MAX_STEPS).
_MAX_TIME = 2**25 - 1
_LONG_AND_LOUD = np.uint64(_MAX_TIME << 7 | 127)  # the bits of a note's key that put long and loud notes first

# The paper's unit is an eighth of a beat; at 120 beats a minute that is 62.5 ms.
PAPER_GRID = Beats(steps_per_beat=8)


class Lost(NamedTuple):
    """Numbers of notes whose note-offs are missing in the file.

    Attributes:
        restruck: Notes that end where their key is struck again.
        unended: Notes that nothing ends and that last to the end of their track.
    """

    restruck: int = 0
    unended: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """A piece of music, as notes sorted by onset and then by pitch.

    Attributes:
        notes: (n,) structured array of `NOTE`; onsets and durations in steps of the grid.
        id: Name of the piece, unique within its corpus.
        group: Name of the song, such as its title, if the source tells it reliably; otherwise the id. Pieces with one
            group are always in the same split.
        grid: Time grid of the onsets and durations.
        seconds: Time from the beginning to the end of the last note, by the tempo map of the file; 0 if unknown.
        lost: Numbers of notes whose ends the file does not tell.

    Raises:
        TypeError: If the notes have another dtype.
    """

    notes: NDArray[Any]
    id: str
    group: str
    grid: TimeGrid = PAPER_GRID
    seconds: float = 0.0
    lost: Lost = field(default_factory=Lost)

    def __post_init__(self) -> None:
        if self.notes.dtype != NOTE:
            raise TypeError(f"piece {self.id}: notes have dtype {self.notes.dtype}, not {NOTE}")


def sorted_notes(rows: Iterable[tuple[int, int, int, int]] | NDArray[Any]) -> NDArray[Any]:
    """Return (onset, duration, pitch, velocity) rows as (n,) notes, sorted by onset and then by pitch.

    A piano key cannot be struck twice at once. Of several notes with equal onset and pitch, the longest is kept, and of
    equally long ones the loudest.

    Args:
        rows: Onsets and durations in steps of the grid, pitches 0..127, velocities 0..127.

    Raises:
        ValueError: If an onset or a duration is outside 0..2**25 - 1, or a pitch or a velocity outside 0..127.

    >>> sorted_notes([(8, 4, 64, 80), (0, 8, 60, 80), (0, 4, 60, 90)]).tolist()
    [(0, 8, 60, 80), (8, 4, 64, 80)]
    """
    notes = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows), dtype=NOTE)
    return from_columns(*(notes[name] for name in ("onset", "duration", "pitch", "velocity")))


def from_columns(
    onset: NDArray[Any], duration: NDArray[Any], pitch: NDArray[Any], velocity: NDArray[Any]
) -> NDArray[Any]:
    """Return notes given as four (n,) arrays of whole numbers; see `sorted_notes`."""
    onset, duration, pitch, velocity = (column.astype(np.int64) for column in (onset, duration, pitch, velocity))
    if ((onset | duration) >> 25 | (pitch | velocity) >> 7).any():
        raise ValueError("a note is out of range: onset and duration 0..2**25 - 1, pitch and velocity 0..127")
    # One integer per note, in the order of notes: sorting integers is several times as fast as sorting four columns.
    key = (onset << 39 | pitch << 32 | duration << 7 | velocity).view(np.uint64)
    key ^= _LONG_AND_LOUD
    key.sort()
    place = key >> 32
    again = place[1:] == place[:-1]
    if again.any():
        key = key[np.concatenate(([True], ~again))]
        place = key >> 32
    key ^= _LONG_AND_LOUD
    notes = np.empty(len(key), NOTE)
    notes["onset"], notes["pitch"] = place >> 7, place & 127
    notes["duration"], notes["velocity"] = key >> 7 & _MAX_TIME, key & 127
    return notes

"""A piece of music: notes on a grid of time steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

# onset and duration in grid steps (duration >= 1), pitch 0..127 (MIDI), velocity 1..127.
NOTE = np.dtype([("onset", "<i4"), ("duration", "<i4"), ("pitch", "u1"), ("velocity", "u1")])


@dataclass(frozen=True, kw_only=True)
class Beats:
    """A grid in musical time, for corpora whose beats mean something."""

    steps_per_beat: int


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """A grid in clock time, for performances that were played freely."""

    steps_per_second: float


Grid = Beats | Seconds

# An onset or a duration takes 25 bits, twice what the longest piece needs (midi.py: LONGEST).
_LAST = 2**25 - 1

# The paper's unit is an eighth of a beat; at 120 beats a minute that is 62.5 ms.
PAPER_GRID = Beats(steps_per_beat=8)


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """Notes sorted by onset, then pitch.

    Attributes:
        notes: (n,) structured array of `NOTE`.
        id: where the piece comes from, unique within its corpus.
        group: pieces of one group (a song and its copies) never stand on two sides of a split.
        grid: the length of a time step.
        seconds: the time from the beginning to the end of the last note by the file's own tempo map; 0 where no file
            tells.
    """

    notes: NDArray[Any]
    id: str
    group: str
    grid: Grid = PAPER_GRID
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.notes.dtype != NOTE:
            raise TypeError(f"piece {self.id}: notes have dtype {self.notes.dtype}, not {NOTE}")


def sorted_notes(rows: Iterable[tuple[int, int, int, int]] | NDArray[Any]) -> NDArray[Any]:
    """Return (onset, duration, pitch, velocity) rows as (n,) notes in a piece's order.

    Of several notes with equal onset and pitch the longest stays, of equally long ones the loudest: one key cannot be
    struck twice at once.

    Raises:
        ValueError: an onset or a duration outside 0..2**25 - 1, a pitch or a velocity outside 0..127.
    """
    notes = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows), dtype=NOTE)
    onset, duration, pitch, velocity = (
        notes[name].astype(np.uint64) for name in ("onset", "duration", "pitch", "velocity")
    )
    # A negative number is a huge one here.
    if (onset >> 25 | duration >> 25 | pitch >> 7 | velocity >> 7).any():
        raise ValueError("a note is out of range: onset and duration 0..2**25 - 1, pitch and velocity 0..127")
    # One number for a note, in the order of notes: sorting numbers is several times as fast as sorting by four columns.
    key = onset << 39 | pitch << 32 | (_LAST - duration) << 7 | 127 - velocity
    key.sort()
    place = key >> 32
    first = np.ones(len(key), bool)
    first[1:] = place[1:] != place[:-1]
    key = key[first]
    notes = np.empty(len(key), NOTE)
    notes["onset"], notes["pitch"] = key >> 39, key >> 32 & 127
    notes["duration"], notes["velocity"] = _LAST - (key >> 7 & _LAST), 127 - (key & 127)
    return notes

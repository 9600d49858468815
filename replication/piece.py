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
    """

    notes: NDArray[Any]
    id: str
    group: str
    grid: Grid = PAPER_GRID

    def __post_init__(self) -> None:
        if self.notes.dtype != NOTE:
            raise TypeError(f"piece {self.id}: notes have dtype {self.notes.dtype}, not {NOTE}")


def sorted_notes(rows: Iterable[tuple[int, int, int, int]] | NDArray[Any]) -> NDArray[Any]:
    """Return (onset, duration, pitch, velocity) rows as (n,) notes in a piece's order.

    Of several notes with equal onset and pitch the longest stays: one key cannot be struck twice at once.
    """
    notes = np.array(rows if isinstance(rows, np.ndarray) else list(rows), dtype=NOTE)
    notes = notes[np.lexsort((-notes["velocity"].astype(int), -notes["duration"], notes["pitch"], notes["onset"]))]
    same = (notes["onset"][1:] == notes["onset"][:-1]) & (notes["pitch"][1:] == notes["pitch"][:-1])
    return notes[np.concatenate(([True], ~same))] if len(notes) else notes

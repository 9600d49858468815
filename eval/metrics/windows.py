"""Windows of music as one table of notes, so that a metric is computed for all of them at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.midi.piece import NOTE, Beats, Piece, Seconds, TimeGrid, sorted_notes
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

STEPS_PER_BEAT = 4  # of the common grid: sixteenths, on which groove and polyphony are measured
STEPS_PER_BAR = 4 * STEPS_PER_BEAT  # bars of the common grid are in 4/4 in every window
STEPS_PER_SECOND = 8  # of the common grid of performances: as fine at 120 beats a minute


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """The notes of several windows in one array.

    Attributes:
        notes: (m,) structured array of `NOTE`, window after window, within each by onset, then pitch.
        owner: (m,) int64, the window of each note, ascending.
        count: n, the number of windows; some may have no notes.
        grid: the length of a time step.
    """

    notes: NDArray[Any]
    owner: NDArray[np.int64]
    count: int
    grid: TimeGrid

    @classmethod
    def of(cls, pieces: Sequence[Piece], grid: TimeGrid | None = None) -> Windows:
        """Return pieces as windows, on the grid of the pieces; `grid` is needed only if there are none.

        Raises:
            UserError: If the pieces are on different grids, whose numbers cannot be compared, or if there is neither a
                piece nor a grid.
        """
        grids = {piece.grid for piece in pieces} | ({grid} if grid else set())
        if not grids:
            raise UserError("there are no pieces to score: give at least one")
        if len(grids) > 1:
            named = ", ".join(sorted(map(str, grids)))
            raise UserError(f"pieces on different grids cannot be scored together ({named}): read them on one grid")
        return cls.joined([piece.notes for piece in pieces], grids.pop())

    @classmethod
    def joined(cls, parts: Sequence[NDArray[Any]], grid: TimeGrid) -> Windows:
        """Return one window for each array of notes, which are sorted as in a piece."""
        notes = np.concatenate([np.empty(0, NOTE), *parts])
        return cls.cut(notes, np.array([len(part) for part in parts], np.int64), grid)

    @classmethod
    def cut(cls, notes: NDArray[Any], sizes: NDArray[np.int64], grid: TimeGrid) -> Windows:
        """Split (m,) notes into n windows with the given (n,) numbers of notes, which add up to m."""
        return cls(notes=notes, owner=np.repeat(np.arange(len(sizes)), sizes), count=len(sizes), grid=grid)

    def __len__(self) -> int:
        return self.count

    @property
    def beats(self) -> bool:
        """Whether the grid has beats, and with them bars."""
        return isinstance(self.grid, Beats)

    @property
    def steps(self) -> float:
        """Grid steps per unit of time: per beat, or per second where there are no beats."""
        return self.grid.steps_per_beat if isinstance(self.grid, Beats) else self.grid.steps_per_second

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """(m,) grid steps at which the notes end."""
        ends: NDArray[np.int64] = self.notes["onset"].astype(np.int64) + self.notes["duration"]
        return ends

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """(n,) numbers of notes of the windows."""
        return np.bincount(self.owner, minlength=self.count)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(n + 1,) index of the first note of each window, then m."""
        return np.concatenate(([0], np.cumsum(self.sizes)))

    def take(self, indices: ArrayLike) -> Windows:
        """Return the windows with these indices, in this order; indices may repeat."""
        chosen = np.asarray(indices, dtype=np.int64)
        sizes = self.sizes[chosen]
        offsets = np.cumsum(sizes) - sizes
        places = np.arange(int(sizes.sum())) + np.repeat(self.starts[chosen] - offsets, sizes)
        return Windows.cut(self.notes[places], sizes, self.grid)

    def pieces(self) -> list[Piece]:
        """Return the windows as pieces, each a song of its own."""
        parts = np.split(self.notes, self.starts[1:-1]) if self.count else []
        return [
            Piece(notes=notes, id=str(index), group=str(index), grid=self.grid) for index, notes in enumerate(parts)
        ]

    def map(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Windows:
        """Return the windows after applying a function to the notes of each."""
        return Windows.joined([sorted_notes(change(piece.notes)) for piece in self.pieces()], self.grid)

    @cached_property
    def common(self) -> Windows:
        """The same windows on the common grid, each from its first onset; see `on_common_grid`."""
        if not len(self.notes):
            return self.on_common_grid(np.empty(0, np.int64))
        return self.on_common_grid(self.notes["onset"].astype(np.int64)[self.starts[self.owner]])  # sorted by onset

    def on_common_grid(self, start: NDArray[np.int64] | int = 0) -> Windows:
        """Return the windows on the common grid; see `STEPS_PER_BEAT` and `STEPS_PER_SECOND`.

        Onsets and ends are rounded, halves up; every note lasts at least one step. If several notes of a
        window have one onset and pitch, the longest is kept; of equally long ones, the loudest.

        Args:
            start: Grid step of each note, (m,), or of all, that becomes step 0.
        """
        steps = STEPS_PER_BEAT if self.beats else STEPS_PER_SECOND
        grid = Beats(steps_per_beat=steps) if self.beats else Seconds(steps_per_second=float(steps))
        if not len(self.notes):
            return Windows(notes=self.notes, owner=self.owner, count=self.count, grid=grid)
        times = np.stack([self.notes["onset"] - start, self.ends - start])  # (2, m)
        # Halves up, not to even as `np.rint` does, which would move equal offbeats in different directions.
        onset, end = np.floor(times * steps / self.steps + 0.5).astype(np.int64)
        duration = np.maximum(1, end - onset)
        order = np.lexsort((127 - self.notes["velocity"], -duration, self.notes["pitch"], onset, self.owner))
        notes, owner = self.notes[order], self.owner[order]
        notes["onset"], notes["duration"] = onset[order], duration[order]
        once = np.ones(len(notes), bool)
        once[1:] = (notes["pitch"][1:] != notes["pitch"][:-1]) | (notes["onset"][1:] != notes["onset"][:-1])
        once[1:] |= owner[1:] != owner[:-1]
        return Windows(notes=notes[once], owner=owner[once], count=self.count, grid=grid)


def evenly(size: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` of the numbers 0 to `size` - 1, evenly spread, ascending.

    >>> evenly(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.linspace(0, size - 1, min(size, most)).astype(np.int64)


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Return part / whole element by element, NaN where the whole is not above 0.

    >>> ratio(np.array([1, 2]), np.array([2, 0])).tolist()
    [0.5, nan]
    """
    part, whole = np.broadcast_arrays(part, whole)
    quotient: NDArray[np.float64] = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return quotient


def means(values: NDArray[Any], owner: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return the (count,) means of the values of each owner, of (m,) values and their owners 0 to count - 1.

    >>> means(np.array([1, 3]), np.array([0, 0]), 2).tolist()
    [2.0, nan]
    """
    return ratio(np.bincount(owner, weights=values, minlength=count), np.bincount(owner, minlength=count))


def deviations(values: NDArray[Any], owner: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return the (count,) standard deviations (divisor n) of the values of each owner; see `means`.

    >>> deviations(np.array([1, 3]), np.array([0, 0]), 2).tolist()
    [1.0, nan]
    """
    return np.sqrt(means((values - means(values, owner, count)[owner]) ** 2, owner, count))


def example() -> Windows:
    """Return two windows for the examples in docstrings: a C major scale in quarter notes, and one without notes.

    >>> example().sizes.tolist()
    [8, 0]
    """
    scale = [(8 * beat, 8, pitch, 64) for beat, pitch in enumerate((60, 62, 64, 65, 67, 69, 71, 72))]
    return Windows.joined([sorted_notes(scale), sorted_notes([])], Beats(steps_per_beat=8))

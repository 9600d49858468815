"""Small pieces to test metrics on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eval.metrics.table import METRICS
from eval.metrics.windows import Windows
from replication.midi.piece import PAPER_GRID, Beats, Piece, Seconds, TimeGrid, sorted_notes

if TYPE_CHECKING:
    from collections.abc import Iterable

PERFORMED = Seconds(steps_per_second=100.0)
Notes = list[tuple[float, float, int]]


def piece(notes: Iterable[tuple[float, float, int]], *, grid: TimeGrid | None = None) -> Piece:
    """Return a piece of (onset in beats, duration in beats, pitch) rows. In seconds, a beat is half a second."""
    grid = grid or Beats(steps_per_beat=24)
    steps = grid.steps_per_beat if isinstance(grid, Beats) else grid.steps_per_second / 2
    rows = [(round(onset * steps), round(duration * steps), pitch, 64) for onset, duration, pitch in notes]
    return Piece(notes=sorted_notes(rows), id="test", group="test", grid=grid)


def random_piece(rng: np.random.Generator, *, start: int = 0, grid: TimeGrid = PAPER_GRID) -> Piece:
    rows = [
        (start + int(rng.integers(200)), int(rng.integers(1, 40)), int(rng.integers(128)), int(rng.integers(1, 128)))
        for _ in range(rng.integers(80))
    ]
    return Piece(notes=sorted_notes(rows), id="random", group="random", grid=grid)


def random_windows(count: int, *, start: int = 0, grid: TimeGrid = PAPER_GRID) -> Windows:
    rng = np.random.default_rng(0)
    return Windows.of([random_piece(rng, start=start, grid=grid) for _ in range(count)])


def value(name: str, notes: Notes, *, grid: TimeGrid | None = None) -> float:
    return METRICS[name].function(Windows.of([piece(notes, grid=grid)])).item()


def melody(pitches: Iterable[int]) -> Notes:
    return [(beat, 1, pitch) for beat, pitch in enumerate(pitches)]


C_MAJOR = melody([60, 62, 64, 65, 67, 69, 71, 72])
SINGLE = melody([60])

"""Laws of windows: what they are made of comes back, and every change equals the change of one piece at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from eval.metrics.windows import Windows
from replication.midi.piece import NOTE, PAPER_GRID, Beats, Piece, Seconds, TimeGrid, sorted_notes
from replication.util.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRIDS = [
    Beats(steps_per_beat=3),
    Beats(steps_per_beat=4),
    Beats(steps_per_beat=8),
    Beats(steps_per_beat=24),
    Seconds(steps_per_second=31.25),
]


def random_pieces(count: int, grid: TimeGrid = PAPER_GRID, *, most: int = 60) -> list[Piece]:
    """Make pieces of 0 to `most` notes, close enough to fall on one another when rounded."""
    rng, pieces = np.random.default_rng(0), []
    for index in range(count):
        rows = [
            (int(rng.integers(9, 209)), int(rng.integers(1, 40)), int(rng.integers(50, 70)), int(rng.integers(1, 128)))
            for _ in range(rng.integers(most + 1))
        ]
        pieces.append(Piece(notes=sorted_notes(rows), id=str(index), group=str(index), grid=grid))
    return pieces


def assert_equal(windows: Windows, expected: list[NDArray[Any]]) -> None:
    assert len(windows) == len(expected)
    for piece, notes in zip(windows.pieces(), expected, strict=True):
        np.testing.assert_array_equal(piece.notes, notes)


def on_common_grid(piece: Piece) -> NDArray[Any]:
    """Return the notes on the common grid, one note at a time."""
    if not len(piece.notes):
        return piece.notes
    per_unit, steps = (
        (8, piece.grid.steps_per_second) if isinstance(piece.grid, Seconds) else (4, piece.grid.steps_per_beat)
    )
    zero, rows = int(piece.notes["onset"].min()), []
    for onset, duration, pitch, velocity in piece.notes.tolist():
        first, last = (int((time - zero) * per_unit / steps + 0.5) for time in (onset, onset + duration))
        rows.append((first, max(1, last - first), pitch, velocity))
    return sorted_notes(rows)


def test_pieces_round_trip_through_windows() -> None:
    pieces = random_pieces(20)
    windows = Windows.of(pieces)
    assert_equal(windows, [piece.notes for piece in pieces])
    assert all(piece.grid == PAPER_GRID for piece in windows.pieces())


def test_sizes_starts_and_ends_match_the_pieces() -> None:
    pieces = random_pieces(20)
    windows = Windows.of(pieces)
    sizes = [len(piece.notes) for piece in pieces]
    assert windows.sizes.tolist() == sizes
    assert windows.starts.tolist() == [0, *np.cumsum(sizes).tolist()]
    np.testing.assert_array_equal(windows.ends, windows.notes["onset"] + windows.notes["duration"])


def test_an_empty_set_of_windows_has_no_notes() -> None:
    windows = Windows.of([], PAPER_GRID)
    assert windows.pieces() == []
    assert (len(windows), len(windows.notes), len(windows.common), windows.starts.tolist()) == (0, 0, 0, [0])
    assert len(windows.take([])) == len(windows.map(lambda notes: notes)) == 0


def test_pieces_on_different_grids_are_refused() -> None:
    one, other = random_pieces(1), random_pieces(1, Seconds(steps_per_second=100.0))
    with pytest.raises(UserError, match="different grids"):
        Windows.of([*one, *other])
    with pytest.raises(UserError, match="different grids"):
        Windows.of(one, Beats(steps_per_beat=24))
    with pytest.raises(UserError, match="no pieces to score: give at least one"):
        Windows.of([])


def test_take_keeps_the_given_order_and_allows_repeats() -> None:
    pieces = random_pieces(20)
    chosen = [7, 3, 3, 19, 0]
    taken = Windows.of(pieces).take(chosen)
    assert_equal(taken, [pieces[index].notes for index in chosen])
    assert_equal(taken.take([4, 0]), [pieces[0].notes, pieces[7].notes])


def test_map_changes_each_window_separately_and_sorts_its_notes() -> None:
    def first_half_backwards(notes: NDArray[Any]) -> NDArray[Any]:
        return notes[: len(notes) // 2][::-1]

    pieces = random_pieces(20)
    assert_equal(
        Windows.of(pieces).map(first_half_backwards), [piece.notes[: len(piece.notes) // 2] for piece in pieces]
    )


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_common_equals_the_common_grid_of_each_piece(grid: TimeGrid) -> None:
    pieces = random_pieces(60, grid)
    assert_equal(Windows.of(pieces).common, [on_common_grid(piece) for piece in pieces])


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_common_windows_are_on_the_common_grid(grid: TimeGrid) -> None:
    common = Windows.of(random_pieces(60, grid)).common
    assert common.grid == (Seconds(steps_per_second=8.0) if isinstance(grid, Seconds) else Beats(steps_per_beat=4))
    assert (common.notes["duration"] >= 1).all()
    assert (common.notes["onset"][common.starts[:-1][common.sizes > 0]] == 0).all()
    assert_equal(common.common, [piece.notes for piece in common.pieces()])


def test_windows_do_not_change_the_pieces() -> None:
    pieces = random_pieces(5)
    before = [piece.notes.copy() for piece in pieces]
    windows = Windows.of(pieces)
    windows.common.notes["pitch"] = 0
    windows.take([0, 1]).notes["pitch"] = 0
    assert_equal(windows, before)
    for piece, notes in zip(pieces, before, strict=True):
        np.testing.assert_array_equal(piece.notes, notes)


def test_windows_without_notes_keep_their_position() -> None:
    empty = Piece(notes=np.empty(0, NOTE), id="empty", group="empty")
    full = random_pieces(2)[1]
    windows = Windows.of([empty, full, empty])
    assert windows.sizes.tolist() == windows.take([0, 1, 2]).sizes.tolist() == [0, len(full.notes), 0]
    assert windows.common.sizes.tolist()[::2] == [0, 0]

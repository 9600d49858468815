"""Counts of events: sums, laws and what each of them hears."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from eval.distances.table import DISTANCES
from eval.metrics.windows import Windows
from replication.midi.piece import Beats, sorted_notes

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_SCORES = pd.DataFrame()
GRID = Beats(steps_per_beat=4)
EVENTS = {name: row for name, row in DISTANCES.items() if row.family}
OF_PITCH = ("registers", "pitch_classes", "upper_line", "lower_line", "intervals")


def random_windows(rng: np.random.Generator, *, count: int = 6) -> Windows:
    """Return windows of random notes, the last of which is empty."""
    parts = [
        sorted_notes(
            list(
                zip(
                    rng.integers(0, 32, 20).tolist(),
                    rng.integers(1, 9, 20).tolist(),
                    rng.integers(40, 80, 20).tolist(),
                    rng.integers(1, 128, 20).tolist(),
                    strict=True,
                )
            )
        )
        for _ in range(count)
    ]
    return Windows.joined([*parts, sorted_notes([])], GRID)


def counts(name: str, windows: Windows) -> NDArray[np.float64]:
    return EVENTS[name].facts(windows, NO_SCORES)


@pytest.mark.parametrize("name", EVENTS)
def test_counts_have_a_row_per_window_and_are_those_of_the_window_alone(name: str) -> None:
    windows = random_windows(np.random.default_rng(0))
    found = counts(name, windows)
    assert len(found) == len(windows)
    assert (found >= 0).all()
    assert not found[-1].any()  # a window without notes
    for index in range(len(windows)):
        assert np.array_equal(found[[index]], counts(name, windows.take([index])))


@pytest.mark.parametrize("name", ["registers", "pitch_classes", "durations", "places"])
def test_every_note_counts_once(name: str) -> None:
    windows = random_windows(np.random.default_rng(1))
    assert counts(name, windows).sum(axis=1).tolist() == windows.common.sizes.tolist()


def test_a_line_has_a_step_between_any_two_successive_onsets() -> None:
    windows = random_windows(np.random.default_rng(2))
    onsets = [len(np.unique(piece.notes["onset"])) for piece in windows.common.pieces()]
    for name in ("upper_line", "lower_line"):
        assert counts(name, windows).sum(axis=1).tolist() == [max(0, number - 1) for number in onsets]
    assert counts("inter_onsets", windows).sum(axis=1).tolist() == [max(0, number - 2) for number in onsets]
    assert counts("struck_together", windows).sum(axis=1).tolist() == onsets


def test_lines_follow_the_highest_and_the_lowest_note() -> None:
    notes = sorted_notes([(0, 4, 60, 80), (0, 4, 72, 80), (4, 4, 62, 80), (4, 4, 71, 80)])
    windows = Windows.joined([notes], GRID)
    assert np.flatnonzero(counts("upper_line", windows)[0]).tolist() == [13 - 1]
    assert np.flatnonzero(counts("lower_line", windows)[0]).tolist() == [13 + 2]
    assert counts("struck_together", windows)[0, 1] == 2
    assert counts("sounding_together", windows)[0, 2] == 8


@pytest.mark.parametrize("name", EVENTS)
def test_permuted_pitches_change_what_is_about_the_order_of_pitches_only(name: str) -> None:
    rng = np.random.default_rng(3)
    windows = random_windows(rng)

    def permute(notes: NDArray[np.void]) -> NDArray[np.void]:
        changed = notes.copy()
        changed["pitch"] = rng.permutation(notes["pitch"])
        return changed

    same = np.array_equal(counts(name, windows), counts(name, windows.map(permute)))
    if name in {"inter_onsets", "registers", "pitch_classes", "places"}:
        # Two notes of one onset and pitch become one, which these random windows avoid only by chance.
        assert counts(name, windows).sum() >= counts(name, windows.map(permute)).sum()
    if name in {"upper_line", "lower_line", "intervals"}:
        assert not same

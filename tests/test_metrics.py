"""Laws, golden values and a stored fixture of the metrics; `python tests/test_metrics.py` writes the fixture anew."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from eval.metrics import FEATURES, METRICS, score
from replication.files import read_json, write_json
from replication.piece import Beats, Grid, Piece, Seconds, sorted_notes

if TYPE_CHECKING:
    from collections.abc import Iterable

GOLDEN = Path(__file__).parent / "golden" / "metrics.json"


def piece(notes: Iterable[tuple[float, float, int]], *, grid: Grid | None = None) -> Piece:
    """Make a piece of (onset in beats, duration in beats, pitch)."""
    grid = grid or Beats(steps_per_beat=24)
    steps = grid.steps_per_beat if isinstance(grid, Beats) else grid.steps_per_second / 2
    rows = [(round(onset * steps), round(duration * steps), pitch, 64) for onset, duration, pitch in notes]
    return Piece(notes=sorted_notes(rows), id="test", group="test", grid=grid)


def random_piece(rng: np.random.Generator, *, start: int = 0) -> Piece:
    rows = [
        (start + int(rng.integers(200)), int(rng.integers(1, 40)), int(rng.integers(128)), int(rng.integers(1, 128)))
        for _ in range(rng.integers(1, 80))
    ]
    return Piece(notes=sorted_notes(rows), id="random", group="random")


def melody(pitches: Iterable[int]) -> list[tuple[float, float, int]]:
    return [(beat, 1, pitch) for beat, pitch in enumerate(pitches)]


C_MAJOR = melody([60, 62, 64, 65, 67, 69, 71, 72])
CHROMATIC = melody(range(60, 72))
SINGLE = melody([60])
TRIADS: list[tuple[float, float, int]] = [
    (4 * bar, 4, pitch)
    for bar, chord in enumerate([(60, 64, 67), (55, 59, 62), (57, 60, 64), (53, 57, 60)])
    for pitch in chord
]
DYADS = melody([60] * 4) + melody([67] * 4)
NAN = math.nan

# Derived by hand; the order of the values is that of COLUMNS.
COLUMNS = [
    "n_pitches_used", "n_pitch_classes_used", "pitch_range", "pitch_entropy", "pitch_class_entropy",
    "scale_consistency", "polyphony", "polyphony_rate_ge2", "empty_beat_rate", "groove_consistency",
]  # fmt: skip
BY_HAND: dict[str, tuple[list[tuple[float, float, int]], list[float]]] = {
    "C major scale": (C_MAJOR, [8, 7, 12, 3, 2.75, 1, 1, 0, 0, 1]),
    "chromatic scale": (CHROMATIC, [12, 12, 11, math.log2(12), math.log2(12), 7 / 12, 1, 0, 0, 1]),
    "single note": (SINGLE, [1, 1, 0, 0, 0, 1, 1, 0, 0, NAN]),
    "no notes": ([], [0, 0, 0, NAN, NAN, NAN, NAN, NAN, NAN, NAN]),
    "triads": (
        TRIADS,
        [
            8, 7, 14,
            0.5 + 1 / 3 * math.log2(6) + 5 / 12 * math.log2(12),
            0.5 + 1 / 2 * math.log2(6) + 3 / 12 * math.log2(12),
            1, 3, 1, 0, 1,
        ],
    ),
    "dyads": (DYADS, [2, 2, 7, 1, 1, 1, 2, 1, 0, NAN]),
}  # fmt: skip

GRIDS = [Beats(steps_per_beat=4), Beats(steps_per_beat=8), Beats(steps_per_beat=24), Seconds(steps_per_second=100.0)]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("name", BY_HAND)
def test_values_derived_by_hand_on_any_grid(name: str, grid: Grid) -> None:
    notes, expected = BY_HAND[name]
    scored = score([piece(notes, grid=grid)])[COLUMNS].to_numpy()[0]
    np.testing.assert_allclose(scored, expected, rtol=0, atol=1e-12)


def test_plain_statistics_by_hand() -> None:
    chords = piece([(0, 1, 60), (0, 1, 64), (1.5, 0.5, 62), (3, 1, 62)])
    expected = {
        "note_density": 4 / 4,
        "mean_duration": 3.5 / 4,
        "mean_inter_onset": 3 / 2,
        "mean_pitch": 62,
        "pitch_deviation": math.sqrt(2),
        "notes": 4,
    }
    assert {name: METRICS[name].function(chords) for name in expected} == pytest.approx(expected, abs=1e-12)


def test_a_note_that_ends_on_a_beat_leaves_the_next_beat_empty() -> None:
    assert METRICS["empty_beat_rate"].function(piece([(0, 1, 60), (15, 1, 60)])) == pytest.approx(14 / 16)


def test_groove_counts_the_onsets_that_neighbouring_bars_do_not_share() -> None:
    two_bars = piece([(0, 1, 60), (2, 1, 60), (4, 1, 60), (7, 1, 60)])  # beats 0 and 2 against 0 and 3
    assert METRICS["groove_consistency"].function(two_bars) == pytest.approx(1 - 2 / 16)


def test_rounding_keeps_every_note_and_moves_equal_offbeats_alike() -> None:
    offbeats = piece([(beat + 1 / 8, 1 / 8, 60) for beat in range(8)], grid=Beats(steps_per_beat=8))
    assert METRICS["groove_consistency"].function(offbeats) == 1
    assert METRICS["polyphony"].function(offbeats) == 1


@pytest.mark.parametrize("name", METRICS)
def test_range(name: str) -> None:
    metric, rng = METRICS[name], np.random.default_rng(0)
    for _ in range(50):
        value = metric.function(random_piece(rng))
        assert math.isnan(value) or metric.low - 1e-12 <= value <= metric.high + 1e-12


@pytest.mark.parametrize("name", METRICS)
def test_a_piece_without_notes_is_nan_or_zero(name: str) -> None:
    value = METRICS[name].function(piece([]))
    assert type(value) is float
    assert math.isnan(value) or value == 0


@pytest.mark.parametrize("name", METRICS)
def test_one_note(name: str) -> None:
    value = METRICS[name].function(piece(SINGLE))
    assert type(value) is float
    assert math.isnan(value) == (name in {"groove_consistency", "mean_inter_onset"})
    assert math.copysign(1, value) == 1 or math.isnan(value)  # never -0.0


@pytest.mark.parametrize("name", METRICS)
def test_moving_a_piece_changes_nothing(name: str) -> None:
    here, there = (random_piece(np.random.default_rng(1), start=start) for start in (0, 77))
    assert METRICS[name].function(here) == METRICS[name].function(there)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_leaves_the_piece_as_it_is(name: str) -> None:
    scored = random_piece(np.random.default_rng(2), start=5)
    before = scored.notes.copy()
    METRICS[name].function(scored)
    np.testing.assert_array_equal(scored.notes, before)


def test_the_table_of_scores() -> None:
    pieces = [piece(notes) for notes, _ in BY_HAND.values()]
    table = score(pieces)
    assert list(table.columns) == list(METRICS)
    assert list(table.index) == list(range(len(pieces)))
    assert (table.dtypes == np.float64).all()
    np.testing.assert_array_equal(table["notes"], [len(scored.notes) for scored in pieces])
    assert score([]).shape == (0, len(METRICS))


def test_features_are_metrics() -> None:
    assert set(METRICS) - set(FEATURES) == {"empty_beat_rate", "notes"}


def fixture() -> dict[str, dict[str, float]]:
    waltz = [(0, 1, 48), (1, 1, 60), (1, 1, 64), (2, 1, 60), (2, 1, 64), (3, 2.5, 43), (4, 0.25, 67), (5, 0.5, 71)]
    pieces = {
        "alberti": piece([(step / 2, 0.5, (48, 55, 52, 55)[step % 4]) for step in range(16)] + C_MAJOR),
        "waltz": piece(waltz, grid=Seconds(steps_per_second=16.0)),
    }
    scores = score(list(pieces.values()))
    return {name: dict(zip(METRICS, row, strict=True)) for name, row in zip(pieces, scores.to_numpy(), strict=True)}


def test_stored_fixture() -> None:
    stored = read_json(GOLDEN)
    scored = fixture()
    assert scored.keys() == stored.keys()
    for name, values in scored.items():
        assert values == pytest.approx(stored[name], rel=1e-12, abs=1e-12)


if __name__ == "__main__":
    write_json(GOLDEN, fixture())

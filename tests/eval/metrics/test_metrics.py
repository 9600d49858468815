"""Laws of the metrics; their stored values are in tests/eval/scoring/test_stored_scores.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eval.metrics.muspy_values import RAW, score_raw
from eval.metrics.table import METRICS, features_on, per_piece, refused, score
from eval.metrics.windows import Windows
from replication.midi.piece import PAPER_GRID, Piece, Seconds, TimeGrid, sorted_notes
from tests.support.pieces import PERFORMED, SINGLE, random_windows, value


@pytest.mark.parametrize("grid", [PAPER_GRID, PERFORMED], ids=str)
def test_every_metric_is_within_its_range(grid: TimeGrid) -> None:
    scored = score(random_windows(300, grid=grid))
    for name, column in scored.items():
        found, metric = column.dropna(), METRICS[str(name)]
        assert len(found) > 200
        assert found.between(metric.low - 1e-12, metric.high + 1e-12).all(), name


@pytest.mark.parametrize("grid", [PAPER_GRID, PERFORMED], ids=str)
def test_metrics_of_a_window_do_not_depend_on_other_windows(grid: TimeGrid) -> None:
    windows = random_windows(30, grid=grid)
    whole = score(windows)
    order = np.random.default_rng(1).permutation(30)
    np.testing.assert_array_equal(score(windows.take(order)), whole.iloc[order])
    parts = [score(windows.take([index])).to_numpy() for index in range(30)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_window_without_notes_does_not_change_the_others() -> None:
    windows = random_windows(30)
    empty = Piece(notes=sorted_notes([]), id="", group="")
    np.testing.assert_array_equal(score(Windows.of([*windows.pieces(), empty]))[:-1], score(windows))


@pytest.mark.parametrize("name", METRICS)
def test_a_window_without_notes_is_nan_or_zero(name: str) -> None:
    grid = PERFORMED if METRICS[name].needs is Seconds else PAPER_GRID
    found = value(name, [], grid=grid)
    assert (
        found == 0 if name in {"n_pitches_used", "n_pitch_classes_used", "pitch_range", "notes"} else math.isnan(found)
    )


@pytest.mark.parametrize("name", METRICS)
def test_one_note(name: str) -> None:
    grid = PERFORMED if METRICS[name].needs is Seconds else PAPER_GRID
    found = value(name, SINGLE, grid=grid)
    assert math.isnan(found) == ("groov" in name or "inter_onset" in name)
    assert math.copysign(1, found) == 1 or math.isnan(found)  # never -0.0


@pytest.mark.parametrize("grid", [PAPER_GRID, PERFORMED], ids=str)
def test_metrics_do_not_depend_on_the_first_onset(grid: TimeGrid) -> None:
    here, there = (score(random_windows(30, start=start, grid=grid)) for start in (0, 77))
    np.testing.assert_array_equal(here, there)


def test_an_octave_up_changes_only_the_mean_pitch() -> None:
    rng = np.random.default_rng(3)
    rows = [
        (int(onset), 4, int(key), 64)
        for onset, key in zip(rng.integers(0, 99, 60), rng.integers(40, 80, 60), strict=True)
    ]
    here, there = (
        score(Windows.of([Piece(notes=sorted_notes([(o, d, p + up, v) for o, d, p, v in rows]), id="", group="")]))
        for up in (0, 12)
    )
    difference = (there - here).iloc[0]
    assert difference.pop("mean_pitch") == pytest.approx(12)
    np.testing.assert_allclose(difference, 0, atol=1e-12)


def test_metrics_do_not_change_the_notes() -> None:
    windows = random_windows(10, start=5)
    before = windows.notes.copy()
    score(windows)
    np.testing.assert_array_equal(windows.notes, before)


def test_the_table_of_scores() -> None:
    windows = random_windows(10)
    table = score(windows)
    assert list(table.columns) == [name for name in METRICS if not name.endswith("_seconds")]
    assert list(table.index) == list(range(len(windows)))
    assert (table.dtypes == np.float64).all()
    np.testing.assert_array_equal(table["notes"], windows.sizes)
    assert score(Windows.of([], PAPER_GRID)).shape == (0, table.shape[1])
    assert score_raw(Windows.of([], PAPER_GRID)).shape == (0, len(RAW))


def test_a_performance_has_seconds_where_scores_have_beats() -> None:
    columns = set(score(random_windows(3, grid=PERFORMED)))
    assert {name for name in columns if "groov" in name or "empty" in name or "bar" in name} == set()
    assert {name.removesuffix("_seconds") for name in columns if name.endswith("_seconds")} == {
        "note_density", "mean_duration", "duration_deviation", "mean_inter_onset", "inter_onset_deviation",
        "length",
    }  # fmt: skip
    assert columns.isdisjoint(refused(PERFORMED))
    assert columns | set(refused(PERFORMED)) == set(METRICS)
    assert set(refused(PAPER_GRID)) == {name for name in METRICS if name.endswith("_seconds")}


def test_distances_use_the_same_metrics_on_both_kinds_of_grid_except_groove() -> None:
    of_scores = features_on(PAPER_GRID)
    assert len(of_scores) == 14
    assert "length" not in of_scores
    assert [name.removesuffix("_seconds") for name in features_on(PERFORMED)] == [
        name for name in of_scores if name != "groove_consistency"
    ]


def test_a_metric_of_one_piece_becomes_a_metric_of_windows() -> None:
    windows = random_windows(10)
    count = per_piece(lambda one: float(len(one.notes)))(windows)
    assert count.dtype == np.float64
    np.testing.assert_array_equal(count, windows.sizes)

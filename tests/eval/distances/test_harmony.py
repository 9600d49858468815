from __future__ import annotations

import math
from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest

from eval.distances.harmony import (
    SILENCE,
    bar_facts,
    bar_similarity,
    chord_counts,
    chords,
    divergence,
    interval_counts,
)
from eval.distances.rows import Rows
from eval.metrics.table import score
from eval.metrics.windows import Windows
from replication.midi.piece import PAPER_GRID, Piece, TimeGrid
from tests.support.pieces import PERFORMED, Notes, piece, random_windows

if TYPE_CHECKING:
    from collections.abc import Iterable

RNG = np.random.default_rng(0)
MAJOR, MINOR, DIMINISHED = range(3)


def of(*pieces: Iterable[tuple[float, float, int]]) -> Windows:
    return Windows.of([piece(notes) for notes in pieces])


def chord(beat: float, *pitches: int, beats: float = 2) -> Notes:
    return [(beat, beats, pitch) for pitch in pitches]


def rows(values: np.ndarray) -> Rows:
    return Rows(values, np.arange(len(values)))


def similarity(windows: Windows) -> np.ndarray:
    """Return L_t for t = 1 to 15, NaN without pairs."""
    total, pairs = bar_facts(windows, score(windows)).sum(axis=0)
    means: np.ndarray = np.divide(total, pairs, out=np.full(15, math.nan), where=pairs > 0)
    return means


def error(one: Windows, other: Windows) -> float:
    return bar_similarity(rows(bar_facts(one, score(one))), rows(bar_facts(other, score(other))), RNG)


def intervals(windows: Windows) -> np.ndarray:
    return interval_counts(windows, score(windows))


def named(notes: Notes) -> list[tuple[int, int]]:
    quality, root, _ = chords(of(notes))
    return list(zip(quality.tolist(), root.tolist(), strict=True))


def naive_intervals(window: Piece) -> list[float]:
    counts = Counter[int]()
    for step in range(int((window.notes["onset"] + window.notes["duration"]).max(initial=0))):
        sounding = {int(n["pitch"]) for n in window.notes if n["onset"] <= step < n["onset"] + n["duration"]}
        counts.update((high - low) % 12 for low, high in combinations(sorted(sounding), 2))
    return [counts[interval] for interval in range(12)]


def naive_similarity(window: Piece) -> list[tuple[float, int]]:
    bars: dict[int, set[tuple[int, int, int]]] = {}
    for note in window.notes:
        shape = (int(note["onset"]) % 16, int(note["pitch"]), int(note["duration"]))
        bars.setdefault(int(note["onset"]) // 16, set()).add(shape)
    found = []
    for lag in range(1, 16):
        pairs = [(bars.get(b, set()), bars.get(b + lag, set())) for b in range(max(bars, default=0) + 1 - lag)]
        values = [len(a & b) / len(a | b) for a, b in pairs if a | b]
        found.append((sum(values), len(values)))
    return found


@pytest.mark.parametrize("grid", [PAPER_GRID, PERFORMED], ids=str)
def test_intervals_equal_a_count_step_by_step(grid: TimeGrid) -> None:
    windows = random_windows(30, grid=grid)
    # Two notes of one pitch that overlap are two strokes of a key to us, one sounding pitch to the naive count.
    single = windows.common.map(lambda notes: notes[np.unique(notes["pitch"], return_index=True)[1]])
    np.testing.assert_array_equal(intervals(single), [naive_intervals(window) for window in single.common.pieces()])


def test_intervals_count_steps_and_fold_octaves() -> None:
    found = intervals(of(chord(0, 60, 64, 67, beats=1), [(0, 1, 60), (0.5, 2, 84)], [(0, 1, 60), (1, 1, 67)], []))
    expected = np.zeros((4, 12))
    expected[0, [4, 3, 7]] = 4  # sixteenths
    expected[1, 0] = 2
    np.testing.assert_array_equal(found, expected)


def test_bar_facts_equal_a_count_bar_by_bar() -> None:
    windows = random_windows(40).common
    # Few pitches and one duration, so that bars have notes in common.
    windows = windows.map(lambda notes: np.array([(o - o % 8, 4, 60 + p % 3, v) for o, _, p, v in notes], notes.dtype))
    expected = np.array([naive_similarity(window) for window in windows.common.pieces()]).swapaxes(1, 2)
    found = bar_facts(windows, score(windows))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert (found[:, 0] > 0).any()


def test_a_repeated_bar_has_similarity_1_at_every_lag() -> None:
    bar = [(0, 1, 60), (1, 1, 64), (2, 2, 67)]
    again = [(16 * k / 4 + onset, beats, pitch) for k in range(16) for onset, beats, pitch in bar]
    np.testing.assert_allclose(similarity(of(again)), 1)


def test_bar_similarity_compares_position_pitch_and_duration() -> None:
    first = [(0.0, 1.0, 60), (1, 1, 64)]
    for changed, expected in (
        ([(4, 1, 60), (5, 1, 64)], 1),
        ([(4, 1, 60), (5, 2, 64)], 1 / 3),
        ([(4, 1, 60), (5, 1, 65)], 1 / 3),
        ([(4, 1, 60)], 1 / 2),
        ([(5, 1, 60), (6, 1, 64)], 0),
    ):
        assert similarity(of([*first, *changed]))[0] == pytest.approx(expected)


def test_the_error_is_0_for_equal_sets_symmetric_and_sensitive_to_repetition() -> None:
    bars = [np.random.default_rng(k).integers(48, 84, size=(16, 4)) for k in range(12)]
    varied = of(*([(4 * b + k, 1, int(p)) for b, bar in enumerate(each) for k, p in enumerate(bar)] for each in bars))
    same = of(*([(4 * b + k, 1, int(p)) for b in range(16) for k, p in enumerate(each[0])] for each in bars))
    assert error(varied, varied) == 0
    assert error(varied, same) == error(same, varied) > 0.5


def test_the_error_of_windows_of_one_bar_is_nan() -> None:
    short = of([(0, 1, 60)], [(0, 1, 62)], [])
    assert math.isnan(error(short, short))
    assert math.isnan(error(of([(0, 1, 60), (4, 1, 60)]), short))


def test_a_lag_that_the_sample_lacks_has_similarity_0() -> None:
    short, repeated = of([(0, 1, 60)]), of([(0, 1, 60), (4, 1, 60), (8, 1, 60)])
    assert error(short, repeated) == 1
    assert error(of([(0, 1, 60), (4, 1, 60)]), repeated) == pytest.approx(1 / 3)  # two pairs at lag 1, one at lag 2


def test_a_lag_that_few_windows_reach_has_little_weight() -> None:
    two = [[(0.0, 1.0, 60), (4, 1, 60)]] * 99
    odd = [(4.0 * k, 1.0, 60 + k % 2) for k in range(3)]  # repeats at lag 2, not at lag 1
    even = [(4.0 * k, 1.0, 60 + k) for k in range(3)]
    assert error(of(*two, odd), of(*two, even)) == pytest.approx(1 / 102)


@pytest.mark.parametrize(
    ("pitches", "expected"),
    [
        ((60, 64, 67), (MAJOR, 0)),
        ((64, 67, 72), (MAJOR, 0)),
        ((55, 60, 64), (MAJOR, 0)),
        ((57, 60, 64), (MINOR, 9)),
        ((59, 62, 65), (DIMINISHED, 11)),
        ((55, 59, 62, 65), (MAJOR, 7)),  # a dominant seventh is its triad
        ((60, 67), (MAJOR, 0)),
        ((60, 63), (MINOR, 0)),
        ((64, 72), (MAJOR, 0)),
        ((60,), (MAJOR, 0)),
    ],
)
def test_chords_have_the_expected_roots(pitches: tuple[int, ...], expected: tuple[int, int]) -> None:
    assert named(chord(0, *pitches)) == [expected]
    for up in range(1, 12):
        moved = [(onset, beats, pitch + up) for onset, beats, pitch in chord(0, *pitches)]
        assert named(moved) == [(expected[0], (expected[1] + up) % 12)]


def test_a_chord_is_the_triad_that_sounds_longest_within_half_a_bar() -> None:
    assert named([*chord(0, 60, 64, 67, beats=1.5), *chord(1.5, 62, 65, 69, beats=0.5)]) == [(MAJOR, 0)]
    assert named([*chord(0, 60, 64, 67, beats=3), *chord(4, 62, 65, 69)]) == [(MAJOR, 0), (MAJOR, 0), (MINOR, 2)]


def test_silence_between_chords_is_counted() -> None:
    assert [quality for quality, _ in named([*chord(0, 60, 64, 67), *chord(4, 60, 64, 67)])] == [MAJOR, SILENCE, MAJOR]


def test_chord_pairs_depend_on_root_motion_but_not_on_the_key() -> None:
    cadence = [*chord(0, 60, 64, 67), *chord(2, 55, 59, 62), *chord(4, 57, 60, 64)]  # C, G, A minor
    higher = [(onset, beats, pitch + 3) for onset, beats, pitch in cadence]
    windows = of(cadence, higher, chord(0, 60, 64, 67), [])
    found = chord_counts(windows, score(windows))
    np.testing.assert_array_equal(found[0], found[1])
    assert sorted(np.flatnonzero(found[0])) == sorted([(MAJOR * 4 + MAJOR) * 12 + 7, (MAJOR * 4 + MINOR) * 12 + 2])
    assert found[2:].sum() == 0


def test_harmony_facts_do_not_depend_on_transposition_and_velocity() -> None:
    windows = random_windows(30).map(lambda notes: notes[(notes["pitch"] > 10) & (notes["pitch"] < 110)])
    higher = windows.notes.copy()
    higher["pitch"] += 5
    higher["velocity"] = 1
    moved = Windows(notes=higher, owner=windows.owner, count=len(windows), grid=windows.grid)
    for facts in (interval_counts, chord_counts, bar_facts):
        np.testing.assert_array_equal(facts(moved, score(moved)), facts(windows, score(windows)))


def test_divergence_is_one_bit_for_sets_with_nothing_in_common() -> None:
    one, other = rows(np.array([[2.0, 0, 0], [0, 2, 0]])), rows(np.array([[0.0, 0, 5], [0, 0, 1]]))
    assert divergence(one, other, RNG) == pytest.approx(1)
    assert divergence(one, one, RNG) == 0
    half = rows(np.array([[1.0, 0, 1]]))
    # p = (1/2, 1/2, 0), q = (1/2, 0, 1/2): H(1/2, 1/4, 1/4) - 1 = 1/2
    assert divergence(one, half, RNG) == pytest.approx(0.5)
    assert divergence(half, one, RNG) == pytest.approx(0.5)


def test_windows_without_counts_have_one_count_of_nothing() -> None:
    none, some = rows(np.zeros((3, 12))), rows(np.ones((3, 12)))
    assert divergence(none, some, RNG) == divergence(some, none, RNG) == 1
    assert divergence(none, none, RNG) == 0
    half = rows(np.array([[1.0, 0], [0, 0]]))  # p = (1/2, 0, 1/2)
    assert divergence(half, rows(np.array([[1.0, 1]])), RNG) == pytest.approx(0.5)
    assert divergence(half, rows(np.array([[1.0, 0]])), RNG) > 0

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from eval.distances.point_clouds import (
    classifier_auc,
    coverage,
    features,
    frechet,
    frechet_gaussian,
    mmd,
    mmd_p,
    precision,
    recall,
)
from eval.distances.rows import Rows
from eval.distances.table import DISTANCES
from eval.distances.univariate import cliffs_delta, spread, wasserstein
from eval.metrics.table import features_on, score
from replication.midi.piece import PAPER_GRID, Seconds, TimeGrid
from tests.support.pieces import PERFORMED, random_windows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

CLOUDS = {name: row.function for name, row in DISTANCES.items() if row.facts is features}


def rows(values: ArrayLike, *, first: int = 0) -> Rows:
    """Return windows that are each a song of its own."""
    array = np.asarray(values, dtype=float)
    return Rows(array, first + np.arange(len(array)))


def halves(n: int, seed: int = 0, *, features: int = 6) -> tuple[Rows, Rows]:
    """Return two sets of one distribution."""
    values = np.random.default_rng(seed).normal(size=(2, n, features))
    return rows(values[0]), rows(values[1], first=n)


def gap(name: str, value: float) -> float:
    """Return how far a value is from that of equal sets, which for shares is 1 if they are the same windows too."""
    ideal = DISTANCES[name].ideal
    return abs(value - (1.0 if ideal is None else ideal))


def test_wasserstein_of_a_shift_is_the_shift() -> None:
    assert wasserstein([0, 1, 2], [1, 2, 3], scale=1.0) == pytest.approx(1)
    assert wasserstein([0, 1, 2], [1, 2, 3]) == pytest.approx(1 / math.sqrt(2 / 3))


def test_wasserstein_is_0_for_equal_sets_in_any_order_and_free_of_units() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 50))
    assert wasserstein(a, np.random.default_rng(1).permutation(a)) == pytest.approx(0)
    assert wasserstein(7 * a, 7 * b) == pytest.approx(wasserstein(a, b))


def test_spread_is_the_deviation_or_one_for_a_constant() -> None:
    assert spread([0.0, 2.0, math.nan]) == 1
    assert spread([0.0, 4.0]) == 2
    assert spread([0.1] * 7) == 1
    assert spread([]) == 1


def test_wasserstein_from_a_constant_is_in_the_unit_of_the_metric() -> None:
    assert wasserstein([3.0, 4.0], [1.0, 1.0]) == pytest.approx(2.5)


def test_wasserstein_ignores_nan_and_is_nan_for_empty_sets() -> None:
    assert wasserstein([1.0, math.nan, 2.0], [math.nan, 1.0, 4.0]) == wasserstein([1.0, 2.0], [1.0, 4.0])
    assert math.isnan(wasserstein([math.nan], [1.0, 2.0]))
    assert math.isnan(wasserstein([1.0, 2.0], []))


@pytest.mark.parametrize("grid", [PAPER_GRID, Seconds(steps_per_second=8.0)], ids=str)
def test_every_row_measures_windows(grid: TimeGrid) -> None:
    windows = random_windows(60, grid=grid)
    scores = score(windows)
    for name, row in DISTANCES.items():
        if row.needs_beats and not windows.beats:
            continue
        facts = row.facts(windows, scores)
        whole = Rows(facts, np.arange(60))
        assert len(facts) == 60
        found = row.function(whole.take(range(30)), whole.take(range(30, 60)), np.random.default_rng(0))
        assert math.isfinite(found), name
        same = row.function(whole, whole._replace(songs=np.arange(60, 120)), np.random.default_rng(0))
        # Of these two a copy is better than another sample of the same music: that is how they give it away.
        assert gap(name, same) <= gap(name, found) or name in {"classifier_auc", "mmd"}, name


def test_only_distances_from_0_have_floor_ratios() -> None:
    heard = {name for name, row in DISTANCES.items() if row.family}
    assert {name for name, row in DISTANCES.items() if row.in_floors} == {*heard, "frechet", "chords", "bar_similarity"}
    assert len({row.draws for row in DISTANCES.values() if row.family}) == 1  # the endpoint compares equal halves
    assert all(row.ideal == 0 for row in DISTANCES.values() if row.in_floors)


@pytest.mark.parametrize("name", DISTANCES)
def test_rows_of_a_window_do_not_depend_on_other_windows(name: str) -> None:
    windows, row = random_windows(20), DISTANCES[name]
    order = np.random.default_rng(1).permutation(20)[:12]
    chosen = windows.take(order)
    np.testing.assert_array_equal(row.facts(chosen, score(chosen)), row.facts(windows, score(windows))[order])


def test_features_are_those_of_the_grid() -> None:
    windows = random_windows(5, grid=PERFORMED)
    scores = score(windows)
    np.testing.assert_array_equal(features(windows, scores), scores[list(features_on(PERFORMED))])


@pytest.mark.parametrize("name", CLOUDS)
def test_cloud_distances_do_not_depend_on_unit_or_origin(name: str) -> None:
    a, b = halves(40)
    factors, offsets = np.random.default_rng(1).uniform(1, 9, size=(2, 6))
    moved = [part._replace(values=part.values * factors + offsets) for part in (a, b)]
    before, after = (CLOUDS[name](one, other, np.random.default_rng(2)) for one, other in ((a, b), moved))
    assert after == pytest.approx(before, abs=1e-9)


@pytest.mark.parametrize("name", CLOUDS)
def test_distances_grow_with_the_shift_between_clouds(name: str) -> None:
    a, b = halves(150)
    found = [CLOUDS[name](rows(a.values + shift), b, np.random.default_rng(2)) for shift in (0.0, 0.7, 1.5, 4.0)]
    gaps = [gap(name, value) for value in found]
    assert gaps == sorted(gaps)
    assert gaps[-1] > gaps[0] + 0.4


@pytest.mark.parametrize("name", CLOUDS)
def test_only_unequal_shares_of_missing_values_add_distance(name: str) -> None:
    a, b = halves(150)
    some = a.values.copy()
    some[:75, 0] = math.nan
    real = b.values.copy()
    real[:75, 0] = math.nan
    whole = CLOUDS[name](a, b, np.random.default_rng(0))
    equal, more = (
        gap(name, CLOUDS[name](rows(some), rows(other, first=150), np.random.default_rng(0)))
        for other in (real, b.values)
    )
    assert equal < gap(name, whole) + 0.1
    assert more > equal + 0.1 or name == "recall"  # what has the feature still has its neighbours


@pytest.mark.parametrize("name", CLOUDS)
def test_a_feature_that_no_window_has_or_that_is_constant_changes_little(name: str) -> None:
    a, b = halves(60)
    before = CLOUDS[name](a, b, np.random.default_rng(0))
    for filler in (math.nan, 0.1):
        one, other = (part._replace(values=np.insert(part.values, 0, filler, axis=1)) for part in (a, b))
        assert CLOUDS[name](one, other, np.random.default_rng(0)) == pytest.approx(before, abs=1e-6)


def test_frechet_of_gaussians_has_a_closed_form() -> None:
    assert frechet_gaussian([0], [[1]], [1], [[4]]) == pytest.approx(2)
    diagonal, other = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 4.0, 1.0])
    assert frechet_gaussian([0, 0, 0], diagonal, [1, 2, 0], other) == pytest.approx(5 + 1 + 0 + 4)
    turn = stats.special_ortho_group.rvs(3, random_state=0)
    assert frechet_gaussian([0, 0, 0], turn @ diagonal @ turn.T, [0, 0, 0], turn @ other @ turn.T) == pytest.approx(5)


def test_frechet_is_symmetric_and_depends_on_ranks_only() -> None:
    a, b = halves(50)
    rng = np.random.default_rng(0)
    assert frechet(a, b, rng) == pytest.approx(frechet(b, a, rng))
    bent, other = (part._replace(values=np.exp(3 * part.values)) for part in (a, b))
    assert frechet(bent, other, rng) == pytest.approx(frechet(a, b, rng))
    assert frechet(a, a, rng) == pytest.approx(0, abs=1e-6)


def test_mmd_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    found = [mmd(*halves(30, seed), rng) for seed in range(300)]
    assert abs(np.mean(found)) < 3 * stats.sem(found)
    assert min(found) < 0


def test_the_p_value_is_uniform_for_equal_distributions_and_small_for_others() -> None:
    rng = np.random.default_rng(0)
    null = [mmd_p(*halves(20, seed, features=3), rng, permutations=99) for seed in range(300)]
    assert stats.kstest(null, "uniform").pvalue > 0.01
    assert np.mean(np.array(null) <= 0.05) == pytest.approx(0.05, abs=0.035)
    a, b = halves(50)
    assert mmd_p(rows(a.values + 1), b, rng) == pytest.approx(1 / 500)


def test_the_order_of_permutations_is_that_of_the_statistic() -> None:
    a, b = halves(12)
    pooled = np.concatenate([a.values, b.values])
    rng = np.random.default_rng(3)
    shuffled = [rng.permutation(24) for _ in range(1000)]
    # z-scores and kernel width of all windows, which the statistic itself takes from the reference
    scaled = (pooled - pooled.mean(axis=0)) / pooled.std(axis=0)
    squared = np.sum((scaled[:, None] - scaled) ** 2, axis=-1)
    kernel = np.exp(-squared / np.median(squared[np.triu_indices(24, 1)]))

    def statistic(order: ArrayLike) -> float:
        k = kernel[np.ix_(np.asarray(order), np.asarray(order))]
        within = sum(part.sum() - np.trace(part) for part in (k[:12, :12], k[12:, 12:])) / (12 * 11)
        return float(within - 2 * k[:12, 12:].mean())

    drawn = np.array([statistic(order) for order in shuffled])
    exact = np.mean(drawn >= statistic(range(24)))
    assert mmd_p(a, b, rng, permutations=4999) == pytest.approx(exact, abs=0.05)


def test_p_values_refuse_two_windows_of_one_song_and_sets_of_two_sizes() -> None:
    a, b = halves(10)
    rng = np.random.default_rng(0)
    for one, other in ((a._replace(songs=np.zeros(10, int)), b), (a, b.take(range(9)))):
        with pytest.raises(ValueError, match="one window of each song"):
            mmd_p(one, other, rng)


def test_a_classifier_is_at_chance_for_equal_distributions() -> None:
    rng = np.random.default_rng(0)
    assert np.mean([classifier_auc(*halves(200, seed), rng) for seed in range(20)]) == pytest.approx(0.5, abs=0.03)


def test_a_classifier_is_below_chance_for_copies() -> None:
    a, _ = halves(200)
    rng = np.random.default_rng(0)
    for songs in (a.songs, a.songs + 200):  # named alike or not
        assert classifier_auc(a._replace(songs=songs), a, rng) < 0.45


def test_windows_of_one_song_stay_in_one_fold() -> None:
    rng = np.random.default_rng(0)
    # Ten songs of twenty windows that are all but equal: a classifier that has seen a song knows its side.
    found, leaking = [], []
    for seed in range(20):
        songs = np.random.default_rng(seed).normal(size=(20, 30)).repeat(20, axis=0)
        a, b = (Rows(part, np.arange(200) // 20 + 10 * side) for side, part in enumerate(np.split(songs, 2)))
        found.append(classifier_auc(a, b, rng))
        leaking.append(classifier_auc(rows(a.values), rows(b.values), rng))
    assert np.mean(found) == pytest.approx(0.5, abs=0.12)
    assert np.mean(leaking) > 0.95


def test_a_classifier_of_one_song_is_nan() -> None:
    a, b = halves(10)
    assert math.isnan(classifier_auc(a._replace(songs=np.zeros(10, int)), b, np.random.default_rng(0)))


def test_recall_is_precision_with_the_sets_exchanged() -> None:
    values = np.random.default_rng(0).normal(size=(2, 60, 2))
    values -= values.mean(axis=1, keepdims=True)
    values /= values.std(axis=1, keepdims=True)
    a, b = rows(values[0]), rows(values[1] * 2)
    rng = np.random.default_rng(0)
    assert precision(a, b, rng) == pytest.approx(recall(b, a, rng))


def test_a_set_is_its_own_support() -> None:
    a, b = halves(50)
    rng = np.random.default_rng(0)
    for function in (precision, recall, coverage):
        assert function(a, a, rng) == 1
        assert function(rows(a.values + 100), b, rng) == 0


def test_support_on_a_line_follows_the_definition() -> None:
    reference = rows(np.arange(12.0)[:, None])  # reaching 5, 4, 3, ... 3, 4, 5
    sample = rows(np.concatenate([[-4.9, -5.1, 15.9, 16.1], np.full(8, 5.5)])[:, None])
    rng = np.random.default_rng(0)
    assert precision(sample, reference, rng) == 10 / 12
    assert coverage(sample, reference, rng) == 8 / 12  # all but 1, 2, 9 and 10


def test_collapse_lowers_recall_and_coverage_but_not_precision() -> None:
    a, b = halves(200)
    collapsed = rows(np.resize(a.values[:10], a.values.shape))
    rng = np.random.default_rng(0)
    assert precision(collapsed, b, rng) > 0.7
    assert recall(collapsed, b, rng) < 0.05
    assert coverage(collapsed, b, rng) < 0.4


def test_cliffs_delta() -> None:
    assert cliffs_delta([3, 4], [1, 2]) == 1
    assert cliffs_delta([1, 2], [3, 4]) == -1
    assert cliffs_delta([1, 2], [1, 2]) == 0
    assert cliffs_delta([1, 2, 3], [2]) == 0
    assert cliffs_delta([2, 3, 3], [1, 3]) == pytest.approx((3 - 1) / 6)
    assert cliffs_delta([3, math.nan], [math.nan, 1]) == 1
    assert math.isnan(cliffs_delta([math.nan], [1]))


def test_cliffs_delta_equals_a_count_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 10, 50), rng.integers(2, 12, 70)
    assert cliffs_delta(a, b) == pytest.approx(np.sign(a[:, None] - b).mean())
    assert cliffs_delta(b, a) == pytest.approx(-cliffs_delta(a, b))

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from eval.distances.noise_floor import one_per_song
from eval.distances.point_clouds import mmd_p
from eval.distances.rows import Rows
from eval.distances.table import DISTANCES
from eval.metrics.table import features_on, score
from eval.statistics.comparisons import (
    Procedure,
    cliffs_delta,
    contrast,
    detectable_effect,
    deviation,
    difference,
    holm,
    interval,
    same_size,
)
from replication.util.errors import UserError
from tests.support.measured_controls import cut

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def test_interval() -> None:
    mean, low, high = interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2, 2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), abs=1e-6)
    narrow = interval([1.0, 2.0, 3.0], level=0.5)
    assert low < narrow.low < narrow.high < high
    assert interval([2.0, 2.0]) == (2, 2, 2)


@pytest.mark.parametrize(("values", "mean"), [([1.5], 1.5), ([], math.nan), ([1.0, math.nan], math.nan)])
def test_no_interval(values: list[float], mean: float) -> None:
    found = interval(values)
    assert found.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_values_that_are_equal_by_rounding_deviate_by_that_of_rounding() -> None:
    rng = np.random.default_rng(0)
    assert deviation([2.0, 2.0], resolution=1.0) == pytest.approx(rng.random(100_000).std(), abs=0.01)
    assert deviation([2.0, 4.0], resolution=1.0) == deviation([2.0, 4.0]) == pytest.approx(math.sqrt(2))
    assert deviation([1.1 - 1.0, 2.1 - 2.0, 0.1]) == 0  # as computed they differ by 1e-16
    assert math.isnan(deviation([1.0], resolution=1.0))
    assert contrast([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], resolution=0.2).p == pytest.approx(0.0011, abs=1e-4)


def test_difference_by_hand() -> None:
    found = difference([[1.0, 3.0], [4.0, 4.0], [6.0]], [1.0, 1.0, 2.0, 4.0], ["a", "a", "b", "c"])
    # Seeds have means 2, 4, 6; songs exceed the mean of 2 by -2, 0 and 2 in all.
    variance = 4 / 3 + 3 / 2 * 8 / 16
    assert found.mean == pytest.approx(2)
    assert found.high - found.mean == pytest.approx(4.302653 * math.sqrt(variance), abs=1e-5)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_what_is_nan_has_no_part_in_a_difference() -> None:
    rest = difference([[1.0, 2.0], [3.0]], [1.0, 2.0, 5.0], ["a", "b", "b"])
    assert difference([[1.0, 2.0, math.nan], [3.0]], [1.0, 2.0, math.nan, 5.0], ["a", "b", "c", "b"]) == rest


@pytest.mark.parametrize(
    ("seeds", "real", "mean"),
    [
        ([[1.0, 2.0]], [1.0, 2.0], 0),
        ([[1.0], [2.0]], [1.0], 0.5),
        ([], [1.0, 2.0], math.nan),
        ([[1.0], [math.nan]], [1.0, 2.0], math.nan),
        ([[1.0], [2.0]], [math.nan, math.nan], math.nan),
    ],
)
def test_differences_of_too_little_have_no_interval(seeds: list[list[float]], real: list[float], mean: float) -> None:
    found = difference(seeds, real, np.arange(len(real)))
    assert found.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("effect", [0.0, 0.2, 1.0])  # standard deviation of seeds in units of that of pieces
def test_differences_cover_the_truth(seeds: int, effect: float) -> None:
    rng = np.random.default_rng(0)
    songs = np.repeat(np.arange(40), rng.integers(1, 7, 40))

    def covers() -> bool:
        generated = rng.normal(0, effect, (seeds, 1)) + rng.normal(size=(seeds, 64))
        real = 0.5 * rng.normal(size=40)[songs] + rng.normal(size=len(songs))
        found = difference(list(generated), real, songs)
        return found.low <= 0 <= found.high

    assert np.mean([covers() for _ in range(2000)]) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_intervals_cover_the_truth(seeds: int) -> None:
    draws = np.random.default_rng(0).normal(size=(2000, seeds))
    found = np.array([interval(draw.tolist()) for draw in draws])
    assert np.mean((found[:, 1] <= 0) & (found[:, 2] >= 0)) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("n", [7, 8, 11])
def test_sign_flips_are_those_that_can_be_counted(n: int) -> None:
    rng = np.random.default_rng(n)
    for differences in (rng.normal(0.5, 1, n), rng.integers(-2, 4, n) / 10):
        sums = np.array([np.dot(signs, differences) for signs in itertools.product([-1, 1], repeat=n)])
        found = contrast(differences.tolist(), [0.0] * n)
        assert found.p == pytest.approx(np.mean(np.abs(sums) >= abs(differences.sum()) - 1e-9))
        assert found.test is Procedure.SIGN_FLIP


@pytest.mark.parametrize(("seeds", "least"), [(7, 0.015625), (8, 0.0078125), (20, 2.0**-19), (40, 2.0**-39)])
def test_least_p_of_sign_flips(seeds: int, least: float) -> None:
    values = [0.1 * seed for seed in range(1, seeds + 1)]
    found = contrast(values, [0.0] * seeds)
    assert found.p == least
    assert found.n == seeds
    assert contrast([0.0] * seeds, values).p == least


@pytest.mark.parametrize(
    ("seeds", "tests", "procedure"),
    [
        (6, 1, Procedure.T),
        (7, 1, Procedure.SIGN_FLIP),
        (8, 4, Procedure.T),
        (9, 4, Procedure.SIGN_FLIP),
        (40, 1, Procedure.SIGN_FLIP),
        (41, 1, Procedure.T),
    ],
)
def test_signs_are_flipped_where_that_can_tell_something(seeds: int, tests: int, procedure: Procedure) -> None:
    values = np.random.default_rng(0).normal(1, 0.1, seeds)
    found = contrast(values.tolist(), [0.0] * seeds, tests=tests)
    assert found.test is procedure
    assert tests * found.p < 0.05


def test_few_seeds_have_the_p_of_a_paired_t_test() -> None:
    found = contrast([3.0, 1.0, 4.0], [1.0, 2.0, 1.0])
    assert found.p == pytest.approx(stats.ttest_rel([3.0, 1.0, 4.0], [1.0, 2.0, 1.0]).pvalue)
    assert found[:3] == interval([2.0, -1.0, 3.0])
    assert (found.low > 0) == (found.p < 0.05)


@pytest.mark.parametrize("seeds", [2, 7])
def test_no_difference_is_no_evidence(seeds: int) -> None:
    assert contrast([1.0] * seeds, [1.0] * seeds).p == 1


@pytest.mark.parametrize(
    ("a", "b"),
    [([1.0], [0.0]), ([], []), ([1.0, math.nan], [0.0, 0.0]), ([math.inf, 1.0], [math.inf, 0.0]), ([2, 3], [1, 2])],
)
def test_no_p(a: list[float], b: list[float]) -> None:
    found = contrast(a, b)
    assert math.isnan(found.p)
    assert found.test is Procedure.NONE


def test_pairs() -> None:
    with pytest.raises(ValueError, match="2 and 1 values cannot be paired"):
        contrast([1.0, 2.0], [1.0])


@pytest.mark.parametrize("seeds", [3, 7])
def test_contrasts_of_equal_methods_have_uniform_p_values(seeds: int) -> None:
    draws = np.random.default_rng(0).normal(size=(400, seeds))
    p = np.array([contrast(draw.tolist(), [0.0] * seeds).p for draw in draws])
    levels = np.arange(1, 20) / 20
    shares = np.mean(p <= levels[:, None] + 1e-9, axis=1)
    assert (shares < levels + 3.5 * np.sqrt(levels * (1 - levels) / 400)).all()
    assert np.mean(p) == pytest.approx(0.5, abs=0.05)


def test_cliffs_delta() -> None:
    assert cliffs_delta([3, 4], [1, 2]) == 1
    assert cliffs_delta([1, 2], [3, 4]) == -1
    assert cliffs_delta([1, 2], [1, 2]) == 0
    assert cliffs_delta([1, 2, 3], [2]) == 0
    assert cliffs_delta([2, 3, 3], [1, 3]) == pytest.approx((3 - 1) / 6)
    assert cliffs_delta([3, math.nan], [math.nan, 1]) == 1
    assert math.isnan(cliffs_delta([math.nan], [1]))


def test_cliffs_delta_is_what_all_pairs_say() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 10, 50), rng.integers(2, 12, 70)
    assert cliffs_delta(a, b) == pytest.approx(np.sign(a[:, None] - b).mean())
    assert cliffs_delta(b, a) == pytest.approx(-cliffs_delta(a, b))


def test_sets_of_unequal_sizes_are_not_compared() -> None:
    same_size({"e2e": 512, "gaussian": 512, "pretrained": 512})
    same_size({})
    with pytest.raises(
        UserError, match=r"gaussian was scored with 512 windows and pretrained with 64, .* equally many"
    ):
        same_size({"e2e": 512, "gaussian": 512, "pretrained": 64})


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([0.02, math.nan, 0.01]) == pytest.approx([0.02, math.nan, 0.02], nan_ok=True)
    assert holm([]) == []


@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize("tests", [1, 4])
def test_a_planted_effect_is_found_with_the_promised_power(seeds: int, tests: int) -> None:
    rng, sd = np.random.default_rng(0), 2.0
    draws = rng.normal(loc=detectable_effect(seeds, sd, tests=tests), scale=sd, size=(4000, seeds))
    t = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / math.sqrt(seeds))
    assert np.mean(t > stats.t.ppf(1 - 0.025 / tests, seeds - 1)) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("seeds", [3, 5, 7, 10])
def test_a_contrast_finds_a_planted_effect_with_the_promised_power(seeds: int) -> None:
    draws = np.random.default_rng(0).normal(loc=detectable_effect(seeds, 1.0), size=(1000, seeds))
    found = np.mean([contrast(draw.tolist(), [0.0] * seeds).p <= 0.05 for draw in draws])
    assert found == pytest.approx(0.8, abs=0.06)


def test_more_seeds_find_smaller_effects() -> None:
    effects = [detectable_effect(seeds, 1.0) for seeds in (1, 2, 3, 5, 10, 100)]
    assert effects[0] == math.inf
    assert effects == sorted(effects, reverse=True)
    assert effects[-1] == pytest.approx(0.283, abs=0.01)  # 2.80 / sqrt(100), the normal limit, and a little
    assert detectable_effect(2, 1.0, tests=20) > detectable_effect(2, 1.0) > 11


def corpus(rng: np.random.Generator, *, songs: int = 100) -> Rows:
    """Return made-up facts of windows that are alike within a song."""
    of = np.repeat(np.arange(songs), rng.integers(1, 6, songs))
    return Rows(rng.normal(size=(songs, 4))[of] + 0.5 * rng.normal(size=(len(of), 4)), of)


def halves(real: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Return one window of each song, of either half of the songs."""
    first, second = np.array_split(rng.permutation(one_per_song(real.songs, rng)), 2)
    n = min(len(first), len(second))
    return real.take(first[:n]), real.take(second[:n])


def uniform(p: NDArray[Any]) -> float:
    """Return the p value of p values being uniform."""
    return float(stats.kstest(p, "uniform").pvalue)


def test_halves_of_real_songs_have_uniform_p_values() -> None:
    rng = np.random.default_rng(0)
    p = np.array([mmd_p(*halves(corpus(rng), rng), rng, permutations=199) for _ in range(200)])
    assert uniform(p) > 0.01


@pytest.mark.slow  # reads the corpus
def test_bach_against_itself_is_told_apart_as_often_as_promised(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    windows = cut("bach", tmp_path, rng)  # one of each song
    scores = score(windows)
    facts = Rows(DISTANCES["mmd"].facts(windows, scores), np.arange(len(windows)))
    features = scores[list(features_on(windows.grid))].to_numpy()
    p, covered = [], []
    for _ in range(200):
        drawn = rng.permutation(len(windows))
        p.append(mmd_p(facts.take(drawn[:50]), facts.take(drawn[50:100]), rng, permutations=199))
        seeds, real = np.split(features[drawn[:150]], 3), features[drawn[150:210]]
        for generated, held_out in zip(np.transpose(seeds, (2, 0, 1)), real.T, strict=True):
            found = difference(list(generated), held_out, np.arange(60))
            covered.append(found.low <= 0 <= found.high)
    assert uniform(np.array(p)) > 0.01
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)


def test_windows_of_one_song_are_not_exchangeable() -> None:
    rng = np.random.default_rng(0)
    p = []
    for _ in range(100):
        real, other = (corpus(rng, songs=20).take(np.arange(20)) for _ in range(2))
        p.append(mmd_p(Rows(real.values, np.arange(20)), Rows(other.values, np.arange(20)), rng, permutations=99))
    assert uniform(np.array(p)) < 0.01

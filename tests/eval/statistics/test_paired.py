from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from eval.statistics.paired import contrast, detectable_effect, equivalence_deviation, holm, same_size
from replication.util.errors import UserError


@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_contrast_is_the_paired_t_test_and_the_two_one_sided_tests(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.3, 1, n), rng.normal(0, 1, n)
    found = contrast(a - b, margin=0.5)
    paired = stats.ttest_rel(a, b)
    assert found.difference == pytest.approx((a - b).mean())
    assert found.n == n
    assert (found.low, found.high) == pytest.approx(tuple(paired.confidence_interval()))
    assert found.p == pytest.approx(paired.pvalue)
    assert found.p_equivalent == pytest.approx(ttost_paired(a, b, -0.5, 0.5)[0])
    assert found.deviation == pytest.approx((a - b).std(ddof=1))


@pytest.mark.parametrize("seed", range(20))
def test_equivalence_is_a_90_percent_interval_within_the_margin(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0, 0.4, 5)
    found = contrast(differences, margin=0.5)
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.9)
    assert (found.p_equivalent <= 0.05) == (low >= -0.5 and high <= 0.5)


def test_equal_differences() -> None:
    nothing = contrast([0.0, 0.0, 0.0], margin=0.5)
    assert (nothing.difference, nothing.low, nothing.high, nothing.p, nothing.p_equivalent) == (0, 0, 0, 1, 0)
    alike = contrast([2.0, 2.0, 2.0], margin=0.5)
    assert (alike.difference, alike.low, alike.high) == (2, 2, 2)
    assert math.isnan(alike.p)
    assert math.isnan(alike.p_equivalent)


@pytest.mark.parametrize("differences", [[], [1.0], [1.0, math.inf], [1.0, math.nan, 2.0]])
def test_too_few_or_infinite_values_have_no_test(differences: list[float]) -> None:
    found = contrast(differences, margin=0.5)
    assert found.n == len(differences)
    assert all(math.isnan(value) for value in (found.low, found.high, found.p, found.p_equivalent))


def test_an_infinite_margin_has_no_equivalence() -> None:
    assert math.isnan(contrast([1.0, 2.0, 4.0], margin=math.inf).p_equivalent)


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
    found = np.mean([contrast(draw, margin=0.5).p <= 0.05 for draw in draws])
    assert found == pytest.approx(0.8, abs=0.06)


def test_more_seeds_find_smaller_effects() -> None:
    effects = [detectable_effect(seeds, 1.0) for seeds in (1, 2, 3, 5, 10, 100)]
    assert effects[0] == math.inf
    assert effects == sorted(effects, reverse=True)
    assert effects[-1] == pytest.approx(0.283, abs=0.01)  # 2.80 / sqrt(100), the normal limit, and a little
    assert detectable_effect(2, 1.0, tests=20) > detectable_effect(2, 1.0) > 11


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_equal_methods_are_shown_to_be_equivalent_with_the_promised_power(seeds: int) -> None:
    sd = equivalence_deviation(seeds, 0.5)
    draws = np.random.default_rng(0).normal(scale=sd, size=(4000, seeds))
    half = stats.t.ppf(0.95, seeds - 1) * draws.std(axis=1, ddof=1) / math.sqrt(seeds)
    assert np.mean(np.abs(draws.mean(axis=1)) + half < 0.5) == pytest.approx(0.8, abs=0.02)
    # Methods that differ by the margin are called equivalent in 5 % of the cases or fewer.
    assert np.mean(np.abs(draws.mean(axis=1) + 0.5) + half < 0.5) <= 0.06


def test_the_deviation_at_which_equivalence_can_be_shown() -> None:
    deviations = [equivalence_deviation(seeds, 0.5) for seeds in (1, 2, 3, 5, 10, 100)]
    assert deviations[0] == 0
    assert all(fewer < more for fewer, more in itertools.pairwise(deviations))
    assert equivalence_deviation(5, 1.0) == pytest.approx(2 * equivalence_deviation(5, 0.5))
    assert equivalence_deviation(5, 0.5) > equivalence_deviation(5, 0.5, tests=5)

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from eval.statistics.intervals import interval
from eval.statistics.paired import Procedure, contrast, detectable_effect, equivalence_deviation, holm, same_size
from replication.util.errors import UserError


@pytest.mark.parametrize("n", [7, 8, 11])
def test_sign_flip_p_values_equal_direct_enumeration(n: int) -> None:
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
def test_sign_flips_are_used_where_they_can_be_significant(seeds: int, tests: int, procedure: Procedure) -> None:
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
def test_equal_values_have_a_p_value_of_1(seeds: int) -> None:
    assert contrast([1.0] * seeds, [1.0] * seeds).p == 1


@pytest.mark.parametrize(
    ("a", "b"),
    [([1.0], [0.0]), ([], []), ([1.0, math.nan], [0.0, 0.0]), ([math.inf, 1.0], [math.inf, 0.0]), ([2, 3], [1, 2])],
)
def test_too_few_or_infinite_values_have_no_p_value(a: list[float], b: list[float]) -> None:
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


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_equal_methods_are_shown_to_be_equivalent_with_the_promised_power(seeds: int) -> None:
    sd = equivalence_deviation(seeds, 0.5)
    draws = np.random.default_rng(0).normal(scale=sd, size=(4000, seeds))
    half = stats.t.ppf(0.975, seeds - 1) * draws.std(axis=1, ddof=1) / math.sqrt(seeds)
    assert np.mean(np.abs(draws.mean(axis=1)) + half < 0.5) == pytest.approx(0.8, abs=0.02)
    # Methods that differ by the margin are called equivalent in 2.5 % of the cases or fewer.
    assert np.mean(np.abs(draws.mean(axis=1) + 0.5) + half < 0.5) <= 0.03


def test_the_deviation_at_which_equivalence_can_be_shown() -> None:
    deviations = [equivalence_deviation(seeds, 0.5) for seeds in (1, 2, 3, 5, 10, 100)]
    assert deviations[0] == 0
    assert all(fewer < more for fewer, more in itertools.pairwise(deviations))
    assert equivalence_deviation(5, 1.0) == pytest.approx(2 * equivalence_deviation(5, 0.5))
    assert equivalence_deviation(5, 0.5, level=0.9) > equivalence_deviation(5, 0.5)

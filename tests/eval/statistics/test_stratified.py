from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from eval.statistics.stratified import stratified_correlation

if TYPE_CHECKING:
    from eval.statistics.stratified import StratifiedCorrelation


def correlate(
    number: np.ndarray, distance: np.ndarray, *, permutations: int = 499, seed: int = 0
) -> StratifiedCorrelation:
    """Correlate two tables (ages, trials)."""
    ages, trials = number.shape
    age, trial = np.indices((ages, trials))
    rng = np.random.default_rng(seed)
    return stratified_correlation(
        *(values.ravel() for values in (number, distance, age, trial)), margin=0.2, rng=rng, permutations=permutations
    )


@given(st.integers(0, 999), st.integers(3, 12), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_rho_is_the_mean_of_spearmans_over_ages(seed: int, trials: int, ages: int) -> None:
    rng = np.random.default_rng(seed)
    number, distance = rng.integers(6, size=(2, ages, trials)) + np.array([0, *[9] * (trials - 1)]) / 10
    found = correlate(number, distance, permutations=99)
    rhos = [stats.spearmanr(*pair).statistic for pair in zip(number, distance, strict=True)]
    rhos = [rho for rho in rhos if not math.isnan(rho)]
    if not rhos:
        assert math.isnan(found.rho)
        return
    assert found.rho == pytest.approx(np.mean(rhos), abs=1e-9)
    assert found.ages == len(rhos)
    assert -1 <= found.low <= found.rho <= found.high <= 1
    assert 0 < found.p <= 1
    assert 0 <= found.p_equivalent <= 1
    if found.p_equivalent <= 0.025:
        assert abs(found.rho) < 0.2
    if found.low > 0 or found.high < 0:
        assert found.p <= 0.05


def test_few_trials_visit_all_permutations() -> None:
    # One age and 4 trials in perfect order: 2 of 24 permutations have |rho| = 1.
    found = correlate(np.arange(4.0)[None], np.arange(4.0)[None])
    assert found.rho == 1
    assert found.p == pytest.approx(2 / 24)
    # Trials move as a whole: with three equal ages there are still 24 permutations and not 24^3.
    again = correlate(np.tile(np.arange(4.0), (3, 1)), np.tile(np.arange(4.0), (3, 1)))
    assert again.p == found.p
    assert again.low < 0 < again.high <= 1


def test_a_clock_is_not_a_measure_of_quality() -> None:
    age = np.repeat([[1.0], [2.0], [5.0]], 9, axis=1)
    distance = 10 - age + np.random.default_rng(0).normal(size=age.shape)
    found = correlate(-age, distance)
    assert math.isnan(found.rho)  # equal at every age
    assert (found.trials, found.ages) == (9, 0)


def test_incomplete_trials_and_infinite_values() -> None:
    number = np.array([[1.0, 2.0, 3.0, math.inf, 9.0], [1.0, 2.0, 3.0, 4.0, math.nan]])
    distance = np.array([[1.0, 2.0, 3.0, 4.0, 0.0], [1.0, 2.0, 3.0, math.inf, 0.0]])
    found = correlate(number, distance)
    assert (found.rho, found.trials, found.ages) == (1.0, 4, 2)
    assert math.isnan(correlate(number[:, 3:], distance[:, 3:]).p)
    with pytest.raises(ValueError, match="two values of the same age"):
        stratified_correlation([1, 2], [1, 2], [5, 5], ["a", "a"], margin=0.2, rng=np.random.default_rng(0))


@pytest.mark.parametrize("persistence", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("trials", [9, 15, 30])
def test_p_values_of_noise_are_uniform_however_long_it_persists(trials: int, persistence: float) -> None:
    # Of 150 exact tests more than 0.11 are below 0.05 once in 700 times.
    rng = np.random.default_rng(round(10 * persistence) + trials)
    found = []
    for seed in range(150):
        number, distance = (persistence * rng.normal(size=trials) + rng.normal(size=(3, trials)) for _ in range(2))
        found.append(correlate(number, distance, permutations=199, seed=seed).p)
    assert stats.kstest(found, "uniform").pvalue > 0.001
    assert np.mean(np.array(found) <= 0.05) <= 0.11


@pytest.mark.parametrize("trials", [9, 30])
def test_intervals_cover_the_true_correlation(trials: int) -> None:
    # An interval that covers in 95 % of draws does so in fewer than 0.9 of 150 once in 300 times.
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        quality, own = rng.normal(size=(2, n))
        return quality + 0.8 * own + 0.6 * rng.normal(size=(3, n)), quality + 0.3 * rng.normal(size=(3, n))

    number, distance = draw(100_000)
    true = stats.spearmanr(number[0], distance[0]).statistic
    found = [correlate(*draw(trials), permutations=199, seed=seed) for seed in range(150)]
    assert np.mean([one.low <= true <= one.high for one in found]) >= 0.9

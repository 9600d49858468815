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
    number: np.ndarray, distance: np.ndarray, *, arms: int = 1, permutations: int = 499, seed: int = 0
) -> StratifiedCorrelation:
    """Correlate two tables (ages, trials), in which the trials of an arm stand together."""
    ages, trials = number.shape
    age, trial = (index.ravel() for index in np.indices((ages, trials)))
    seeds = trials // arms
    return stratified_correlation(
        number.ravel(),
        distance.ravel(),
        age=age,
        arm=trial // seeds,
        seed=trial % seeds,
        margin=0.2,
        rng=np.random.default_rng(seed),
        permutations=permutations,
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


def test_p_counts_the_orders_of_whole_arms_and_of_seeds_within_arms() -> None:
    # One age, one arm and 4 seeds in perfect order: 2 of 24 orders have |rho| = 1.
    order = np.arange(4.0)[None]
    assert correlate(order, order, permutations=20_000).p == pytest.approx(2 / 24, abs=0.01)
    # Trials move as a whole: with three equal ages there are still 24 orders and not 24^3.
    again = correlate(np.tile(order, (3, 1)), np.tile(order, (3, 1)), permutations=20_000)
    assert again.p == pytest.approx(2 / 24, abs=0.01)
    assert again.low < 0 < again.high <= 1
    # Two arms of two seeds: 2 * 2 * 2 orders, of which only the observed one and its reverse have |rho| = 1.
    assert correlate(order, order, arms=2, permutations=20_000).p == pytest.approx(2 / 8, abs=0.01)
    # An arm without spread over its seeds: the observed order and its reverse, each four times.
    level = np.array([[1.0, 1.0, 2.0, 2.0]])
    assert correlate(level, level, arms=2, permutations=2000).p == 1


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
        stratified_correlation(
            [1, 2], [1, 2], age=[5, 5], arm=["a", "a"], seed=[0, 0], margin=0.2, rng=np.random.default_rng(0)
        )


@pytest.mark.parametrize("persistence", [0.0, 4.0])
@pytest.mark.parametrize("alike", [0.0, 3.0])
@pytest.mark.parametrize(("arms", "seeds"), [(3, 3), (3, 10), (7, 10)])
def test_p_values_of_noise_are_uniform_however_alike_seeds_and_ages_are(
    arms: int, seeds: int, alike: float, persistence: float
) -> None:
    # Of 150 exact tests more than 0.11 are below 0.05 once in 700 times.
    rng = np.random.default_rng(round(10 * persistence + alike) + arms * seeds)
    found = []
    for seed in range(150):
        number, distance = (
            alike * rng.normal(size=arms).repeat(seeds)
            + persistence * rng.normal(size=arms * seeds)
            + rng.normal(size=(3, arms * seeds))
            for _ in range(2)
        )
        found.append(correlate(number, distance, arms=arms, permutations=199, seed=seed).p)
    assert stats.kstest(found, "uniform").pvalue > 0.001
    assert np.mean(np.array(found) <= 0.05) <= 0.11


@pytest.mark.parametrize(("arms", "seeds"), [(1, 9), (3, 10), (7, 10)])
def test_intervals_cover_the_true_correlation(arms: int, seeds: int) -> None:
    # An interval that covers in 95 % of draws does so in fewer than 0.9 of 150 once in 300 times.
    rng = np.random.default_rng(0)

    def draw(arms: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
        n = arms * seeds
        quality, own = 0.6 * rng.normal(size=(2, arms)).repeat(seeds, axis=1) + 0.8 * rng.normal(size=(2, n))
        return quality + 0.8 * own + 0.6 * rng.normal(size=(3, n)), quality + 0.3 * rng.normal(size=(3, n))

    number, distance = draw(100_000, 1)
    true = stats.spearmanr(number[0], distance[0]).statistic
    found = [correlate(*draw(arms, seeds), arms=arms, permutations=199, seed=seed) for seed in range(150)]
    assert np.mean([one.low <= true <= one.high for one in found]) >= 0.9

"""Rank correlation within strata: whether one number orders models of equal age as another does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

PERMUTATIONS = 9999
_FEWEST = 3  # trials; two have only one order and its reverse


class StratifiedCorrelation(NamedTuple):
    """A rank correlation of trials within ages.

    Attributes:
        rho: Mean over ages of Spearman's correlation over trials, -1 to 1.
        low: Lower end of its 95 % interval, at least -1.
        high: Upper end of the interval, at most 1.
        p: Two-sided p value of the hypothesis that the trials' orders are unrelated, in (0, 1].
        p_equivalent: p value of the two one-sided tests of the hypothesis that |rho| is at least the margin.
        trials: Number of trials that have all values.
        arms: Number of arms.
        ages: Number of ages.
    """

    rho: float
    low: float
    high: float
    p: float
    p_equivalent: float
    trials: int
    arms: int
    ages: int


def stratified_correlation(
    number: ArrayLike,
    distance: ArrayLike,
    *,
    age: ArrayLike,
    arm: ArrayLike,
    seed: ArrayLike,
    margin: float,
    rng: np.random.Generator,
    permutations: int = PERMUTATIONS,
) -> StratifiedCorrelation:
    """Return the rank correlation of a number with a distance among trials of equal age, pooled over ages.

        rho = (1 / A) sum_a spearman({(number_ta, distance_ta): trials t})

    Numbers that change with age alone (clocks) have an expected rho of 0, since ages are never compared with each
    other. All ages have the same trials, so each has the same weight. Equal values have the mean of their ranks.
    Infinite values are larger than all others. Seeds without a value of both at some age in some arm are left out, and
    so are ages at which all numbers or all distances are equal.

    p is the share of permutations whose |rho| is at least the observed one, the observed order included. A permutation
    exchanges whole arms, and seeds within each arm, and moves a trial's numbers at all ages together. What the trials
    of an arm have in common, and what a trial keeps while it is trained, then stays together, as it is under the
    hypothesis; permuting single values, or trials across arms, would count it several times and reject in far more than
    5 % of draws. The test is exact if arms are exchangeable, and seeds within an arm are.

    The interval is tanh(arctanh(rho) +- q sqrt(1 + rho^2 / 2)), where q is the 95 % quantile of |arctanh(rho)| over the
    permutations: R. Fisher's transformation with the permutations' own spread, which grows with the dependence of the
    trials, and the correction of D. Bonett and T. Wright ("Sample Size Requirements for Estimating Pearson, Kendall and
    Spearman Correlations", 2000) for a rho that is not 0. An interval without 0 implies p <= 0.05.

    Args:
        number: (n,) values, one for each trial at each age. A trial is a seed of an arm.
        distance: (n,) values.
        age: (n,) ages.
        arm: (n,) names of the arms.
        seed: (n,) seeds.
        margin: Correlations smaller than this have no meaning.
        rng: Generator of the permutations.
        permutations: Number of permutations, the observed order besides.

    Returns:
        NaN in place of rho and of all that depends on it for fewer than 3 trials or if no age is left.

    Raises:
        ValueError: If a trial has two rows of the same age.

    >>> found = stratified_correlation(
    ...     [1, 2, 3, 4, 40, 30, 20, 10],
    ...     [5, 6, 7, 8, 4, 3, 2, 1],
    ...     age=[100] * 4 + [200] * 4,
    ...     arm=["a", "a", "b", "b", "b", "b", "a", "a"],
    ...     seed=[0, 1, 0, 1, 1, 0, 1, 0],
    ...     margin=0.2,
    ...     rng=np.random.default_rng(0),
    ... )
    >>> found.rho, found.trials, found.arms, found.ages
    (1.0, 4, 2, 2)
    """
    numbers, distances = (_by_age(values, age, arm, seed) for values in (number, distance))
    complete = ~(np.isnan(numbers) | np.isnan(distances)).any(axis=(0, 1))
    arms, seeds = numbers.shape[1], int(complete.sum())
    scores = [
        _standard_ranks(values[..., complete].reshape(len(values), arms * seeds)) for values in (numbers, distances)
    ]
    ranked = scores[0].any(axis=1) & scores[1].any(axis=1)
    trials, ages = arms * seeds, int(ranked.sum())
    if trials < _FEWEST or not ages:
        nothing = math.nan
        return StratifiedCorrelation(nothing, nothing, nothing, nothing, nothing, trials, arms, ages)
    # pairs[s, t]: what the pooled correlation gains if trial t had the numbers of trial s.
    pairs = scores[0][ranked].T @ scores[1][ranked] / ages  # (trials, trials)
    rho = float(np.trace(pairs))
    orders = _nested_permutations(arms, seeds, count=permutations, rng=rng)
    sizes = np.abs([rho, *pairs[orders, np.arange(trials)].sum(axis=1)])
    # Halfway to the next smaller correlation that so many trials can have, where the observed one is exactly 1.
    largest = 1 - 6 / (ages * (trials**3 - trials))
    centre = math.atanh(min(max(rho, -largest), largest))
    null = np.arctanh(np.minimum(sizes, largest))
    stretch = math.sqrt(1 + rho**2 / 2)
    wide = stretch * float(np.quantile(null, 0.95, method="higher"))
    # Beyond the margin, at the end that is nearer: one side of the null distribution, which is symmetric.
    room = (math.atanh(margin) - abs(centre)) / stretch
    beyond = float((null >= abs(room)).mean()) / 2
    rho = min(max(rho, -1.0), 1.0)
    return StratifiedCorrelation(
        rho=rho,
        low=min(math.tanh(centre - wide), rho),  # `centre` is inside -1..1 even where rho is not
        high=max(math.tanh(centre + wide), rho),
        p=float((sizes >= sizes[0] - 1e-12).mean()),  # equal sums differ by rounding
        p_equivalent=beyond if room > 0 else 1 - beyond,
        trials=trials,
        arms=arms,
        ages=ages,
    )


def _nested_permutations(arms: int, seeds: int, *, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return (count, arms x seeds) orders that exchange arms as a whole, and seeds within each arm."""
    places = rng.permuted(np.tile(np.arange(arms), (count, 1)), axis=1)
    within = rng.permuted(np.tile(np.arange(seeds), (count, arms, 1)), axis=2)
    orders: NDArray[np.intp] = (places[..., None] * seeds + within).reshape(count, arms * seeds)
    return orders


def _by_age(values: ArrayLike, age: ArrayLike, arm: ArrayLike, seed: ArrayLike) -> NDArray[Any]:
    """Return values as a table (ages, arms, seeds), NaN where a trial has none."""
    keys = [np.unique(np.asarray(key), return_inverse=True) for key in (age, arm, seed)]
    places = tuple(inverse for _, inverse in keys)
    if len(set(zip(*(place.tolist() for place in places), strict=True))) < len(places[0]):
        raise ValueError("a trial has two values of the same age")
    table = np.full([len(names) for names, _ in keys], math.nan)
    table[places] = np.asarray(values, dtype=float)
    return table


def _standard_ranks(table: NDArray[Any]) -> NDArray[Any]:
    """Return the ranks within each row, centred and of unit norm; zeros for a row whose values are all equal."""
    from scipy import stats

    if not table.size:
        return table
    ranks = stats.rankdata(table, axis=1)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    standard: NDArray[Any] = np.divide(centred, norms, out=np.zeros_like(centred), where=norms > 0)
    return standard

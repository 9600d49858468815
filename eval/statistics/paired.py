"""Paired comparisons of methods over training seeds: tests, adjustment for many tests, power."""

from __future__ import annotations

import functools
import itertools
import math
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eval.statistics.intervals import deviation, interval
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

ALPHA = 0.05
POWER = 0.8
_MOST_FLIPS = 40  # seeds up to which all sign flips are counted; each half of the seeds has 2^20 sums
_QUANTILES = 10_000  # of the deviation, over which the power of a test of equivalence is averaged


class Procedure(StrEnum):
    """The test that a p value comes from."""

    SIGN_FLIP = "exact sign flips"
    T = "paired t"
    NONE = "no test"


class Contrast(NamedTuple):
    """A paired comparison of two methods over seeds.

    Attributes:
        difference: Mean of a - b.
        low: Lower end of the t interval of the difference.
        high: Upper end.
        p: Two-sided p value, in (0, 1], or NaN where there is no test.
        n: Number of seeds.
        test: Test that p comes from.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int
    test: Procedure


def contrast(
    a: Sequence[float], b: Sequence[float], *, level: float = 0.95, tests: int = 1, resolution: float = 0.0
) -> Contrast:
    """Return how much method `a` exceeds method `b`, paired by seed: a[i] and b[i] share a seed.

    p is the share of all 2^n ways to flip the signs of the differences whose mean is at least as far from 0 as the
    observed one (R. Fisher, "The Design of Experiments", 1935). It is exact if the differences are symmetric around 0
    under the null hypothesis, and a multiple of 2^(1-n). Where twice that exceeds `ALPHA` / tests (fewer than 7 seeds
    for one test, fewer than 9 for a family of four), and above 40 seeds, p comes from the paired t test, which assumes
    normal differences: sign flips have little power there (with 6 seeds they find 0.64 of what a t test finds 0.8 of).
    There is no test, and p is NaN, below 2 seeds, if a difference is not finite, and if a few seeds all differ by the
    same amount without a resolution. If nothing differs, p is 1.

    Args:
        a: One value per seed.
        b: One value per seed.
        level: Confidence level of the interval.
        tests: Number of tests that `holm` will adjust the p value for.
        resolution: Step that the differences are multiples of, if there is one; see `deviation`.

    >>> contrast([1.0, 2.0], [1.0, 2.0]).p
    1.0
    >>> found = contrast([1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7], [1.0] * 7)
    >>> found.p, str(found.test)
    (0.015625, 'exact sign flips')
    """
    from scipy import stats

    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired by seed")
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, and then there is no test
        differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    n = len(differences)
    mean, low, high = interval(differences.tolist(), level=level, resolution=resolution)
    if n < 2 or not math.isfinite(mean):  # noqa: PLR2004 - a deviation needs two values
        return Contrast(mean, low, high, math.nan, n, Procedure.NONE)
    if n <= _MOST_FLIPS and 2 * 2.0 ** (1 - n) <= ALPHA / tests:
        return Contrast(mean, low, high, _sign_flip_p(differences), n, Procedure.SIGN_FLIP)
    if not differences.any():
        return Contrast(mean, low, high, 1.0, n, Procedure.T)
    # Not `scipy.stats.ttest_rel`: it knows no resolution, and it warns about equal differences.
    error = deviation(differences, resolution=resolution) / math.sqrt(n)
    if not error:
        return Contrast(mean, low, high, math.nan, n, Procedure.NONE)
    return Contrast(mean, low, high, 2 * float(stats.t.sf(abs(mean) / error, n - 1)), n, Procedure.T)


def _sign_flip_p(differences: NDArray[Any]) -> float:
    """Return the share of sign flips of (n,) differences whose sum is at least as far from 0 as the observed one.

    The sum of a flip is a sum of the first half plus a sum of the second half. Each half has 2^(n/2) sums; for each sum
    of the first half, the large enough sums of the second half are counted in sorted order.

    `scipy.stats.permutation_test` visits all 2^n flips (3 seconds for 16 differences, hopeless for 40), and its
    tolerance is relative to the observed sum, so that p is too small where the differences cancel: 0.92 in place of 1
    for 0.1, 0.2, -0.3, 0.1, -0.1, 0.1, -0.1.
    """
    # Sums of the same numbers in another order differ by rounding; they count as equal.
    least = abs(float(differences.sum())) - 1e-9 * float(np.abs(differences).sum())
    if least <= 0:
        return 1.0
    first, second = (_flipped_sums(half) for half in np.array_split(differences, 2))
    count = int((len(second) - np.searchsorted(np.sort(second), least - first)).sum())
    return count / 2.0 ** (len(differences) - 1)  # as many sums lie on the other side


def _flipped_sums(values: NDArray[Any]) -> NDArray[Any]:
    """Return the (2^n,) sums of (n,) values under all signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def holm(p: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number: rejecting those up to alpha has a familywise error of at most alpha.

    The i-th smallest of m becomes max over j <= i of (m - j + 1) p_(j), at most 1 (S. Holm, "A Simple Sequentially
    Rejective Multiple Test Procedure", 1979). NaN, a test that could not be made, stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.02])
    [0.03, 0.04, 0.04]
    """
    # Not `statsmodels.stats.multitest.multipletests`: it collects garbage, which takes 0.4 seconds at every call.
    adjusted = np.asarray(p, dtype=float)
    order = np.argsort(adjusted)[: int((~np.isnan(adjusted)).sum())]  # NaN sorts last
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * adjusted[order]), 1.0)
    return [float(value) for value in adjusted]


def detectable_effect(n_seeds: int, sd: float, *, tests: int = 1) -> float:
    """Return the smallest difference that a two-sided paired t test at level `ALPHA` / tests finds with `POWER`.

    A significant difference of the wrong sign does not count as found.

    Args:
        n_seeds: Number of pairs.
        sd: Standard deviation of the differences over seeds.
        tests: Number of tests that share the level (Bonferroni; Holm's procedure finds this much or more).

    Returns:
        The difference in the unit of `sd`: delta sd / sqrt(n) where T exceeds its critical value with probability 0.8
        for T of the noncentral t distribution with n - 1 degrees of freedom and noncentrality delta; inf below 2 seeds.

    >>> round(detectable_effect(3, 1.0), 2), round(detectable_effect(10, 1.0), 2)
    (3.26, 1.0)
    """
    return _detectable_effect_size(n_seeds, tests) * sd


@functools.cache  # solving takes a good part of a second, and a report asks again and again for the same
def _detectable_effect_size(n_seeds: int, tests: int) -> float:
    """Return the detectable effect in standard deviations."""
    from statsmodels.stats.power import TTestPower

    if n_seeds < 2:  # noqa: PLR2004 - a deviation needs two values
        return math.inf
    # One-sided at half the level: the upper tail of the two-sided test.
    power = TTestPower()
    return float(power.solve_power(nobs=n_seeds, alpha=ALPHA / tests / 2, power=POWER, alternative="larger"))


def equivalence_deviation(n_seeds: int, margin: float, *, level: float = 0.95) -> float:
    """Return the largest deviation at which two equal methods are shown to differ by less than a margin with `POWER`.

    This is shown if the t interval of the paired difference lies within +- margin: two one-sided t tests, each at half
    of 1 - level (D. Schuirmann, "A Comparison of the Two One-Sided Tests Procedure and the Power Approach for Assessing
    the Equivalence of Average Bioavailability", 1987).

    Args:
        n_seeds: Number of pairs.
        margin: Largest difference that does not matter.
        level: Confidence level of the interval.

    Returns:
        The standard deviation of the differences over seeds, in the unit of `margin`; 0 below 2 seeds, with which
        nothing can be shown.

    >>> round(equivalence_deviation(3, 0.5), 3), round(equivalence_deviation(10, 0.5), 3)
    (0.137, 0.433)
    """
    return margin / _equivalence_margin(n_seeds, level)


@functools.cache
def _equivalence_margin(n_seeds: int, level: float) -> float:
    """Return the smallest margin, in standard deviations, within which equal methods are shown to lie with `POWER`.

    With the mean z / sqrt(n) and the deviation s of n differences, both in standard deviations, the interval lies
    within the margin r / sqrt(n) if |z| < r - t s. Given s, that has the probability 2 Phi(r - t s) - 1, or 0 if that
    is negative; (n - 1) s^2 has a chi-squared distribution with n - 1 degrees of freedom.
    """
    from scipy import optimize, special, stats

    if n_seeds < 2:  # noqa: PLR2004 - a deviation needs two values
        return math.inf
    quantile = float(stats.t.ppf((1 + level) / 2, n_seeds - 1))
    probabilities = (np.arange(_QUANTILES) + 0.5) / _QUANTILES  # the mean over quantiles of s is the integral over s
    s = np.sqrt(stats.chi2.ppf(probabilities, n_seeds - 1) / (n_seeds - 1))

    def power(r: float) -> float:
        return float(np.maximum(2 * special.ndtr(r - quantile * s) - 1, 0.0).mean())

    return float(optimize.brentq(lambda r: power(r) - POWER, 0.0, 100.0)) / math.sqrt(n_seeds)


def same_size(sizes: Mapping[str, int]) -> None:
    """Check that all sets were scored with the same number of windows, since distances shrink as sets grow.

    Args:
        sizes: Number of windows of each set, by its name.

    Raises:
        UserError: If two sets differ; the message names the first two.

    >>> same_size({"e2e": 256, "gaussian": 256})
    """
    for (name, size), (other, other_size) in itertools.pairwise(sizes.items()):
        if size != other_size:
            raise UserError(
                f"{name} was scored with {size} windows and {other} with {other_size}, and distances shrink as sets "
                "grow: draw equally many samples of both"
            )

"""Paired comparisons of methods over training seeds: intervals, tests, adjustment for many tests, power."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

ALPHA = 0.05
POWER = 0.8
_QUANTILES = 10_000  # of the deviation, over which the power of a test of equivalence is averaged


class Contrast(NamedTuple):
    """A paired comparison of two methods over seeds.

    Attributes:
        difference: Mean difference.
        low: Lower end of its 95 % t interval.
        high: Upper end.
        p: Two-sided p value of the paired t test that the mean difference is 0; NaN where there is no test.
        p_equivalent: p value of the two one-sided t tests that it is not smaller than the margin; NaN likewise.
        n: Number of seeds.
        deviation: Standard deviation of the differences over seeds, NaN below two.
    """

    difference: float
    low: float
    high: float
    p: float
    p_equivalent: float
    n: int
    deviation: float


def contrast(differences: ArrayLike, *, margin: float) -> Contrast:
    """Return whether (n,) differences, one per seed, are 0 on average, and whether they are smaller than a margin.

    The interval and the first p value are those of the paired t test. The second is the larger p value of two
    one-sided tests, that the mean is at least `margin` and that it is at most -`margin` (D. Schuirmann, "A Comparison
    of the Two One-Sided Tests Procedure and the Power Approach", 1987); it is at most 0.05 if the 90 % interval lies
    within the margin.

    There is no test below 2 seeds, and if a difference is not finite. Differences that are all equal have an interval
    without width. If they are all 0, nothing differs: p is 1 and p_equivalent 0. If they are not, the t test has no
    scale to judge by, and there is no test. An infinite margin has no test of equivalence.

    >>> found = contrast([1.0, 2.0, 3.0], margin=0.5)
    >>> round(found.low, 3), round(found.p, 3)
    (-0.484, 0.074)
    """
    from scipy import stats

    array = np.asarray(differences, dtype=float)
    n, mean = len(array), _mean(array)
    if n < 2 or not np.isfinite(array).all():  # noqa: PLR2004 - a deviation needs two values
        return Contrast(mean, math.nan, math.nan, math.nan, math.nan, n, math.nan)
    if np.ptp(array) <= 1e-12 * np.abs(array).max():  # they differ by rounding at most
        p, p_equivalent = (math.nan, math.nan) if array.any() else (1.0, 0.0)
        return Contrast(mean, mean, mean, p, p_equivalent, n, 0.0)
    tested = stats.ttest_1samp(array, 0.0)
    low, high = tested.confidence_interval(0.95)
    equivalent = math.nan
    if math.isfinite(margin):
        above = stats.ttest_1samp(array, -margin, alternative="greater").pvalue
        equivalent = float(max(above, stats.ttest_1samp(array, margin, alternative="less").pvalue))
    return Contrast(mean, float(low), float(high), float(tested.pvalue), equivalent, n, float(array.std(ddof=1)))


def _mean(values: NDArray[Any]) -> float:
    with np.errstate(invalid="ignore"):  # the mean of inf and -inf is NaN
        return float(values.mean()) if len(values) else math.nan


def holm(p: Sequence[float], *, tests: int | None = None) -> list[float]:
    """Return p values adjusted for their number: rejecting those up to alpha has a familywise error of at most alpha.

    The i-th smallest of m becomes max over j <= i of (m - j + 1) p_(j), at most 1 (S. Holm, "A Simple Sequentially
    Rejective Multiple Test Procedure", 1979). NaN, a test that could not be made, stays NaN.

    Args:
        p: p values.
        tests: Number m of tests that were planned, of which those without a p value count as not rejected; None for
            those that have one.

    >>> holm([0.01, 0.04, 0.02])
    [0.03, 0.04, 0.04]
    >>> holm([0.01], tests=3)
    [0.03]
    """
    # Not `statsmodels.stats.multitest.multipletests`: it collects garbage, which takes 0.4 seconds at every call.
    adjusted = np.asarray(p, dtype=float)
    order = np.argsort(adjusted)[: int((~np.isnan(adjusted)).sum())]  # NaN sorts last
    factors = (len(order) if tests is None else tests) - np.arange(len(order))
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


def equivalence_deviation(n_seeds: int, margin: float, *, tests: int = 1) -> float:
    """Return the largest deviation at which two equal methods are shown to differ by less than a margin with `POWER`.

    This is shown by the two one-sided t tests of `contrast`, each at level `ALPHA` / tests.

    Args:
        n_seeds: Number of pairs.
        margin: Largest difference that does not matter.
        tests: Number of tests that share the level.

    Returns:
        The standard deviation of the differences over seeds, in the unit of `margin`; 0 below 2 seeds, with which
        nothing can be shown.

    >>> round(equivalence_deviation(3, 0.5), 3), round(equivalence_deviation(10, 0.5), 3)
    (0.188, 0.498)
    """
    return margin / _equivalence_margin(n_seeds, tests)


@functools.cache
def _equivalence_margin(n_seeds: int, tests: int) -> float:
    """Return the smallest margin, in standard deviations, within which equal methods are shown to lie with `POWER`.

    With the mean z / sqrt(n) and the deviation s of n differences, both in standard deviations, the interval lies
    within the margin r / sqrt(n) if |z| < r - t s. Given s, that has the probability 2 Phi(r - t s) - 1, or 0 if that
    is negative; (n - 1) s^2 has a chi-squared distribution with n - 1 degrees of freedom.
    """
    from scipy import optimize, special, stats

    if n_seeds < 2:  # noqa: PLR2004 - a deviation needs two values
        return math.inf
    quantile = float(stats.t.isf(ALPHA / tests, n_seeds - 1))
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

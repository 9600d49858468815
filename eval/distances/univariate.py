"""Comparisons of two samples of one number: Wasserstein distance and Cliff's delta."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def spread(values: ArrayLike) -> float:
    """Return the standard deviation (divisor n) of the (n,) values that are not NaN, or 1 if they are all equal.

    A constant reference has no scale of its own: distances from it stay in the unit of the metric.

    >>> spread([1.0, 3.0])
    1.0
    """
    present = _present(values)
    # Compares values, not the deviation with 0: rounding gives equal fractions a deviation of 1e-17.
    return float(present.std()) if len(present) and np.ptp(present) > 0 else 1.0


def wasserstein(sample: ArrayLike, reference: ArrayLike, *, scale: float | None = None) -> float:
    """Return the Wasserstein-1 distance: integral of |F(x) - G(x)| dx / scale, without unit, from 0.

    F and G are the empirical distribution functions. `scale` is `spread(reference)` by default; a shift of the whole
    sample by one standard deviation of the reference is then a distance of 1.

    NaNs are left out; the caller reports their rate. NaN if nothing is left of one of the two.

    L. Kantorovich, "On the Translocation of Masses" (1942); S. Vallender, "Calculation of the Wasserstein Distance
    between Probability Distributions on the Line" (1974).

    >>> wasserstein([2.0, 4.0], [1.0, 3.0])
    1.0
    """
    from scipy import stats

    present, real = _present(sample), _present(reference)
    if not len(present) or not len(real):
        return math.nan
    return float(stats.wasserstein_distance(present, real)) / (spread(real) if scale is None else scale)


def cliffs_delta(a: ArrayLike, b: ArrayLike) -> float:
    """Return P(x > y) - P(x < y) for x of `a` and y of `b`: -1 to 1, 1 if all of `a` are above all of `b`.

    An effect size without a unit that assumes no distribution (N. Cliff, "Dominance Statistics", 1993). NaNs are left
    out; the caller reports their rate. NaN if nothing is left of one of the two.

    >>> cliffs_delta([3, 4], [1, 2]), cliffs_delta([1, 2], [1, 2])
    (1.0, 0.0)
    """
    first, second = np.sort(_present(a)), np.sort(_present(b))
    if not len(first) or not len(second):
        return math.nan
    below, up_to = (np.searchsorted(second, first, side=side) for side in ("left", "right"))
    return float((below + up_to).mean() / len(second) - 1)


def _present(values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[~np.isnan(array)]

"""The Wasserstein distance of two samples of one number, in units of the reference's spread."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def spread(values: ArrayLike) -> float:
    """Return the standard deviation (divisor n) of the (n,) values that are not NaN, or 1 where they are all equal.

    A constant reference has no scale of its own: distances from it stay in the metric's unit.
    """
    present = _present(values)
    # Equal values, not a deviation of 0: rounding gives equal fractions a deviation of 1e-17.
    return float(present.std()) if len(present) and np.ptp(present) > 0 else 1.0


def wasserstein(sample: ArrayLike, reference: ArrayLike, *, scale: float | None = None) -> float:
    """Return the Wasserstein-1 distance: integral of |F(x) - G(x)| dx / scale, without unit, from 0.

    F and G are the empirical distribution functions. With the default scale a shift of the whole sample by one standard
    deviation of the reference is a distance of 1.

    NaNs are left out; whoever calls reports their rate. NaN where nothing is left of one of the two.

    L. Kantorovich, "On the Translocation of Masses" (1942); S. Vallender, "Calculation of the Wasserstein Distance
    between Probability Distributions on the Line" (1974).
    """
    from scipy import stats

    present, real = _present(sample), _present(reference)
    if not len(present) or not len(real):
        return math.nan
    return float(stats.wasserstein_distance(present, real)) / (spread(real) if scale is None else scale)


def _present(values: ArrayLike) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[~np.isnan(array)]

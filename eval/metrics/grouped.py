"""Quotients, means and deviations of many values, of one window each: NaN where a window has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Return part / whole element by element, NaN where the whole is not above 0."""
    part, whole = np.broadcast_arrays(part, whole)
    quotient: NDArray[np.float64] = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return quotient


def means(values: NDArray[Any], owner: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return the (count,) means of the values of each owner, of (m,) values and their owners 0 to count - 1."""
    return ratio(np.bincount(owner, weights=values, minlength=count), np.bincount(owner, minlength=count))


def deviations(values: NDArray[Any], owner: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return the (count,) standard deviations (divisor n) of the values of each owner; see `means`."""
    return np.sqrt(means((values - means(values, owner, count)[owner]) ** 2, owner, count))

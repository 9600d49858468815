"""Comparisons: of generated with real music against the noise floor, and of models with one another over seeds.

Pure functions of tables and numbers; randomness is an argument. The unit of the reference is the song, the unit of a
claim about a method is the training seed: samples of one model are no replicates of the method.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eval.distances import spread, wasserstein
from eval.metrics import FEATURES
from replication.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from eval.distances import DistanceFunction

MIN_SONGS = 8  # 35 ways to halve; with fewer the same halves come again and again
MIN_WINDOWS = 16  # as few are 0.37 standard deviations from 16 others of the same corpus (mean over features, POP909)
MEAN = "mean"


class Interval(NamedTuple):
    """A mean and the confidence interval around it."""

    mean: float
    low: float
    high: float


class Contrast(NamedTuple):
    """A paired comparison of two methods over seeds.

    Attributes:
        difference: mean of a - b.
        low: lower end of the t interval of the difference.
        high: upper end.
        p: exact two-sided sign-flip p value.
        n: number of seeds.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int


def floor_ratios(
    samples: pd.DataFrame,
    reference: pd.DataFrame,
    groups: Sequence[str],
    *,
    rng: np.random.Generator,
    draws: int = 100,
    distance: DistanceFunction = wasserstein,
) -> pd.DataFrame:
    """Return how far generated music is from real music, as a multiple of how far real music is from itself.

    Each draw k halves the reference's songs at random into A and B of about equally many windows and takes n windows of
    A, of B and of the samples: n is the same in all draws, because distances shrink as samples grow.

        floor_k = d(B, A),  distance_k = d(samples, A),  ratio = mean_k distance_k / mean_k floor_k

    A ratio of 1 is music that this metric cannot tell from real music. All distances of a metric share one scale, the
    spread of the whole reference. The halves depend on the generator and the groups only: equal seeds give every model
    the same halves, which makes models comparable in pairs; n is the same too as long as no model has fewer samples.

    NaNs are left out of the distances; `nan_rate` says how many of the samples that is. A metric that is NaN throughout
    makes its own distance and that of the mean NaN.

    Args:
        samples: (s, metrics) scores of generated pieces, with at least the reference's columns.
        reference: (r, metrics) scores of real windows, with at least the columns `FEATURES`.
        groups: (r,) the song of each window of the reference.
        rng: where the halves come from.
        draws: number of halvings.
        distance: a function of `eval.distances.DISTANCES`.

    Returns:
        A row for each metric and a last row "mean", with columns distance, floor, floor_p95 (95th percentile of the
        floor over draws), ratio (inf for a floor of 0, NaN if the distance is 0 too), nan_rate and n. The row "mean"
        averages `FEATURES` within each draw; its nan_rate is the share of samples that lack at least one of them.

    Raises:
        UserError: for too few songs, windows or samples to tell a distance from noise.
    """
    import pandas as pd

    if len(groups) != len(reference):
        raise ValueError(f"{len(groups)} groups for {len(reference)} windows of the reference")
    halvings = _halvings(groups, rng=rng, draws=draws)
    n = _common_size(len(samples), min(len(half) for halving in halvings for half in halving))

    metrics = list(reference.columns)
    real, generated = reference.to_numpy(dtype=float), samples[metrics].to_numpy(dtype=float)
    scales = [spread(column) for column in real.T]

    def distances(one: NDArray[Any], other: NDArray[Any]) -> list[float]:
        return [distance(a, b, scale=scale) for a, b, scale in zip(one.T, other.T, scales, strict=True)]

    floors, gaps = [], []
    for first, second in halvings:
        a = real[first[:n]]
        floors.append(distances(real[second[:n]], a))
        gaps.append(distances(generated[rng.permutation(len(generated))[:n]], a))

    features = [metrics.index(name) for name in FEATURES]
    floor, gap = _with_mean(np.array(floors), features), _with_mean(np.array(gaps), features)
    missing = np.isnan(generated)
    table = pd.DataFrame(
        {
            "distance": gap.mean(axis=0),
            "floor": floor.mean(axis=0),
            "floor_p95": np.quantile(floor, 0.95, axis=0),
            "nan_rate": np.append(missing.mean(axis=0), missing[:, features].any(axis=1).mean()),
            "n": n,
        },
        index=pd.Index([*metrics, MEAN], name="metric"),
    )
    table.insert(3, "ratio", table["distance"] / table["floor"])
    return table


def _halvings(
    groups: Sequence[str], *, rng: np.random.Generator, draws: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return for each draw the windows of either half in random order; no song is in both."""
    songs, song_of = np.unique(np.asarray(groups), return_inverse=True)
    if len(songs) < MIN_SONGS:
        raise UserError(
            f"the reference has {len(songs)} songs, and a noise floor takes {MIN_SONGS}: evaluate on a larger corpus"
        )
    sizes = np.bincount(song_of)
    halvings = []
    for _ in range(draws):
        shuffled = rng.permutation(len(songs))
        # Songs in a row, as long as their windows are many: those whose middle is past the row's middle are the second.
        middles = np.cumsum(sizes[shuffled]) - sizes[shuffled] / 2
        in_second = np.isin(song_of, shuffled[middles > len(song_of) / 2])
        windows = rng.permutation(len(song_of))
        halvings.append((windows[~in_second[windows]], windows[in_second[windows]]))
    return halvings


def _common_size(samples: int, half: int) -> int:
    """Return the number of windows of which all distances are made."""
    if half < MIN_WINDOWS:
        raise UserError(
            f"half of the reference is {half} windows, and a distance takes {MIN_WINDOWS}: evaluate on a larger corpus"
        )
    if samples < MIN_WINDOWS:
        raise UserError(f"there are {samples} samples, and a distance takes {MIN_WINDOWS}: draw more samples")
    return min(samples, half)


def _with_mean(values: NDArray[Any], features: list[int]) -> NDArray[Any]:
    """Append to (draws, metrics) values a column with their mean over the features."""
    return np.column_stack([values, values[:, features].mean(axis=1)])


def interval(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """Return the mean over seeds with Student's t interval: mean +- t_{n-1} s / sqrt(n).

    One value has no interval: its bounds are NaN. NaN among the values makes all three NaN, and so do no values at all.
    """
    from scipy import stats

    array = np.asarray(values, dtype=float)
    n = len(array)
    mean = float(array.mean()) if n else math.nan
    if n < 2:  # noqa: PLR2004 - a deviation takes two
        return Interval(mean, math.nan, math.nan)
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * array.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half)


def contrast(a: Sequence[float], b: Sequence[float], *, level: float = 0.95) -> Contrast:
    """Return how much method `a` exceeds method `b`, paired by seed: a[i] and b[i] share a seed.

    p is the share of all 2^n ways to flip the signs of the differences whose mean is at least as far from 0 as the one
    observed (R. Fisher, "The Design of Experiments", 1935): exact if the differences are symmetric around 0 under the
    null hypothesis, and never below 2^(1-n), so that fewer than 6 seeds cannot reach 0.05. NaN below 2 seeds or with a
    difference that is not finite.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired by seed")
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    n = len(differences)
    mean, low, high = interval(differences.tolist(), level=level)
    p = math.nan
    if n > 1 and math.isfinite(mean):
        signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)  # (2^n, n)
        # Sums of the same numbers in another order differ by rounding; they count as equal.
        p = float(np.mean(np.abs(signs @ differences) >= n * abs(mean) * (1 - 1e-9)))
    return Contrast(mean, low, high, p, n)


def holm(p: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number: to reject those up to alpha errs anywhere with chance alpha at most.

    The i-th smallest of m becomes max over j <= i of (m - j + 1) p_(j), at most 1 (S. Holm, "A Simple Sequentially
    Rejective Multiple Test Procedure", 1979). NaN, a test that could not be made, stays NaN and does not count.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)  # NaNs come last
    factors = np.count_nonzero(~np.isnan(values)) - np.arange(len(values))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
    return [float(value) for value in adjusted]


def detectable_effect(n_seeds: int, sd: float) -> float:
    """Return the smallest difference that a paired t test finds with power 0.8 at alpha 0.05 (two-sided).

    Args:
        n_seeds: number of pairs.
        sd: standard deviation of the differences over seeds.

    Returns:
        The difference in the unit of `sd`: delta sd / sqrt(n) where T exceeds its critical value with probability 0.8
        for T of the noncentral t distribution with n - 1 degrees of freedom and noncentrality delta; inf below 2 seeds.
        The other tail, a significant difference of the wrong sign, has no part in the power.
    """
    from scipy import optimize, stats

    if n_seeds < 2:  # noqa: PLR2004 - a deviation takes two
        return math.inf
    freedom = n_seeds - 1
    critical = stats.t.ppf(0.975, freedom)

    def shortfall(delta: float) -> float:
        return float(stats.nct.sf(critical, freedom, delta)) - 0.8

    # Two seeds need the largest noncentrality, 16.3.
    return float(optimize.brentq(shortfall, 0.0, 30.0)) * sd / math.sqrt(n_seeds)

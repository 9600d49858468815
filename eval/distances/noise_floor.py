"""Distances from real music as multiples of the noise floor, the distance of real music from itself.

The songs of the reference are repeatedly split in half at random; one half stands for real music, the other for a model
that generates real music. Pure functions; randomness is an argument.

The floor is one of songs, not of windows: windows of one song are alike, so that two halves of few songs differ by more
than as many independent windows would. Samples of a model are independent. Real music that is spread over more songs
than a half, such as windows of the training split, therefore often scores below 1 in a single measure, and a ratio
below 1 is not an achievement.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eval.distances.univariate import cliffs_delta, spread, wasserstein
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from eval.distances.rows import Rows

MIN_SONGS = 8  # 35 ways to halve; with fewer songs the same halves repeat
MIN_WINDOWS = 16  # two sets of 16 of one corpus are 0.37 standard deviations apart (mean over features, POP909)
LEAST_WINDOWS = 3 * MIN_WINDOWS  # enough for halves by song of at least MIN_WINDOWS
MEAN = "mean"


class SampleOrigin(enum.Enum):
    """How samples relate to the songs of the reference, which decides the samples that a half is compared with."""

    INDEPENDENT = "made without the reference, as by a model: any sample"
    OTHER_HALF = "made of windows of the reference: samples of the other half's songs, so that no song is on both sides"
    SAME_HALF = "copies, sample i of window i of the reference: those of the half's own windows"


class Floor(NamedTuple):
    """A distance and the noise floor of the same halves.

    Attributes:
        value: mean over halvings of the distance of the samples from a half.
        floor: mean over halvings of the distance of the other half from it.
        floor_p95: 95th percentile of the latter.
        ratio: value / floor; inf for a floor of 0, NaN if the value is 0 too or the floor, an unbiased estimate of 0,
            is negative.
        n: number of windows on either side.
    """

    value: float
    floor: float
    floor_p95: float
    ratio: float
    n: int


class Halvings(NamedTuple):
    """The distances of one measure over random halvings of the reference.

    Attributes:
        gaps: (draws,) distances of the samples from a half.
        floors: (draws,) distances of the other half from it.
        n: Number of windows on either side.
    """

    gaps: NDArray[np.float64]
    floors: NDArray[np.float64]
    n: int

    @property
    def ratio(self) -> float:
        """Mean gap as a multiple of the mean floor; see `Floor.ratio`."""
        return float(_ratio(self.gaps.mean(), self.floors.mean()))

    @property
    def floor(self) -> Floor:
        """Means of the distances, their ratio and the 95th percentile of the floors."""
        p95 = float(np.quantile(self.floors, 0.95))
        return Floor(float(self.gaps.mean()), float(self.floors.mean()), p95, self.ratio, self.n)


class Halving(NamedTuple):
    """Rows of one halving, n of each: of the reference in A and in B, and of the samples that are held against A."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    sample: NDArray[np.intp]


def floor_ratios(
    samples: pd.DataFrame,
    reference: pd.DataFrame,
    groups: ArrayLike,
    *,
    rng: np.random.Generator,
    features: Sequence[str],
    draws: int = 100,
    distance: Callable[..., float] = wasserstein,
    origin: SampleOrigin = SampleOrigin.INDEPENDENT,
    songs: ArrayLike | None = None,
    most: int | None = None,
) -> pd.DataFrame:
    """Return the distance of generated music from real music, and of real music from itself, in each metric.

    Each draw k halves the reference's songs at random into A and B of about equally many windows and takes n windows of
    A, of B and of the samples: n is the same in all draws, because distances shrink as samples grow.

        floor_k = d(B, A),  distance_k = d(samples, A),  ratio = mean_k distance_k / mean_k floor_k

    A ratio of 1 means that this metric cannot tell the samples from real music. All distances of a metric share one
    scale, the spread of the whole reference. The halves depend on the generator and the groups only: equal seeds give
    every model the same halves, which makes models comparable in pairs; n is the same too as long as no model has fewer
    samples.

    NaNs are left out of a metric's `distance`, which must not make a set look better for having them: `nan_rate` is
    their share among the samples, and `worst` is the ratio if every missing value, of real windows too, lies one
    range of the reference above its maximum. The row "mean" has those in all its columns, so that undefined values are
    never a reward: its ratio is its worst. A metric that is NaN throughout has no distance of its own, and in the mean
    the one of values so far away; one that the whole reference lacks makes the mean NaN.

    Args:
        samples: (s, metrics) scores of generated pieces, with at least the reference's columns.
        reference: (r, metrics) scores of real windows.
        groups: (r,) the song of each window of the reference.
        rng: where the halves come from.
        features: columns of the reference which the row "mean" averages.
        draws: number of halvings.
        distance: of (n,) values from (n,) values in units of `scale`, as `eval.distances.univariate.wasserstein`.
        origin: which samples may be held against a half.
        songs: (s,) the song of the reference that each sample comes from; needed by `SampleOrigin.OTHER_HALF`.
        most: n at most, so that models with different numbers of samples are compared at one size.

    Returns:
        A row for each metric and a last row "mean", with columns distance, floor, floor_p95 (95th percentile of the
        floor over draws), ratio (inf for a floor of 0, NaN if the distance is 0 too), worst, cliff
        (`eval.distances.univariate.cliffs_delta` of all samples and the whole reference), nan_rate and n. The row
        "mean" averages `features` within each draw and has no cliff; its nan_rate is the share of samples that lack at
        least one.

    Raises:
        UserError: If there are too few songs, windows or samples to tell a distance from noise.

    >>> import pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> real, sample = (pd.DataFrame({"pitch": rng.normal(loc, 1, 64)}) for loc in (0, 2))
    >>> found = floor_ratios(sample, real, np.arange(64) // 4, rng=rng, features=["pitch"])
    >>> bool(found.loc["mean", "ratio"] > 5)
    True
    """
    import pandas as pd

    metrics = list(reference.columns)
    averaged = [metrics.index(name) for name in features]
    real, generated = reference.to_numpy(dtype=float), samples[metrics].to_numpy(dtype=float)
    if np.shape(groups) != (len(real),):
        raise ValueError(f"{np.size(groups)} groups for {len(real)} windows of the reference")
    halvings = halvings_of(groups, len(generated), rng=rng, draws=draws, origin=origin, songs=songs, most=most)
    scales = [spread(column) for column in real.T]

    def distances(one: NDArray[Any], other: NDArray[Any]) -> list[float]:
        return [distance(a, b, scale=scale) for a, b, scale in zip(one.T, other.T, scales, strict=True)]

    def compared(generated: NDArray[Any], real: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return (draws, metrics + 1) distances of samples and of real windows from a half, the last of the mean."""
        gaps = np.array([distances(generated[draw.sample], real[draw.first]) for draw in halvings])
        floors = np.array([distances(real[draw.second], real[draw.first]) for draw in halvings])
        return _with_mean(gaps, averaged), _with_mean(floors, averaged)

    gap, floor = imputed = compared(generated, real)
    missing = np.isnan(generated)
    if missing.any() or np.isnan(real).any():
        fill = np.array([_beyond(column) for column in real.T])
        imputed = compared(np.where(missing, fill, generated), np.where(np.isnan(real), fill, real))
        gap[:, -1], floor[:, -1] = (values[:, -1] for values in imputed)
    cliffs = [cliffs_delta(ours, theirs) for ours, theirs in zip(generated.T, real.T, strict=True)]
    return pd.DataFrame(
        {
            "distance": gap.mean(axis=0),
            "floor": floor.mean(axis=0),
            "floor_p95": np.quantile(floor, 0.95, axis=0),
            "ratio": _ratio(gap.mean(axis=0), floor.mean(axis=0)),
            "worst": _ratio(*(values.mean(axis=0) for values in imputed)),
            "cliff": [*cliffs, np.nan],
            "nan_rate": np.append(missing.mean(axis=0), missing[:, averaged].any(axis=1).mean()),
            "n": len(halvings[0].first),
        },
        index=pd.Index([*metrics, MEAN], name="metric"),
    )


def against_halves(
    distance: Callable[[Rows, Rows, np.random.Generator], float],
    sample: Rows,
    reference: Rows,
    *,
    rng: np.random.Generator,
    draws: int = 100,
    origin: SampleOrigin = SampleOrigin.INDEPENDENT,
    songs: ArrayLike | None = None,
    most: int | None = None,
    floors: NDArray[np.float64] | None = None,
) -> Halvings:
    """Return the distances of a set from halves of the reference, and their noise floors; see `floor_ratios`.

    Equal seeds give every set and every distance the same halves; the floor depends on the samples only through n.

    Args:
        distance: a function of `eval.distances.table.DISTANCES`: of a set from a reference of equally many rows.
        sample: s rows.
        reference: r rows of real windows.
        rng: where the halves, and the generators given to `distance`, come from.
        draws: number of halvings.
        origin: which samples may be held against a half.
        songs: (s,) the song, as in `reference.songs`, that each sample comes from; needed by `SampleOrigin.OTHER_HALF`.
        most: n at most, so that models with different numbers of samples are compared at one size.
        floors: (draws,) floors that an earlier call with an equal seed, reference and n has found; None to compute.

    Raises:
        UserError: If there are too few songs, windows or samples to tell a distance from noise.

    >>> from eval.distances.point_clouds import recall
    >>> from eval.distances.rows import Rows
    >>> rng = np.random.default_rng(0)
    >>> real, sample = (Rows(rng.normal(loc, 1, (64, 2)), np.arange(64) // 4) for loc in (0, 2))
    >>> found = against_halves(recall, sample, real, rng=rng, draws=5).floor
    >>> found.value < found.floor, found.n
    (True, 32)
    """
    for_gaps, for_floors = rng.spawn(2)
    halvings = halvings_of(
        reference.songs, len(sample.songs), rng=rng, draws=draws, origin=origin, songs=songs, most=most
    )
    gaps, found = [], []
    for draw in halvings:
        half = reference.take(draw.first)
        gaps.append(distance(sample.take(draw.sample), half, for_gaps))
        if floors is None:
            found.append(distance(reference.take(draw.second), half, for_floors))
    return Halvings(np.array(gaps), np.array(found) if floors is None else floors, len(halvings[0].first))


def one_per_song(songs: ArrayLike, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the index of one random window of each song.

    Windows of different songs are exchangeable, windows of one song are not: permutation tests take one per song.

    >>> one_per_song([5, 5, 7], np.random.default_rng(0)).shape
    (2,)
    """
    order = rng.permutation(np.size(songs))
    _, firsts = np.unique(np.asarray(songs)[order], return_index=True)
    return order[firsts]


def halvings_of(
    groups: ArrayLike,
    samples: int,
    *,
    rng: np.random.Generator,
    draws: int,
    origin: SampleOrigin,
    songs: ArrayLike | None,
    most: int | None,
) -> list[Halving]:
    """Return the rows of each halving. All halves are drawn before anything that depends on the samples."""
    names, song_of = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < MIN_SONGS:
        raise UserError(
            f"the reference has {len(names)} songs, and a noise floor needs {MIN_SONGS}: evaluate on a larger corpus"
        )
    halves = [_halve(song_of, rng) for _ in range(draws)]
    n = _common_size(
        samples if most is None else min(samples, most), min(len(half) for pair in halves for half in pair)
    )
    if origin is SampleOrigin.INDEPENDENT:
        return [Halving(a[:n], b[:n], rng.permutation(samples)[:n]) for a, b in halves]
    if origin is SampleOrigin.SAME_HALF:
        if samples != len(song_of):
            raise ValueError(f"{samples} samples cannot be copies of {len(song_of)} windows")
        return [Halving(a[:n], b[:n], a[:n]) for a, b in halves]
    made_of = np.asarray([] if songs is None else songs)
    if made_of.shape != (samples,):
        raise ValueError(f"{len(made_of)} songs for {samples} samples that come from the reference")
    found = []
    for a, b in halves:
        eligible = np.flatnonzero(np.isin(made_of, names[np.unique(song_of[b])]))
        if not len(eligible):
            raise UserError("a half of the reference has no samples that come from it: make samples from more windows")
        # If there are too few, they repeat: a smaller n would change every distance.
        found.append(Halving(a[:n], b[:n], np.resize(rng.permutation(eligible), n)))
    return found


def _halve(song_of: NDArray[np.intp], rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the windows of each half in random order; no song is in both halves."""
    sizes = np.bincount(song_of)
    shuffled = rng.permutation(len(sizes))
    # Songs are laid in a row, each as long as its number of windows; those centred past the middle are the second.
    middles = np.cumsum(sizes[shuffled]) - sizes[shuffled] / 2
    in_second = np.isin(song_of, shuffled[middles > len(song_of) / 2])
    windows = rng.permutation(len(song_of))
    return windows[~in_second[windows]], windows[in_second[windows]]


def _common_size(samples: int, half: int) -> int:
    """Return the number of windows on each side of every distance."""
    if half < MIN_WINDOWS:
        raise UserError(
            f"half of the reference is {half} windows, and a distance needs {MIN_WINDOWS}: evaluate on a larger corpus"
        )
    if samples < MIN_WINDOWS:
        raise UserError(f"there are {samples} samples, and a distance needs {MIN_WINDOWS}: draw more samples")
    return min(samples, half)


def _with_mean(values: NDArray[Any], averaged: list[int]) -> NDArray[Any]:
    """Append to (draws, metrics) values a column with their mean over some of them."""
    return np.column_stack([values, values[:, averaged].mean(axis=1)])


def _ratio(value: NDArray[Any], floor: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(floor < 0, np.nan, value / floor)


def _beyond(values: NDArray[Any]) -> float:
    """Return the maximum of (r,) values plus their range, or plus 1 if all are equal; NaN if all are NaN."""
    present = values[~np.isnan(values)]
    return float(present.max() + (np.ptp(present) or 1.0)) if len(present) else np.nan

"""Measures that other papers publish and that cannot tell music from noise: for comparison, in the appendix only.

mgeval's overlapping area is higher for a sample that says one thing again and again than for real music, and framewise
overlap calls uniformly random notes consistent. They stand beside the same controls as all else, which show it.
"""

# ruff: noqa: PD011 - `Rows.values` is an array, not the attribute of a pandas object
from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from eval.metrics.windows import STEPS_PER_BAR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from eval.distances.rows import Rows
    from eval.metrics.windows import Windows

# Triplets, dotted and plain notes from a sixteenth to a whole one, in beats.
LENGTHS = np.array([1 / 4, 1 / 3, 3 / 8, 1 / 2, 2 / 3, 3 / 4, 1, 4 / 3, 3 / 2, 2, 3, 4])
SECONDS_PER_BEAT = 0.5
BLOCKS = (1, 1, 12, 144, 1, 1, 1, 12, 144)  # columns of the features of `mgeval_facts`
POINTS = 4096  # of the grid on which densities are compared
FLOOR = 1e-12  # the least density, so that a divergence is finite
STEPS_PER_HALF = 2 * STEPS_PER_BAR  # half a frame, and the hop from one to the next


def mgeval_facts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 317): the nine features of Yang & Lerch, one after another.

    Pitches used, notes, shares of the 12 pitch classes, 12 x 12 transitions of pitch class, pitch range in semitones,
    mean interval from note to note in semitones, mean time from note to note in beats, shares of the 12 `LENGTHS` (each
    note has the nearest), and 12 x 12 transitions of length. A beat of a grid without beats is half a second. 0 where a
    window has too few notes.
    """
    n, owner, sizes = len(windows), windows.owner, windows.sizes
    steps = windows.steps if windows.beats else windows.steps * SECONDS_PER_BEAT
    pitch = windows.notes["pitch"].astype(np.int64)
    onset, beats = windows.notes["onset"] / steps, windows.notes["duration"] / steps
    length = np.argmin(np.abs(beats[:, None] - LENGTHS), axis=1)
    follows = owner[1:] == owner[:-1]
    later = owner[1:][follows]

    def histogram(of: NDArray[np.int64], kind: NDArray[np.int64], kinds: int) -> NDArray[np.float64]:
        return np.bincount(of * kinds + kind, minlength=n * kinds).reshape(n, kinds).astype(np.float64)

    def transitions(kind: NDArray[np.int64]) -> NDArray[np.float64]:
        return histogram(later, (kind[:-1] * 12 + kind[1:])[follows], 144)

    def mean_step(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(later, np.abs(np.diff(values))[follows], minlength=n) / np.maximum(1, sizes - 1)

    used = histogram(owner, pitch, 128) > 0
    range_ = np.where(sizes > 0, 127 - used[:, ::-1].argmax(axis=1) - used.argmax(axis=1), 0)
    shares = np.maximum(1, sizes)[:, None]
    return np.column_stack(
        [
            used.sum(axis=1),
            sizes,
            histogram(owner, pitch % 12, 12) / shares,
            transitions(pitch % 12),
            range_,
            mean_step(pitch.astype(np.float64)),
            mean_step(onset),
            histogram(owner, length, 12) / shares,
            transitions(length),
        ]
    )


def mgeval_oa(sample: Rows, reference: Rows, _rng: np.random.Generator) -> float:
    """Return the overlapping area, 0 to 1, mean over the nine features: integral of min(f, g).

    f is the density of the Euclidean distances between windows of the reference, g that of the distances from windows
    of the sample to windows of the reference: see `densities`.

    L.-C. Yang and A. Lerch, "On the Evaluation of Generative Models in Music" (2020).
    """
    overlaps = [np.minimum(f, g).sum() * step for f, g, step in _distance_densities(sample, reference)]
    return float(np.mean(overlaps))


def mgeval_kld(sample: Rows, reference: Rows, _rng: np.random.Generator) -> float:
    """Return the Kullback-Leibler divergence in nats, from 0, mean over the nine features: integral of f ln(f / g).

    f and g as in `mgeval_oa`, at least `FLOOR`. Both are taken at the same points; the authors' code takes each at
    points of its own, which brings N(0, 1) and N(10, 1) to 0.05.
    """
    divergences = [kullback_leibler(f, g, step) for f, g, step in _distance_densities(sample, reference)]
    return float(np.mean(divergences))


def kullback_leibler(f: NDArray[np.float64], g: NDArray[np.float64], step: float) -> float:
    """Return the integral of f ln(f / g) in nats for densities at equal points `step` apart, at least `FLOOR` each."""
    f, g = np.maximum(f, FLOOR), np.maximum(g, FLOOR)
    return float(np.sum(f * np.log(f / g)) * step)


def densities(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return kernel density estimates of two samples at the same points, and the distance of the points.

    Gaussian kernels of Scott's bandwidth s n^(-1/5), at least half a point wide. The samples are counted at the points
    and the counts smoothed: the sum over every distance at every point would take minutes.

    D. Scott, "Multivariate Density Estimation" (1992).
    """
    from scipy.ndimage import gaussian_filter1d

    samples = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    widths = [values.std() * len(values) ** -0.2 for values in samples]
    low, high = min(map(np.min, samples)), max(map(np.max, samples))
    margin = 8 * max(*widths) or 1.0
    edges = np.linspace(low - margin, high + margin, POINTS + 1)
    step = float(edges[1] - edges[0])
    f, g = (
        gaussian_filter1d(
            np.histogram(values, edges)[0] / (len(values) * step), max(width / step, 0.5), mode="constant", truncate=8
        )
        for values, width in zip(samples, widths, strict=True)
    )
    return f, g, step


def overlap(
    mean: ArrayLike, deviation: ArrayLike, other_mean: ArrayLike, other_deviation: ArrayLike
) -> NDArray[np.float64]:
    """Return the overlapping area of Gaussians, 0 to 1: integral of min(f, g), elementwise; deviations above 0.

    Where f exceeds g lies between the roots of ln f - ln g, a quadratic, or for equal deviations on one side of its
    only root; what f has there more than g is what is missing from 1.
    """
    from scipy.special import ndtr

    m, s, n, t = np.broadcast_arrays(
        *(np.asarray(x, np.float64) for x in (mean, deviation, other_mean, other_deviation))
    )
    # The wider one seen from the narrower: z has mean d and deviation r >= 1 where the other has 0 and 1.
    narrow, wide = np.minimum(s, t), np.maximum(s, t)
    d, r = np.abs(m - n) / narrow, wide / narrow
    equal = np.isclose(r, 1, rtol=1e-9, atol=0)
    quadratic = np.where(equal, 1.0, r**2 - 1)
    root = r * np.sqrt(d**2 + 2 * quadratic * np.log(r))
    left, right = (-d - root) / quadratic, (-d + root) / quadratic
    missing = ndtr(right) - ndtr(left) - ndtr((right - d) / r) + ndtr((left - d) / r)
    area: NDArray[np.float64] = np.where(equal, 2 * ndtr(-d / 2), 1 - missing)
    return area


def frame_facts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 2, 3), of pitch and duration: number, sum and sum of squares of the overlaps of successive frames.

    A frame is four bars (16 beats; 8 seconds where there are none) of the common grid and begins two bars after the one
    before; the overlap of two frames is that of Gaussians with the mean and deviation of their notes. Equal notes have
    the deviation of rounding, 1 / sqrt(12) of a semitone or a step. Pairs with a frame without notes do not count.
    """
    common = windows.common
    half = common.notes["onset"].astype(np.int64) // STEPS_PER_HALF
    halves = np.zeros(len(windows), np.int64)
    np.maximum.at(halves, common.owner, half + 1)
    owner = np.repeat(np.arange(len(windows)), halves)
    place = (np.cumsum(halves) - halves)[common.owner] + half

    facts = np.zeros((len(windows), 2, 3))
    pairs = np.flatnonzero(owner[2:] == owner[:-2])  # a half, the next, and the one after: two frames
    for column, name in enumerate(("pitch", "duration")):
        values = common.notes[name].astype(np.float64)
        moments = np.stack([np.bincount(place, values**power, minlength=len(owner)) for power in range(3)])
        count, total, squares = moments[:, :-1] + moments[:, 1:]  # of frames
        mean = total / np.maximum(1, count)
        deviation = np.sqrt(np.maximum(1 / 12, squares / np.maximum(1, count) - mean**2))
        sounding = pairs[(count[pairs] > 0) & (count[pairs + 1] > 0)]
        area = overlap(mean[sounding], deviation[sounding], mean[sounding + 1], deviation[sounding + 1])
        for power in range(3):
            facts[:, column, power] = np.bincount(owner[sounding], area**power, minlength=len(windows))
    return facts


def frame_pitch(sample: Rows, reference: Rows, _rng: np.random.Generator) -> float:
    """Return the consistency of pitch, 0 to 1: 1 - |m - M| / M, m and M the mean overlaps of sample and reference.

    At least 0; NaN where one of the sets has no two successive frames.

    G. Mittal et al., "Symbolic Music Generation with Diffusion Models" (2021), https://arxiv.org/abs/2103.16091.
    """
    return _agreement(sample, reference, column=0, moment=_mean)


def frame_pitch_variance(sample: Rows, reference: Rows, _rng: np.random.Generator) -> float:
    """Return as `frame_pitch` how far the variances of the overlaps of all frames agree."""
    return _agreement(sample, reference, column=0, moment=_variance)


def frame_duration(sample: Rows, reference: Rows, _rng: np.random.Generator) -> float:
    """Return as `frame_pitch` the consistency of duration."""
    return _agreement(sample, reference, column=1, moment=_mean)


def frame_duration_variance(sample: Rows, reference: Rows, _rng: np.random.Generator) -> float:
    """Return as `frame_pitch_variance` the agreement of the variances for duration."""
    return _agreement(sample, reference, column=1, moment=_variance)


def _agreement(sample: Rows, reference: Rows, *, column: int, moment: Callable[[float, float, float], float]) -> float:
    ours, theirs = (moment(*rows.values[:, column].sum(axis=0)) for rows in (sample, reference))
    if math.isnan(ours) or not theirs > 0:
        return math.nan
    return max(0.0, 1 - abs(theirs - ours) / theirs)


def _mean(count: float, total: float, _squares: float) -> float:
    return total / count if count else math.nan


def _variance(count: float, total: float, squares: float) -> float:
    return squares / count - (total / count) ** 2 if count else math.nan


def _distance_densities(
    sample: Rows, reference: Rows
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], float]]:
    """Yield for each feature the densities of distances within the reference and from the sample to it."""
    from scipy.spatial.distance import cdist, pdist

    ends = np.cumsum(BLOCKS)[:-1]
    for ours, theirs in zip(
        np.split(sample.values, ends, axis=1), np.split(reference.values, ends, axis=1), strict=True
    ):
        yield densities(pdist(theirs), cdist(ours, theirs).ravel())

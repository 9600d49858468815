"""The geometry of pitch embeddings in numbers, and what chance gives: what a model has learnt of octaves and fifths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from eval.statistics.intervals import Interval

# What depends on which vector is which pitch, by what it is called.
STATISTICS = {
    "nearness": "pitch distance",
    "octave_lift": "octave lift",
    "fifth_lift": "fifth lift",
    "semitones": "circle of semitones",
    "fifths": "circle of fifths",
}
SHUFFLES = 999


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometry:
    """Embeddings of pitches: where they lie, and statistics of them beside those of the same vectors in random order.

    Attributes:
        pitches: (n,) MIDI pitches, ascending.
        points: (n, 2) coordinates along the first two principal components.
        shares: (2,) the components' shares of the variance.
        cosines: (n, n) cosine similarities.
        anisotropy: mean cosine of two different pitches, -1 to 1; 0 where no direction is preferred.
        closest: the smallest distance between two pitches, in the unit of the embeddings.
        found: the values of `STATISTICS`; see `statistics`.
        chance: (SHUFFLES, 5) the same with the pitches shuffled among the embeddings.
    """

    pitches: NDArray[np.int64]
    points: NDArray[Any]
    shares: NDArray[Any]
    cosines: NDArray[Any]
    anisotropy: float
    closest: float
    found: dict[str, float]
    chance: NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A statistic over seeds, and where chance has it.

    Attributes:
        seeds: its values.
        over: their mean and its interval.
        low: the 2.5th percentile of the mean over as many seeds in which pitches are shuffled.
        high: the 97.5th.
        p: the share of shuffles, the one observed included, whose mean over seeds is as far from the mean of all.
    """

    seeds: tuple[float, ...]
    over: Interval
    low: float
    high: float
    p: float


def geometry(embeddings: pd.DataFrame, rng: np.random.Generator) -> Geometry:
    """Measure the pitch embeddings of one model.

    Args:
        embeddings: pitch (MIDI), then one column d0, d1, ... per dimension, a row for each of two pitches or more.
        rng: of the shuffles.
    """
    pitches = embeddings["pitch"].to_numpy(dtype=int)
    vectors = embeddings.filter(regex=r"^d\d+$").dropna(axis="columns", how="all").to_numpy(dtype=float)  # (n, d)
    order = np.argsort(pitches)
    pitches, vectors = pitches[order], vectors[order]

    left, singular, right = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    # The sign of a component is arbitrary; its largest coordinate is positive.
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units.T
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    pairs = np.triu_indices(len(pitches), 1)
    same = np.arange(len(pitches))[None]
    shuffled = rng.permuted(np.repeat(same, SHUFFLES, axis=0), axis=1)
    # Rounded, since libraries of linear algebra do not agree on the last digits.
    values = statistics(pitches, cosines, distances, np.concatenate([same, shuffled])).round(9)
    return Geometry(
        pitches=pitches,
        points=(left * singular * signs)[:, :2],
        shares=(singular**2 / np.sum(singular**2))[:2],
        cosines=cosines,
        anisotropy=round(float(cosines[pairs].mean()), 9),
        closest=round(float(distances[pairs].min()), 9),
        found=dict(zip(STATISTICS, values[0].tolist(), strict=True)),
        chance=values[1:],
    )


def statistics(
    pitches: NDArray[np.int64], cosines: NDArray[Any], distances: NDArray[Any], orders: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the values (S, 5) of `STATISTICS` for embeddings in S orders.

    nearness     Spearman's correlation of |p - q| and the distance of their embeddings, over pairs of pitches; -1 to 1
    octave_lift  mean cosine of pitches 12 semitones apart, minus that of pitches 11 and 13 apart; -2 to 2
    fifth_lift   the same for 7 semitones, minus 6 and 8
    semitones    P_1 + P_11, 0 to 1, where P_k = |sum_c m_c exp(2 pi i k c / 12)|^2 is the power of the discrete Fourier
                 transform of m_c, the mean direction of pitch class c, as a share of P_1 + ... + P_11: pitch classes
                 on a circle in the order of semitones. Vectors without structure have 2 / 11.
    fifths       P_5 + P_7: on a circle in the order of fifths

    All are sums over pairs of embeddings, with weights that depend on the pitches. NaN where no pair of pitches is so
    far apart, and the last two where not all pitch classes are there.

    Args:
        pitches: (n,) MIDI pitches.
        cosines: (n, n) of the embeddings.
        distances: (n, n) between them.
        orders: (S, n) which embedding stands at each pitch.
    """
    from scipy.stats import rankdata

    apart = pitches - pitches[:, None]  # (n, n)
    pairs = np.triu_indices(len(pitches), 1)
    ranks = np.zeros(apart.shape)
    ranks[pairs] = rankdata(distances[pairs])
    spread = len(pairs[0]) * ranks[pairs].std()
    ranks += ranks.T
    classes = pitches % 12
    size = np.bincount(classes, minlength=12)

    def mean_at(semitones: int) -> NDArray[np.float64]:
        pairs: NDArray[np.float64] = (apart == semitones) / np.count_nonzero(apart == semitones)
        return pairs

    def lift(semitones: int) -> NDArray[np.float64]:
        off = (mean_at(semitones - 1) + mean_at(semitones + 1)) / 2
        return np.subtract(mean_at(semitones), off, dtype=np.float64)

    def power(k: int) -> NDArray[Any]:
        weights: NDArray[Any] = np.cos(2 * np.pi * k * apart / 12) / np.outer(size[classes], size[classes])
        return weights

    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.zeros(apart.shape)
        ranked = rankdata(np.abs(apart[pairs]))
        expected[pairs] = (ranked - ranked.mean()) / (ranked.std() * spread)
        powers = [power(1) + power(11), power(5) + power(7), sum(power(k) for k in range(1, 12))]
        near = _weighed(ranks, orders, [expected])
        octave, fifth, semitones, fifths, whole = _weighed(cosines, orders, [lift(12), lift(7), *powers])
        whole = whole if size.all() else np.full_like(whole, np.nan)
        return np.stack([*near, octave, fifth, semitones / whole, fifths / whole], axis=1)


def _weighed(values: NDArray[Any], orders: NDArray[np.int64], weights: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return the sums (k, S) of (n, n) values, their rows and columns in S orders, with k weights (n, n)."""
    ordered = values[orders[:, :, None], orders[:, None, :]].reshape(len(orders), -1)
    sums: NDArray[np.float64] = np.stack(weights).reshape(len(weights), -1) @ ordered.T
    return sums


def against_chance(seeds: Sequence[Geometry]) -> dict[str, Tested]:
    """Return every statistic over the seeds of a model, beside what chance gives."""
    from eval.statistics.intervals import interval

    chance = np.mean([found.chance for found in seeds], axis=0)  # (SHUFFLES, 5)
    result = {}
    for place, name in enumerate(STATISTICS):
        values, null = tuple(found.found[name] for found in seeds), chance[:, place]
        centre = null.mean()
        # Equal up to rounding is as far.
        farther = np.abs(null - centre) >= abs(np.mean(values) - centre) - 1e-9
        low, high = np.quantile(null, [0.025, 0.975])
        result[name] = Tested(
            seeds=values,
            over=interval(values),
            low=float(low),
            high=float(high),
            p=float((1 + np.count_nonzero(farther)) / (1 + len(null))) if np.isfinite(centre) else np.nan,
        )
    return result

"""The geometry of pitch embeddings, in numbers: what a model could have learnt of octaves and fifths."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometry:
    """Embeddings of pitches and their first two principal components.

    Attributes:
        pitches: (n,) MIDI pitches, ascending.
        points: (n, 2) coordinates along the first two principal components.
        shares: (2,) the components' shares of the variance.
        octave_lift: mean cosine of pitches 12 semitones apart, minus that of pitches 11 and 13 apart.
        fifth_lift: the same for 7 semitones, minus 6 and 8.
    """

    pitches: NDArray[np.int64]
    points: NDArray[Any]
    shares: NDArray[Any]
    octave_lift: float
    fifth_lift: float


def geometry(embeddings: pd.DataFrame) -> Geometry:
    """Measure the pitch embeddings of one model.

    Args:
        embeddings: pitch (MIDI), then one column d0, d1, ... per dimension, a row for each of two pitches or more.
    """
    pitches = embeddings["pitch"].to_numpy(dtype=int)
    vectors = embeddings.filter(regex=r"^d\d+$").dropna(axis="columns", how="all").to_numpy(dtype=float)  # (n, d)
    order = np.argsort(pitches)
    pitches, vectors = pitches[order], vectors[order]

    left, singular, right = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    # The sign of a component is arbitrary; its largest coordinate is positive.
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    return Geometry(
        pitches=pitches,
        points=(left * singular * signs)[:, :2],
        shares=(singular**2 / np.sum(singular**2))[:2],
        octave_lift=_lift(pitches, vectors, 12),
        fifth_lift=_lift(pitches, vectors, 7),
    )


def _lift(pitches: NDArray[np.int64], vectors: NDArray[Any], interval: int) -> float:
    """Return how much more alike pitches are at an interval than a semitone off it."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines, apart = units @ units.T, pitches[None, :] - pitches[:, None]

    def mean(semitones: int) -> float:
        pairs = cosines[apart == semitones]
        return float(pairs.mean()) if len(pairs) else math.nan

    return mean(interval) - (mean(interval - 1) + mean(interval + 1)) / 2

"""Calibration of the permutation test: its p values are uniform for sets of one distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from eval.distances.noise_floor import one_per_song
from eval.distances.point_clouds import mmd_p
from eval.distances.rows import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray


def corpus(rng: np.random.Generator, *, songs: int = 100) -> Rows:
    """Return made-up facts of windows that are alike within a song."""
    of = np.repeat(np.arange(songs), rng.integers(1, 6, songs))
    return Rows(rng.normal(size=(songs, 4))[of] + 0.5 * rng.normal(size=(len(of), 4)), of)


def halves(real: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Return one window of each song, of either half of the songs."""
    first, second = np.array_split(rng.permutation(one_per_song(real.songs, rng)), 2)
    n = min(len(first), len(second))
    return real.take(first[:n]), real.take(second[:n])


def uniform(p: NDArray[Any]) -> float:
    """Return the p value of p values being uniform."""
    return float(stats.kstest(p, "uniform").pvalue)


def test_halves_of_real_songs_have_uniform_p_values() -> None:
    rng = np.random.default_rng(0)
    p = np.array([mmd_p(*halves(corpus(rng), rng), rng, permutations=199) for _ in range(200)])
    assert uniform(p) > 0.01


def test_windows_of_one_song_are_not_exchangeable() -> None:
    rng = np.random.default_rng(0)
    p = []
    for _ in range(100):
        real, other = (corpus(rng, songs=20).take(np.arange(20)) for _ in range(2))
        p.append(mmd_p(Rows(real.values, np.arange(20)), Rows(other.values, np.arange(20)), rng, permutations=99))
    assert uniform(np.array(p)) < 0.01

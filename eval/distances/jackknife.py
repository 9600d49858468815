"""The endpoint without one song family of the reference: how much a distance depends on single songs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eval.distances.endpoint import LEAST_FLOOR, family_ratios, of_families
from eval.distances.noise_floor import SampleOrigin, halvings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from eval.distances.noise_floor import Halving
    from eval.distances.rows import Rows


def without_each_song(
    samples: Mapping[str, Rows], reference: Mapping[str, Rows], *, seed: int, most: int, draws: int
) -> dict[int, float]:
    """Return by how much the endpoint of generated music changes without each song of the reference, as a factor.

    The halves are those of the endpoint, fewer of them, from which the song's windows are taken away. The factor is the
    endpoint on what is left of these halves divided by that on the same halves as they were, so that the number of
    halvings does not look like the influence of a song.

    Args:
        samples: Counts of the samples by measure of the endpoint.
        reference: Counts of the real windows by measure.
        seed: Seed of the halves.
        most: Maximum number of windows on each side.
        draws: Number of halvings.
    """
    first = next(iter(reference.values()))
    songs, song_of = np.unique(first.songs, return_inverse=True)
    halvings = halvings_of(
        first.songs,
        len(next(iter(samples.values())).values),
        rng=np.random.default_rng(seed),
        draws=draws,
        origin=SampleOrigin.INDEPENDENT,
        songs=None,
        most=most,
    )
    ratios = {
        name: _ratios(samples[name].values, rows.values, song_of, len(songs), halvings)
        for name, rows in reference.items()
    }
    *without, whole = (
        of_families(family_ratios({name: float(found[place]) for name, found in ratios.items()}).values())
        for place in range(len(songs) + 1)
    )
    return {int(song): value / whole for song, value in zip(songs, without, strict=True)}


def _ratios(
    sample: NDArray[np.float64],
    real: NDArray[np.float64],
    song_of: NDArray[np.intp],
    songs: int,
    halvings: list[Halving],
) -> NDArray[np.float64]:
    """Return the (G + 1,) ratios of one measure without each song, and with all."""
    gaps, floors = np.zeros(songs + 1), np.zeros(songs + 1)
    for halving in halvings:
        *_, ours = _sums(sample[halving.sample], np.zeros(len(halving.sample), np.intp), 1)
        one, other = (_sums(real[rows], song_of[rows], songs) for rows in (halving.first, halving.second))
        gaps += _divergences(np.broadcast_to(ours, one.shape), one)
        floors += np.maximum(_divergences(other, one), LEAST_FLOOR)
    quotients: NDArray[np.float64] = gaps / floors
    return quotients


def _sums(counts: NDArray[np.float64], song_of: NDArray[np.intp], songs: int) -> NDArray[np.float64]:
    """Return the (G + 1, K + 1) summed counts of a set without the windows of each song, and of the whole set.

    A window without counts has one of an extra kind, as in `divergence`.
    """
    filled = np.column_stack([counts, ~counts.any(axis=1)])
    of_song = np.zeros((songs, filled.shape[1]))
    np.add.at(of_song, song_of, filled)
    whole = of_song.sum(axis=0)
    return np.vstack([whole - of_song, whole])


def _divergences(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (n,) Jensen-Shannon divergences in bits of (n, K) counts."""
    from scipy.spatial.distance import jensenshannon

    found: NDArray[np.float64] = jensenshannon(one, other, base=2, axis=1) ** 2
    return found

"""The endpoint without one song family of the reference: how much a distance depends on single songs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eval.distances.endpoint import LEAST_FLOOR, family_ratios, of_families
from eval.distances.noise_floor import SampleOrigin, halvings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from eval.distances.noise_floor import Halving
    from eval.distances.rows import Rows


class _Sums(NamedTuple):
    """The summed counts of a set of windows, whole and without each song.

    Attributes:
        whole: (K + 1,) counts of all windows, the last of windows without any.
        without: (G, K + 1) counts without the windows of each song.
    """

    whole: NDArray[np.float64]
    without: NDArray[np.float64]


def without_each_song(
    samples: Mapping[str, Rows], reference: Mapping[str, Rows], *, seed: int, most: int, draws: int
) -> dict[int, float]:
    """Return the endpoint of generated music without each song of the reference, by the number of the song.

    The halves are those of the endpoint, from which the song's windows are taken away; they are not filled up, so
    floors are slightly higher.

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
    return {
        int(song): of_families(family_ratios({name: float(found[place]) for name, found in ratios.items()}).values())
        for place, song in enumerate(songs)
    }


def _ratios(
    sample: NDArray[np.float64],
    real: NDArray[np.float64],
    song_of: NDArray[np.intp],
    songs: int,
    halvings: list[Halving],
) -> NDArray[np.float64]:
    """Return the (G,) ratios of one measure without each song."""
    gaps, floors = np.zeros(songs), np.zeros(songs)
    for halving in halvings:
        ours = _sums(sample[halving.sample], np.zeros(len(halving.sample), np.intp), 1).whole
        one, other = (_sums(real[rows], song_of[rows], songs) for rows in (halving.first, halving.second))
        gaps += _divergences(np.broadcast_to(ours, one.without.shape), one.without)
        floors += np.maximum(_divergences(other.without, one.without), LEAST_FLOOR)
    quotients: NDArray[np.float64] = gaps / floors
    return quotients


def _sums(counts: NDArray[np.float64], song_of: NDArray[np.intp], songs: int) -> _Sums:
    """Return the summed counts; a window without counts has one of an extra kind, as in `divergence`."""
    filled = np.column_stack([counts, ~counts.any(axis=1)])
    of_song = np.zeros((songs, filled.shape[1]))
    np.add.at(of_song, song_of, filled)
    whole = of_song.sum(axis=0)
    return _Sums(whole, whole - of_song)


def _divergences(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (G,) Jensen-Shannon divergences in bits of (G, K) counts."""
    from scipy.spatial.distance import jensenshannon

    found: NDArray[np.float64] = jensenshannon(one, other, base=2, axis=1) ** 2
    return found

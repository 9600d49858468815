"""Distances between a sample set and real music, with their noise floors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.distances.endpoint import ENDPOINT, LEAST_FLOOR, endpoint
from eval.distances.jackknife import without_each_song
from eval.distances.noise_floor import MIN_SONGS, Floor, SampleOrigin, against_halves, one_per_song
from eval.distances.point_clouds import mmd_p
from eval.distances.rows import Rows
from eval.distances.table import DISTANCES, distances_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from eval.distances.endpoint import Endpoint
    from eval.distances.noise_floor import Halvings
    from eval.distances.table import Distance
    from eval.scoring.floors import Floors
    from eval.scoring.sample_set import ScoredWindows

JACKKNIFE_DRAWS = 20  # halvings; each song is left out of all of them


def set_distances(
    sample: ScoredWindows, real: ScoredWindows, *, seed: int, most: int, floors: Floors | None = None
) -> pd.DataFrame:
    """Return one row per distance between the sets: measure, value, floor, floor_p95, ratio, p, n.

    The first row is the endpoint, in floors. Every set is compared with the same halves of the real windows. The ratio
    is NaN for measures whose multiples of the floor are not meaningful. The row "mmd_p" has the permutation p value of
    the MMD, on one window of each song of half the songs and as many of the sample, as its value and its p, and has no
    floor; it is NaN below `MIN_SONGS` windows on either side. The row "mmd" repeats it as its p; other rows have none.

    Args:
        sample: Set that is measured.
        real: Windows of the test split.
        seed: Seed of the halves and of all other random draws.
        most: Maximum number of windows on each side, so that all sets are compared at one size.
        floors: Floors that are known from other sets of this size; those that it lacks are added.
    """
    import pandas as pd

    halvings = _halvings(sample, real, distances_on(beats=real.windows.beats), seed=seed, most=most, floors=floors)
    rows = []
    for name, halving in halvings.items():
        found = halving.floor
        ratio = found.ratio if DISTANCES[name].in_floors else math.nan
        rows.append({"measure": name, **found._replace(ratio=ratio)._asdict()})
    found_endpoint = endpoint({name: halving for name, halving in halvings.items() if DISTANCES[name].family})
    rows.insert(0, endpoint_row(ENDPOINT, found_endpoint, n=rows[0]["n"]))
    p, n = _permutation_p(sample, real, seed=seed, most=most)
    rows.append({"measure": "mmd_p", "value": p, "n": n})
    panel = pd.DataFrame(rows, columns=["measure", *Floor._fields])
    return panel.assign(p=np.where(panel["measure"].isin(["mmd", "mmd_p"]), p, math.nan))


def endpoint_row(measure: str, found: Endpoint, *, n: int) -> dict[str, Any]:
    """Return an endpoint, which is in floors, as a row of measures."""
    value = found.value
    return {"measure": measure, "value": value, "floor": 1.0, "floor_p95": found.floor_p95, "ratio": value, "n": n}


def endpoint_of(
    sample: ScoredWindows, real: ScoredWindows, *, seed: int, most: int, floors: Floors | None = None
) -> Endpoint:
    """Return the endpoint alone, which takes a small part of the time of `set_distances`."""
    heard = distances_on(beats=real.windows.beats, heard=True)
    return endpoint(_halvings(sample, real, heard, seed=seed, most=most, floors=floors))


def without_songs(sample: ScoredWindows, real: ScoredWindows, *, seed: int, most: int) -> dict[int, float]:
    """Return by how much the endpoint of generated windows changes without each song of the real ones, as a factor."""
    rows = distances_on(beats=real.windows.beats, heard=True)
    return without_each_song(
        {name: Rows(row.facts(sample.windows, sample.scores), sample.songs) for name, row in rows.items()},
        {name: Rows(row.facts(real.windows, real.scores), real.songs) for name, row in rows.items()},
        seed=seed,
        most=most,
        draws=JACKKNIFE_DRAWS,
    )


def _halvings(
    sample: ScoredWindows,
    real: ScoredWindows,
    rows: Mapping[str, Distance],
    *,
    seed: int,
    most: int,
    floors: Floors | None,
) -> dict[str, Halvings]:
    """Return the distances of some measures from the same halves of the real windows; add their floors to `floors`."""
    known = {} if floors is None else floors
    facts = {row.facts for row in rows.values()}  # several distances share them
    theirs = {make: Rows(make(real.windows, real.scores), real.songs) for make in facts}
    ours = {make: Rows(make(sample.windows, sample.scores), song_identities(sample, real)) for make in facts}
    found = {
        name: against_halves(
            distance.function,
            ours[distance.facts],
            theirs[distance.facts],
            rng=np.random.default_rng(seed),
            draws=distance.draws,
            origin=sample.origin,
            songs=None if sample.origin is SampleOrigin.INDEPENDENT else sample.songs,
            most=most,
            floors=known.get(name),
        )
        for name, distance in rows.items()
    }
    known.update({name: halving.floors for name, halving in found.items()})
    return {
        name: halving._replace(floors=np.maximum(halving.floors, LEAST_FLOOR)) if rows[name].family else halving
        for name, halving in found.items()
    }


def song_identities(sample: ScoredWindows, real: ScoredWindows) -> NDArray[Any]:
    """Return the song of each window of a sample, for distances that keep songs together.

    Every generated window and every copy is a song of its own, so that a copy may be separated from its source.
    """
    if sample.origin is SampleOrigin.OTHER_HALF:
        return sample.songs
    return int(real.songs.max()) + 1 + np.arange(len(sample.windows))


def _permutation_p(sample: ScoredWindows, real: ScoredWindows, *, seed: int, most: int) -> tuple[float, int]:
    """Return the p value of the hypothesis that the windows are from real songs, and n, the windows per side.

    The real side has one window of each of half the songs, which are exchangeable. Samples made from real windows have
    one window of each of the other songs. Of generated windows, which count as one song each, the same number is used.
    """
    rng = np.random.default_rng(seed)
    songs = rng.permutation(np.unique(real.songs))
    half = songs[: len(songs) // 2]
    theirs, ours = one_per_song(real.songs, rng), one_per_song(sample.songs, rng)
    theirs = theirs[np.isin(real.songs[theirs], half)]
    if sample.origin is not SampleOrigin.INDEPENDENT:
        ours = ours[~np.isin(sample.songs[ours], half)]
    n = min(len(ours), len(theirs), most)
    if n < MIN_SONGS:
        return math.nan, n
    facts = DISTANCES["mmd"].facts
    one = facts(sample.windows, sample.scores)[rng.permutation(ours)[:n]]
    other = facts(real.windows, real.scores)[rng.permutation(theirs)[:n]]
    return mmd_p(Rows(one, np.arange(n)), Rows(other, n + np.arange(n)), rng), n

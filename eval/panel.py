"""The panel: everything that is measured of a set of windows as a whole, beside what real music has there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.distances import DISTANCES, Rows, mmd_p
from eval.floors import MIN_SONGS, Floor, Origin, against_halves, one_per_song
from eval.memorisation import COPYING
from eval.metrics import EDITION as METRICS_EDITION
from eval.metrics import METRICS, score
from replication.files import digest

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from eval.windows import Windows

EDITION = 1  # raise it when a measure of the panel comes to give other numbers


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a measure is called and what it would be for music like the real one.

    Attributes:
        label: the name in tables and figures.
        unit: what the number counts; "1" for a rate or a number without unit.
        ideal: its value for sets of equal distribution; None where real music has a value of its own to compare with.
        appendix: computed for comparison with other papers only, since it cannot tell music from noise.
    """

    label: str
    unit: str
    ideal: float | None = None
    appendix: bool = False


MEASURES: dict[str, Measure] = {
    "wasserstein": Measure(label="Distance", unit="SD", ideal=0.0),
    **{
        name: Measure(label=row.label, unit=row.unit, ideal=row.ideal, appendix=row.appendix)
        for name, row in DISTANCES.items()
    },
    "mmd_p": Measure(label="p (MMD)", unit="1"),
    **{name: Measure(label=row.label, unit=row.unit) for name, row in COPYING.items()},
    "teacher_nll": Measure(label="Teacher NLL", unit="nats per token"),
    "teacher_ruled_out": Measure(label="Ruled out by the teacher", unit="1"),
    "token_entropy": Measure(label="Token entropy", unit="nats"),
}


# Measures whose multiples of the noise floor mean something.
IN_FLOORS = ("wasserstein", *(name for name, row in DISTANCES.items() if row.in_floors))


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """A set of windows with what was computed of each.

    Attributes:
        windows: n windows of music.
        scores: n rows, a column per metric; see `eval.metrics.score`.
        songs: (n,) the song of the reference that each window is from or was made from; of generated windows, each a
            song of its own.
        origin: how the windows relate to the reference.
    """

    windows: Windows
    scores: pd.DataFrame
    songs: NDArray[Any]
    origin: Origin = Origin.INDEPENDENT

    @classmethod
    def of(cls, windows: Windows, songs: NDArray[Any] | None = None, origin: Origin = Origin.INDEPENDENT) -> Scored:
        """Score windows; without songs, each is one of its own."""
        songs = np.arange(len(windows)) if songs is None else songs
        return cls(windows=windows, scores=score(windows), songs=songs, origin=origin)


def scoring() -> str:
    """Return a name for what scores are computed: results of another name are scored again."""
    return digest(EDITION, METRICS_EDITION, list(METRICS), list(MEASURES))[:16]


def set_distances(sample: Scored, real: Scored, *, seed: int, most: int) -> pd.DataFrame:
    """Return the distances between sets, a row each: measure, value, floor, floor_p95, ratio, p, n.

    Every set is held against the same halves of the real windows. Ratios are NaN for measures of which no multiple of
    the floor means anything. The row "mmd_p" has the permutation p value of the MMD, on one window of each song of half
    the songs and as many of the sample, as its value and its p, and has no floor; it is NaN below `MIN_SONGS` windows
    on either side. The row "mmd" repeats it as its p; other rows have none.

    Args:
        sample: what is judged.
        real: the test split.
        seed: of the halves and of all else that is drawn.
        most: windows on either side at most, so that all sets are compared at one size.
    """
    import pandas as pd

    admitted = {name: row for name, row in DISTANCES.items() if real.windows.beats or not row.needs_beats}
    facts = {row.facts for row in admitted.values()}  # several distances share them
    theirs = {make: Rows(make(real.windows, real.scores), real.songs) for make in facts}
    ours = {make: Rows(make(sample.windows, sample.scores), _identities(sample, real)) for make in facts}
    rows = []
    for name, distance in admitted.items():
        found = against_halves(
            distance.function,
            ours[distance.facts],
            theirs[distance.facts],
            rng=np.random.default_rng(seed),
            draws=distance.draws,
            origin=sample.origin,
            songs=None if sample.origin is Origin.INDEPENDENT else sample.songs,
            most=most,
        )
        ratio = found.ratio if distance.in_floors else math.nan
        rows.append({"measure": name, **found._replace(ratio=ratio)._asdict()})
    p, n = _permutation_p(sample, real, seed=seed, most=most)
    rows.append({"measure": "mmd_p", "value": p, "n": n})
    panel = pd.DataFrame(rows, columns=["measure", *Floor._fields])
    return panel.assign(p=np.where(panel["measure"].isin(["mmd", "mmd_p"]), p, math.nan))


def _identities(sample: Scored, real: Scored) -> NDArray[Any]:
    """Return which windows of a sample are of one song, to a distance that keeps songs together.

    Generated windows and copies are each on their own, so that a copy is found beside what it copies.
    """
    if sample.origin is Origin.OTHER_HALF:
        return sample.songs
    return int(real.songs.max()) + 1 + np.arange(len(sample.windows))


def _permutation_p(sample: Scored, real: Scored, *, seed: int, most: int) -> tuple[float, int]:
    """Return the p value of "these are windows of real songs", and n, the windows on either side.

    The real ones are one window of each of half the songs, which are exchangeable. What was made of real windows is one
    of each of the other songs; of generated windows, each of which is a song of its own, there are as many.
    """
    rng = np.random.default_rng(seed)
    songs = rng.permutation(np.unique(real.songs))
    half = songs[: len(songs) // 2]
    theirs, ours = one_per_song(real.songs, rng), one_per_song(sample.songs, rng)
    theirs = theirs[np.isin(real.songs[theirs], half)]
    if sample.origin is not Origin.INDEPENDENT:
        ours = ours[~np.isin(sample.songs[ours], half)]
    n = min(len(ours), len(theirs), most)
    if n < MIN_SONGS:
        return math.nan, n
    facts = DISTANCES["mmd"].facts
    one = facts(sample.windows, sample.scores)[rng.permutation(ours)[:n]]
    other = facts(real.windows, real.scores)[rng.permutation(theirs)[:n]]
    return mmd_p(Rows(one, np.arange(n)), Rows(other, n + np.arange(n)), rng), n

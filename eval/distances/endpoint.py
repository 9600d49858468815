"""The endpoint: one distance of a set of windows from real music that hears pitch, rhythm, harmony, melody and texture.

A set is compared with real music in several measures of the order of notes, each a multiple of its noise floor. The
measures belong to families. With r_m the ratio of measure m to its floor,

    family_f = max(1, mean of r_m over the measures m of family f),  endpoint = (product of family_f)^(1 / families).

The geometric mean lets no family be averaged away: a set that is 32 floors away in one of five families is at least 2
away in the endpoint. A family counts at least 1, because to be closer to real music than real music is to itself has no
merit, and must not make up for another family.

The endpoint was chosen among several candidates by what it detects in known music: see `benchmarks.endpoints`. That
harmony must be a family of its own was learned from the exploratory results, where models without harmony scored well.
It cannot hear the order of bars, the form of a piece, or loudness. Halves of real music are a little above 1 by it,
since each of their families counts at least 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eval.distances.table import DISTANCES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from eval.distances.noise_floor import Halvings

EDITION = 1  # raise it when the endpoint gives other numbers; declared comparisons name it
ENDPOINT = "distance"  # its name among the measures
LEAST_FLOOR = 1e-6  # bits; the floor of a measure in which real music never differs, such as intervals of melodies
FAMILIES = tuple(dict.fromkeys(row.family for row in DISTANCES.values() if row.family))


class Endpoint(NamedTuple):
    """The endpoint of a set.

    Attributes:
        value: Distance from real music in noise floors, at least 1.
        floor_p95: 95th percentile of the endpoint of real music over halvings of the reference.
    """

    value: float
    floor_p95: float


def family_ratios(ratios: Mapping[str, float]) -> dict[str, float]:
    """Return the mean ratio of each family, given the ratios of measures by name; other measures are ignored.

    A family without measures is left out. NaN if a ratio of the family is NaN.

    >>> family_ratios({"intervals": 4.0, "upper_line": 1.0, "lower_line": 2.0, "recall": 0.9})
    {'harmony': 4.0, 'melody': 1.5}
    """
    found = {
        family: [ratios[name] for name, row in DISTANCES.items() if row.family == family and name in ratios]
        for family in FAMILIES
    }
    return {family: float(np.mean(values)) for family, values in found.items() if values}


def of_families(ratios: Iterable[float]) -> float:
    """Return the endpoint, from 1, given the mean ratios of its families.

    >>> of_families([4.0, 0.5])
    2.0
    """
    return float(np.exp(np.log(np.maximum(1.0, list(ratios))).mean()))


def endpoint(halvings: Mapping[str, Halvings]) -> Endpoint:
    """Return the endpoint of a set, given the distances of its measures from the same halves, by name."""
    floors = [_one_by_one(found.floors) for found in halvings.values()]
    draws = (dict(zip(halvings, draw, strict=True)) for draw in zip(*floors, strict=True))
    real = [of_families(family_ratios(draw).values()) for draw in draws]
    value = of_families(family_ratios({name: found.ratio for name, found in halvings.items()}).values())
    return Endpoint(value, float(np.quantile(real, 0.95)))


def _one_by_one(floors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the floor of each halving as a multiple of their mean."""
    return floors / (floors.mean() or 1.0)

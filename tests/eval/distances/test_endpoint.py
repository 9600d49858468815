"""The endpoint: its laws, and what it hears in real music (the matrix of candidates is `benchmarks.endpoints`)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eval.distances.endpoint import FAMILIES, endpoint, family_ratios, of_families
from eval.distances.noise_floor import Halvings
from eval.distances.table import DISTANCES

HEARD = [name for name, row in DISTANCES.items() if row.family]


def halvings(gap: float, **gaps: float) -> dict[str, Halvings]:
    """Return measures whose floors are 0.5 to 1.5 with a mean of 1, and whose gaps are as given."""
    floors = np.linspace(0.5, 1.5, 11)
    return {name: Halvings(np.full(11, gaps.get(name, gap)), floors, 64) for name in HEARD}


def test_families_are_those_of_the_rows() -> None:
    assert FAMILIES == ("pitch", "rhythm", "harmony", "melody", "texture")
    assert list(family_ratios(dict.fromkeys(HEARD, 1.0))) == list(FAMILIES)


def test_real_music_is_at_1_and_nothing_is_below() -> None:
    assert endpoint(halvings(1.0)).value == 1
    assert endpoint(halvings(0.0)).value == 1
    assert endpoint(halvings(1.0)).floor_p95 == pytest.approx(1.45)


@pytest.mark.parametrize("name", HEARD)
def test_no_measure_can_be_averaged_away(name: str) -> None:
    members = sum(row.family == DISTANCES[name].family for row in DISTANCES.values())
    alone = endpoint(halvings(1.0, **{name: 33.0 * members}))
    assert alone.value > 2
    # Being closer than real music elsewhere does not make up for it.
    others = {other: 0.0 for other in HEARD if DISTANCES[other].family != DISTANCES[name].family}
    assert endpoint(halvings(1.0, **{name: 33.0 * members}, **others)).value == pytest.approx(alone.value)


def test_larger_distances_are_larger() -> None:
    values = [endpoint(halvings(gap)).value for gap in (1, 2, 5, 100)]
    assert values == pytest.approx([1, 2, 5, 100])


def test_a_value_that_is_missing_is_not_hidden() -> None:
    assert math.isnan(of_families([1.0, math.nan]))
    assert math.isnan(family_ratios({"intervals": math.nan})["harmony"])

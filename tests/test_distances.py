from __future__ import annotations

import math

import numpy as np
import pytest

from eval.distances import DISTANCES, spread, wasserstein


def test_wasserstein_of_a_shift_is_the_shift() -> None:
    assert wasserstein([0, 1, 2], [1, 2, 3], scale=1.0) == pytest.approx(1)
    assert wasserstein([0, 1, 2], [1, 2, 3]) == pytest.approx(1 / math.sqrt(2 / 3))


def test_spread_is_the_deviation_or_one_for_a_constant() -> None:
    assert spread([0.0, 2.0, math.nan]) == 1
    assert spread([0.0, 4.0]) == 2
    assert spread([0.1] * 7) == 1
    assert spread([]) == 1


def test_wasserstein_from_a_constant_is_in_the_metrics_unit() -> None:
    assert wasserstein([3.0, 4.0], [1.0, 1.0]) == pytest.approx(2.5)


@pytest.mark.parametrize("name", DISTANCES)
def test_a_sample_is_nowhere_from_itself(name: str) -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert DISTANCES[name].function(values, np.random.default_rng(1).permutation(values)) == pytest.approx(0)


@pytest.mark.parametrize("name", DISTANCES)
def test_a_larger_shift_is_farther(name: str) -> None:
    values = np.random.default_rng(0).normal(size=200)
    distances = [DISTANCES[name].function(values + shift, values) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert distances == sorted(distances)
    assert distances[0] < distances[-1]


@pytest.mark.parametrize("name", DISTANCES)
def test_no_unit(name: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=50), rng.normal(size=60)
    assert DISTANCES[name].function(7 * a, 7 * b) == pytest.approx(DISTANCES[name].function(a, b))


@pytest.mark.parametrize("name", DISTANCES)
def test_nan_is_left_out_and_nothing_left_is_nan(name: str) -> None:
    function = DISTANCES[name].function
    assert function([1.0, math.nan, 2.0], [math.nan, 1.0, 4.0]) == function([1.0, 2.0], [1.0, 4.0])
    assert math.isnan(function([math.nan], [1.0, 2.0]))
    assert math.isnan(function([1.0, 2.0], []))

from __future__ import annotations

import math

import numpy as np
import pytest

from eval.statistics.intervals import deviation, difference, interval
from eval.statistics.paired import contrast


def test_interval() -> None:
    mean, low, high = interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2, 2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), abs=1e-6)
    narrow = interval([1.0, 2.0, 3.0], level=0.5)
    assert low < narrow.low < narrow.high < high
    assert interval([2.0, 2.0]) == (2, 2, 2)


@pytest.mark.parametrize(("values", "mean"), [([1.5], 1.5), ([], math.nan), ([1.0, math.nan], math.nan)])
def test_too_few_values_have_no_interval(values: list[float], mean: float) -> None:
    found = interval(values)
    assert found.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_values_equal_up_to_rounding_have_a_deviation_of_rounding_size() -> None:
    rng = np.random.default_rng(0)
    assert deviation([2.0, 2.0], resolution=1.0) == pytest.approx(rng.random(100_000).std(), abs=0.01)
    assert deviation([2.0, 4.0], resolution=1.0) == deviation([2.0, 4.0]) == pytest.approx(math.sqrt(2))
    assert deviation([1.1 - 1.0, 2.1 - 2.0, 0.1]) == 0  # as computed they differ by 1e-16
    assert math.isnan(deviation([1.0], resolution=1.0))
    assert contrast([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], resolution=0.2).p == pytest.approx(0.0011, abs=1e-4)


def test_difference_by_hand() -> None:
    found = difference([[1.0, 3.0], [4.0, 4.0], [6.0]], [1.0, 1.0, 2.0, 4.0], ["a", "a", "b", "c"])
    # Seeds have means 2, 4, 6; songs exceed the mean of 2 by -2, 0 and 2 in all.
    variance = 4 / 3 + 3 / 2 * 8 / 16
    assert found.mean == pytest.approx(2)
    assert found.high - found.mean == pytest.approx(4.302653 * math.sqrt(variance), abs=1e-5)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_nan_is_left_out_of_a_difference() -> None:
    rest = difference([[1.0, 2.0], [3.0]], [1.0, 2.0, 5.0], ["a", "b", "b"])
    assert difference([[1.0, 2.0, math.nan], [3.0]], [1.0, 2.0, math.nan, 5.0], ["a", "b", "c", "b"]) == rest


@pytest.mark.parametrize(
    ("seeds", "real", "mean"),
    [
        ([[1.0, 2.0]], [1.0, 2.0], 0),
        ([[1.0], [2.0]], [1.0], 0.5),
        ([], [1.0, 2.0], math.nan),
        ([[1.0], [math.nan]], [1.0, 2.0], math.nan),
        ([[1.0], [2.0]], [math.nan, math.nan], math.nan),
    ],
)
def test_differences_of_too_few_values_have_no_interval(
    seeds: list[list[float]], real: list[float], mean: float
) -> None:
    found = difference(seeds, real, np.arange(len(real)))
    assert found.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("effect", [0.0, 0.2, 1.0])  # standard deviation of seeds in units of that of pieces
def test_differences_cover_the_truth(seeds: int, effect: float) -> None:
    rng = np.random.default_rng(0)
    songs = np.repeat(np.arange(40), rng.integers(1, 7, 40))

    def covers() -> bool:
        generated = rng.normal(0, effect, (seeds, 1)) + rng.normal(size=(seeds, 64))
        real = 0.5 * rng.normal(size=40)[songs] + rng.normal(size=len(songs))
        found = difference(list(generated), real, songs)
        return found.low <= 0 <= found.high

    assert np.mean([covers() for _ in range(2000)]) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_intervals_cover_the_truth(seeds: int) -> None:
    draws = np.random.default_rng(0).normal(size=(2000, seeds))
    found = np.array([interval(draw.tolist()) for draw in draws])
    assert np.mean((found[:, 1] <= 0) & (found[:, 2] >= 0)) == pytest.approx(0.95, abs=0.02)

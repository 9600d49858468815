from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.statistics.intervals import deviation, difference, interval, positive_interval, share_interval


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


def test_values_equal_up_to_rounding_do_not_deviate() -> None:
    assert deviation([2.0, 4.0]) == pytest.approx(math.sqrt(2))
    assert deviation([1.1 - 1.0, 2.1 - 2.0, 0.1]) == 0  # as computed they differ by 1e-16
    assert math.isnan(deviation([1.0]))


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


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(("logit", "spread"), [(0.0, 0.3), (2.0, 0.3), (2.0, 0.5), (-1.0, 0.7)])
def test_intervals_of_shares_cover_the_mean_and_stay_in_range(seeds: int, logit: float, spread: float) -> None:
    rng = np.random.default_rng(0)
    truth = np.mean(1 / (1 + np.exp(-rng.normal(logit, spread, 1_000_000))))
    draws = 1 / (1 + np.exp(-rng.normal(logit, spread, (2000, seeds))))
    found = np.array([share_interval(draw.tolist(), windows=500) for draw in draws])
    assert (found[:, 1] > 0).all()
    assert (found[:, 2] < 1).all()
    assert np.mean((found[:, 1] <= truth) & (found[:, 2] >= truth)) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("spread", [0.1, 0.3])
def test_intervals_of_distances_cover_the_mean_and_are_positive(seeds: int, spread: float) -> None:
    draws = np.exp(np.random.default_rng(0).normal(0, spread, (2000, seeds)))
    found = np.array([positive_interval(draw.tolist()) for draw in draws])
    truth = math.exp(spread**2 / 2)
    assert (found[:, 1] > 0).all()
    assert np.mean((found[:, 1] <= truth) & (found[:, 2] >= truth)) == pytest.approx(0.95, abs=0.02)


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=6), windows=st.integers(1, 1000))
def test_intervals_of_shares_and_distances_contain_their_mean(values: list[float], windows: int) -> None:
    mean, low, high = share_interval(values, windows=windows)
    assert 0 <= low <= mean <= high <= 1
    mean, low, high = positive_interval(values)
    assert 0 <= low <= mean <= high


def test_intervals_in_range_equal_t_intervals_where_seeds_hardly_differ() -> None:
    values = [0.5, 0.5001, 0.5002]
    plain = interval(values)
    assert share_interval(values, windows=10) == pytest.approx(plain, abs=1e-7)
    assert positive_interval(values) == pytest.approx(plain, abs=1e-6)


def test_a_share_without_a_failure_has_an_interval_by_its_windows() -> None:
    assert share_interval([1.0, 1.0], windows=99) == pytest.approx((1, 99.5 / 100, 1))
    assert share_interval([0.0, 0.0], windows=99) == pytest.approx((0, 0, 0.5 / 100))
    assert share_interval([0.5, 0.5], windows=99) == pytest.approx((0.5, 0.5, 0.5))
    assert positive_interval([0.0, 0.0]) == (0, 0, 0)


def test_the_share_of_valid_samples_stays_below_all() -> None:
    values = [0.757, 0.905, 0.936]
    plain, found = interval(values).times(100), share_interval(values, windows=768).times(100)
    assert plain.high > 100 > found.high > found.mean == plain.mean
    assert found.low < plain.low  # the scale is wider on the side of one half


def test_values_out_of_range_have_no_interval() -> None:
    with pytest.raises(ValueError, match=r"shares are 0 to 1: \[0.5, 86.6\]"):
        share_interval([0.5, 86.6], windows=10)
    with pytest.raises(ValueError, match="at least 0"):
        positive_interval([-0.1, 2.0])
    assert math.isnan(share_interval([0.5], windows=10).low)
    assert math.isnan(positive_interval([0.5]).high)

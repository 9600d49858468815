from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from eval.compare import contrast, detectable_effect, floor_ratios, holm, interval
from eval.distances import wasserstein
from eval.metrics import FEATURES, METRICS
from replication.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SONGS = [f"song {index % 40}" for index in range(200)]


def table(rows: int, *, seed: int, shift: float = 0.0) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(loc=shift, size=(rows, len(METRICS)))
    return pd.DataFrame(values, columns=list(METRICS))


def ratios(samples: pd.DataFrame, reference: pd.DataFrame | None = None, *, draws: int = 20) -> pd.DataFrame:
    reference = table(len(SONGS), seed=0) if reference is None else reference
    return floor_ratios(samples, reference, SONGS, rng=np.random.default_rng(3), draws=draws)


def test_real_music_is_at_the_floor_and_shifted_music_above() -> None:
    null, shifted = ratios(table(150, seed=1)), ratios(table(150, seed=1, shift=1.0))
    assert null["ratio"]["mean"] == pytest.approx(1, abs=0.15)
    assert shifted["ratio"]["mean"] > 3
    assert shifted["distance"]["mean"] == pytest.approx(1, abs=0.15)  # one standard deviation
    assert (null["floor"] < null["floor_p95"]).all()
    assert (null["floor"] == shifted["floor"]).all()  # the same halves for every model


def test_rows_and_columns() -> None:
    scores = ratios(table(150, seed=1))
    assert list(scores.index) == [*METRICS, "mean"]
    assert list(scores.columns) == ["distance", "floor", "floor_p95", "ratio", "nan_rate", "n"]
    for column in ("distance", "floor"):
        assert scores[column]["mean"] == pytest.approx(scores[column][list(FEATURES)].mean())
    np.testing.assert_allclose(scores["ratio"], scores["distance"] / scores["floor"])


@pytest.mark.parametrize("n_samples", [30, 150, 1000])
@pytest.mark.parametrize("groups", [SONGS, [f"song {math.isqrt(index)}" for index in range(200)]])
def test_every_distance_compares_equally_many(n_samples: int, groups: list[str]) -> None:
    sizes = set()

    def spy(sample: ArrayLike, reference: ArrayLike, *, scale: float | None = None) -> float:
        sizes.update({np.size(sample), np.size(reference)})
        return wasserstein(sample, reference, scale=scale)

    scores = floor_ratios(
        table(n_samples, seed=1),
        table(200, seed=0),
        groups,
        rng=np.random.default_rng(0),
        draws=5,
        distance=spy,
    )
    assert sizes == set(scores["n"])
    assert len(sizes) == 1
    assert min(30, n_samples) <= sizes.pop() <= min(100, n_samples)


def test_no_song_is_in_both_halves() -> None:
    reference = table(len(SONGS), seed=0)
    number = np.array([int(song.split()[1]) for song in SONGS], dtype=float)
    reference[:] = number[:, None]

    def shared(sample: ArrayLike, reference: ArrayLike, *, scale: float | None = None) -> float:
        del scale
        return float(np.isin(np.asarray(sample), np.asarray(reference)).any())

    scores = floor_ratios(table(150, seed=1), reference, SONGS, rng=np.random.default_rng(0), draws=10, distance=shared)
    assert (scores["floor"] == 0).all()


def test_equal_seeds_give_equal_numbers_whatever_the_global_generator() -> None:
    first = ratios(table(150, seed=1))
    np.random.seed(0)  # noqa: NPY002 - the global generator is what must not matter
    pd.testing.assert_frame_equal(first, ratios(table(150, seed=1)))


def test_nan_is_counted() -> None:
    samples = table(100, seed=1)
    samples.loc[:24, "polyphony"] = math.nan
    samples.loc[20:29, "mean_pitch"] = math.nan
    samples["notes"] = math.nan
    scores = ratios(samples)
    rates = scores["nan_rate"]
    assert rates["polyphony"] == pytest.approx(0.25)
    assert rates["mean_pitch"] == pytest.approx(0.10)
    assert rates["notes"] == 1
    assert rates["mean"] == pytest.approx(0.30)  # the union; notes are no feature
    assert math.isnan(scores["ratio"]["notes"])
    assert np.isfinite(scores["ratio"]["mean"])


def test_a_feature_that_is_never_defined_makes_the_mean_undefined() -> None:
    samples = table(100, seed=1)
    samples["groove_consistency"] = math.nan
    assert math.isnan(ratios(samples)["ratio"]["mean"])


def test_a_constant_metric_has_no_floor() -> None:
    reference, samples = table(len(SONGS), seed=0), table(100, seed=1)
    reference["polyphony"] = samples["polyphony"] = 1.0
    reference["notes"], samples["notes"] = 1.0, 3.0
    scores = ratios(samples, reference)
    assert math.isnan(scores["ratio"]["polyphony"])
    assert scores["ratio"]["notes"] == math.inf
    assert scores["distance"]["notes"] == pytest.approx(2)


@pytest.mark.parametrize(
    ("samples", "groups", "message"),
    [
        (100, ["a", "b", "c"] * 50, r"has 3 songs, and a noise floor takes 8: .* larger corpus"),
        (100, [f"song {index}" for index in range(20)], r"is 10 windows, and a distance takes 16: .* larger corpus"),
        (7, SONGS, r"are 7 samples, and a distance takes 16: draw more"),
    ],
)
def test_too_little_music(samples: int, groups: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        floor_ratios(table(samples, seed=1), table(len(groups), seed=0), groups, rng=np.random.default_rng(0))


def test_every_window_has_a_group() -> None:
    with pytest.raises(ValueError, match="200 groups for 10 windows"):
        ratios(table(100, seed=1), table(10, seed=0))


def test_interval() -> None:
    mean, low, high = interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2, 2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), abs=1e-6)
    narrow = interval([1.0, 2.0, 3.0], level=0.5)
    assert low < narrow.low < narrow.high < high
    assert interval([2.0, 2.0]) == (2, 2, 2)


@pytest.mark.parametrize(("values", "mean"), [([1.5], 1.5), ([], math.nan), ([1.0, math.nan], math.nan)])
def test_no_interval(values: list[float], mean: float) -> None:
    found = interval(values)
    assert found.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize(
    ("seeds", "least"), [(2, 0.5), (3, 0.25), (4, 0.125), (5, 0.0625), (6, 0.03125), (8, 0.0078125)]
)
def test_least_p_of_sign_flips(seeds: int, least: float) -> None:
    values = [0.1 * seed for seed in range(1, seeds + 1)]
    found = contrast(values, [0.0] * seeds)
    assert found.p == least
    assert found.n == seeds
    assert contrast([0.0] * seeds, values).p == least


def test_contrast_by_hand() -> None:
    found = contrast([3.0, 1.0, 4.0], [1.0, 2.0, 1.0])  # differences 2, -1, 3: sums 4, 6, -2, 0 and their opposites
    assert found.p == 0.5
    assert found[:3] == interval([2.0, -1.0, 3.0])
    assert contrast([1.0, 2.0], [1.0, 2.0]).p == 1


@pytest.mark.parametrize(("a", "b"), [([1.0], [0.0]), ([], []), ([1.0, math.nan], [0.0, 0.0])])
def test_no_p(a: list[float], b: list[float]) -> None:
    assert math.isnan(contrast(a, b).p)


def test_pairs() -> None:
    with pytest.raises(ValueError, match="2 and 1 values cannot be paired"):
        contrast([1.0, 2.0], [1.0])


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([0.02, math.nan, 0.01]) == pytest.approx([0.02, math.nan, 0.02], nan_ok=True)
    assert holm([]) == []


def test_detectable_effect_is_found_with_power_of_80_percent() -> None:
    rng, seeds, sd = np.random.default_rng(0), 5, 2.0
    draws = rng.normal(loc=detectable_effect(seeds, sd), scale=sd, size=(4000, seeds))
    t = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / math.sqrt(seeds))
    assert np.mean(t > 2.776445) == pytest.approx(0.8, abs=0.03)


def test_more_seeds_find_smaller_effects() -> None:
    effects = [detectable_effect(seeds, 1.0) for seeds in (1, 2, 3, 5, 10, 100)]
    assert effects[0] == math.inf
    assert effects == sorted(effects, reverse=True)
    assert effects[-1] == pytest.approx(0.283, abs=0.01)  # 2.80 / sqrt(100), the normal limit, and a little

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from eval.distances.noise_floor import Floor, SampleOrigin, against_halves, floor_ratios, one_per_song
from eval.distances.rows import Rows
from eval.distances.univariate import cliffs_delta, wasserstein
from replication.util.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SONGS = np.repeat(np.arange(40), 5)
METRICS = ("density", "pitch", "groove", "notes")
FEATURES = METRICS[:3]


def table(rows: int, *, seed: int, shift: float = 0.0) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(loc=shift, size=(rows, len(METRICS)))
    return pd.DataFrame(values, columns=list(METRICS))


def ratios(samples: pd.DataFrame, reference: pd.DataFrame | None = None, **choices: Any) -> pd.DataFrame:  # noqa: ANN401 - what it takes
    reference = table(len(SONGS), seed=0) if reference is None else reference
    given: dict[str, Any] = {"rng": np.random.default_rng(3), "draws": 20, "features": FEATURES} | choices
    return floor_ratios(samples, reference, SONGS, **given)


def floor(sample: NDArray[Any], reference: NDArray[Any] | None = None, **choices: Any) -> Floor:  # noqa: ANN401 - the same
    reference = np.random.default_rng(0).normal(size=len(SONGS)) if reference is None else reference

    def distance(sample: Rows, reference: Rows, rng: np.random.Generator) -> float:
        assert isinstance(rng, np.random.Generator)
        return wasserstein(sample.values, reference.values, scale=1.0)

    given: dict[str, Any] = {"rng": np.random.default_rng(3), "draws": 20} | choices
    return against_halves(distance, Rows(sample, 1000 + np.arange(len(sample))), Rows(reference, SONGS), **given).floor


def test_real_music_is_at_the_floor_and_shifted_music_above() -> None:
    null, shifted = ratios(table(150, seed=1)), ratios(table(150, seed=1, shift=1.0))
    assert null["ratio"]["mean"] == pytest.approx(1, abs=0.2)
    assert shifted["ratio"]["mean"] > 3
    assert shifted["distance"]["mean"] == pytest.approx(1, abs=0.15)  # one standard deviation
    assert (null["floor"] < null["floor_p95"]).all()
    assert (null["floor"] == shifted["floor"]).all()  # the same halves for every model


def test_windows_of_many_songs_score_below_1_where_songs_differ() -> None:
    rng = np.random.default_rng(0)

    def clustered(songs: int) -> NDArray[Any]:
        return np.repeat(rng.normal(size=songs), 5) + 0.5 * rng.normal(size=5 * songs)

    assert floor(clustered(400), clustered(40), draws=50).ratio == pytest.approx(0.75, abs=0.15)


def test_rows_and_columns() -> None:
    scores = ratios(table(150, seed=1))
    assert list(scores.index) == [*METRICS, "mean"]
    assert list(scores.columns) == ["distance", "floor", "floor_p95", "ratio", "worst", "cliff", "nan_rate", "n"]
    for column in ("distance", "floor"):
        assert scores[column]["mean"] == pytest.approx(scores[column][list(FEATURES)].mean())
    np.testing.assert_allclose(scores["ratio"], scores["distance"] / scores["floor"])
    assert (scores["worst"] == scores["ratio"]).all()  # nothing is missing


@pytest.mark.parametrize("n_samples", [30, 150, 1000])
@pytest.mark.parametrize("groups", [SONGS, np.sqrt(np.arange(200)).astype(int)])
@pytest.mark.parametrize("most", [None, 20])
def test_every_distance_compares_sets_of_equal_size(n_samples: int, groups: NDArray[Any], most: int | None) -> None:
    sizes = set()

    def spy(sample: ArrayLike, reference: ArrayLike, *, scale: float | None = None) -> float:
        sizes.update({np.size(sample), np.size(reference)})
        return wasserstein(sample, reference, scale=scale)

    scores = floor_ratios(
        table(n_samples, seed=1),
        table(200, seed=0),
        groups,
        rng=np.random.default_rng(0),
        features=FEATURES,
        draws=5,
        distance=spy,
        most=most,
    )
    assert sizes == set(scores["n"])
    assert len(sizes) == 1
    assert min(30, n_samples, most or 30) <= sizes.pop() <= min(100, n_samples, most or 100)


def shared(sample: ArrayLike, reference: ArrayLike, *, scale: float | None = None) -> float:
    """Return which share of the sample's values are in the reference."""
    del scale
    return float(np.isin(np.asarray(sample), np.asarray(reference)).mean())


def numbered(numbers: ArrayLike) -> pd.DataFrame:
    return pd.DataFrame(np.repeat(np.asarray(numbers, dtype=float)[:, None], len(METRICS), axis=1), columns=[*METRICS])


def test_no_song_is_in_both_halves() -> None:
    scores = ratios(table(150, seed=1), numbered(SONGS), distance=shared)
    assert (scores["floor"] == 0).all()


@pytest.mark.parametrize("n_samples", [200, 40])
def test_windows_made_from_one_half_are_compared_with_the_other(n_samples: int) -> None:
    order = np.random.default_rng(0).permutation(len(SONGS))[:n_samples]
    scores = ratios(
        numbered(SONGS[order]), numbered(SONGS), distance=shared, origin=SampleOrigin.OTHER_HALF, songs=SONGS[order]
    )
    assert (scores["distance"] == 0).all()
    assert set(scores["n"]) == {min(100, n_samples)}


@pytest.mark.parametrize("most", [None, 20])
def test_copies_are_compared_with_their_own_half(most: int | None) -> None:
    windows = numbered(np.arange(len(SONGS)))
    assert (ratios(windows, windows, distance=shared, origin=SampleOrigin.SAME_HALF, most=most)["distance"] == 1).all()
    values = np.arange(200.0)
    assert floor(values, values, origin=SampleOrigin.SAME_HALF, most=most).value == 0


@pytest.mark.parametrize(
    ("origin", "songs", "message"),
    [
        (SampleOrigin.SAME_HALF, None, "100 samples cannot be copies of 200 windows"),
        (SampleOrigin.OTHER_HALF, None, "0 songs for 100 samples"),
        (SampleOrigin.OTHER_HALF, SONGS, "200 songs for 100 samples"),
    ],
)
def test_samples_made_from_the_reference_must_name_their_songs(
    origin: SampleOrigin, songs: ArrayLike | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ratios(table(100, seed=1), origin=origin, songs=songs)


def test_a_half_without_samples_is_refused() -> None:
    with pytest.raises(UserError, match="half of the reference has no samples that come from it"):
        ratios(table(100, seed=1), origin=SampleOrigin.OTHER_HALF, songs=np.zeros(100))


def test_equal_seeds_give_equal_numbers_for_any_global_generator() -> None:
    first = ratios(table(150, seed=1))
    np.random.seed(0)  # noqa: NPY002 - the global generator is what must not matter
    pd.testing.assert_frame_equal(first, ratios(table(150, seed=1)))


def test_undefined_values_are_counted() -> None:
    samples = table(100, seed=1)
    samples.loc[:24, "density"] = math.nan
    samples.loc[20:29, "pitch"] = math.nan
    samples["notes"] = math.nan
    scores = ratios(samples)
    rates = scores["nan_rate"]
    assert rates["density"] == pytest.approx(0.25)
    assert rates["pitch"] == pytest.approx(0.10)
    assert rates["notes"] == 1
    assert rates["mean"] == pytest.approx(0.30)  # the union; notes are no feature
    assert math.isnan(scores["ratio"]["notes"])
    assert np.isfinite(scores["ratio"]["mean"])


def test_missing_values_count_as_one_range_away() -> None:
    reference, samples = numbered(np.arange(200) % 2), numbered(np.arange(100) % 2)
    reference.loc[0, "density"] += 0.25  # so that halves differ
    samples.loc[:49, "density"] = math.nan
    scores = ratios(samples, reference)
    present = ratios(numbered(np.arange(100) % 2), reference)
    highest = 1.0
    moved = scores["worst"]["density"] * present["floor"]["density"] * np.std(reference["density"])
    assert moved == pytest.approx(0.5 * (2 * highest - 0.5), abs=0.1)  # half of the samples, from 1/2 on average to 2
    assert scores["worst"]["density"] > scores["ratio"]["density"]
    assert scores["worst"]["pitch"] == pytest.approx(scores["ratio"]["pitch"], nan_ok=True)


def test_equal_shares_of_missing_values_are_at_the_floor() -> None:
    lacking = np.random.default_rng(0).random((9, 200, len(METRICS))) < 0.2
    reference, *several = (table(200, seed=seed).mask(gaps) for seed, gaps in enumerate(lacking))
    worst = [ratios(samples, reference)["worst"]["density"] for samples in several]
    assert np.mean(worst) == pytest.approx(1, abs=0.2)
    samples = several[0]
    samples["density"] = math.nan
    scores = ratios(samples, reference)
    assert math.isnan(scores["ratio"]["density"])
    assert scores["worst"]["density"] > 5


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_undefined_values_never_improve_a_distance(share: float) -> None:
    samples = table(100, seed=1, shift=2.0)
    defined = ratios(samples)
    # The worst values are those that are missing: without them the metric by itself looks better.
    samples.loc[samples["groove"] >= samples["groove"].quantile(1 - share), "groove"] = math.nan
    lacking = ratios(samples)
    assert not lacking["ratio"]["groove"] >= defined["ratio"]["groove"]
    assert lacking["ratio"]["mean"] == lacking["worst"]["mean"] > defined["ratio"]["mean"]
    mean = lacking.loc["mean"]
    assert mean["ratio"] == pytest.approx(mean["distance"] / mean["floor"])
    assert lacking["floor"]["mean"] == defined["floor"]["mean"]


def test_a_feature_that_no_real_window_has_makes_the_mean_undefined() -> None:
    scores = ratios(table(100, seed=1), table(200, seed=0).assign(groove=math.nan))
    assert math.isnan(scores["worst"]["groove"])
    assert math.isnan(scores["ratio"]["mean"])


def test_cliffs_delta_is_that_of_all_samples_and_all_real_windows() -> None:
    samples, reference = table(100, seed=1, shift=0.5), table(200, seed=0)
    samples.loc[:9, "density"] = math.nan
    cliff = ratios(samples, reference)["cliff"]
    for metric in METRICS:
        assert cliff[metric] == cliffs_delta(samples[metric], reference[metric]) > 0
    assert math.isnan(cliff["mean"])


def test_a_constant_metric_has_no_floor() -> None:
    reference, samples = table(len(SONGS), seed=0), table(100, seed=1)
    reference["density"] = samples["density"] = 1.0
    reference["notes"], samples["notes"] = 1.0, 3.0
    scores = ratios(samples, reference)
    assert math.isnan(scores["ratio"]["density"])
    assert scores["ratio"]["notes"] == math.inf
    assert scores["distance"]["notes"] == pytest.approx(2)


def test_distances_and_metrics_use_the_same_halves() -> None:
    samples, reference = table(150, seed=1), table(len(SONGS), seed=0)
    scale = float(reference["pitch"].std(ddof=0))
    found = floor(samples["pitch"].to_numpy(), reference["pitch"].to_numpy())
    expected = ratios(samples[["pitch"]], reference[["pitch"]], features=["pitch"]).loc["pitch"]
    assert found.floor == pytest.approx(expected["floor"] * scale)
    assert found.floor_p95 == pytest.approx(expected["floor_p95"] * scale)
    assert found.value == pytest.approx(expected["distance"] * scale)
    assert found.ratio == pytest.approx(expected["ratio"])
    assert found.n == expected["n"]


def test_the_floor_does_not_depend_on_the_samples() -> None:
    def noisy(sample: Rows, reference: Rows, rng: np.random.Generator) -> float:
        return wasserstein(sample.values, reference.values, scale=1.0) + rng.random()

    reference = Rows(np.random.default_rng(0).normal(size=len(SONGS)), SONGS)
    found = [
        against_halves(noisy, Rows(np.full(n, 3.0), np.arange(n)), reference, rng=np.random.default_rng(3), draws=9)
        for n in (300, 500)
    ]
    assert found[0].floor == found[1].floor


def test_a_negative_floor_has_no_ratio() -> None:
    reference = Rows(np.zeros(len(SONGS)), SONGS)
    rng = np.random.default_rng(0)
    assert math.isnan(against_halves(lambda *_: -1.0, reference, reference, rng=rng, draws=2).ratio)
    assert math.isnan(against_halves(lambda *_: math.nan, reference, reference, rng=rng, draws=2).floor.floor_p95)


def test_one_window_per_song() -> None:
    drawn = [one_per_song(SONGS, np.random.default_rng(seed)) for seed in range(50)]
    for indices in drawn:
        np.testing.assert_array_equal(SONGS[indices], np.arange(40))
    assert set(np.concatenate(drawn)) == set(range(200))


@pytest.mark.parametrize(
    ("samples", "groups", "most", "message"),
    [
        (100, ["a", "b", "c"] * 50, None, r"has 3 songs, and a noise floor needs 8: .* larger corpus"),
        (100, [f"song {index}" for index in range(20)], None, r"is 10 windows, and a distance needs 16: .* larger"),
        (7, SONGS, None, r"are 7 samples, and a distance needs 16: draw more"),
        (100, SONGS, 8, r"are 8 samples, and a distance needs 16: draw more"),
    ],
)
def test_too_little_music(samples: int, groups: ArrayLike, most: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        floor_ratios(
            table(samples, seed=1),
            table(np.size(groups), seed=0),
            groups,
            rng=np.random.default_rng(0),
            features=FEATURES,
            most=most,
        )


def test_every_window_has_a_group() -> None:
    with pytest.raises(ValueError, match="200 groups for 10 windows"):
        ratios(table(100, seed=1), table(10, seed=0))

from __future__ import annotations

import numpy as np
import pytest

from eval.distances.noise_floor import MIN_SONGS, SampleOrigin
from eval.distances.table import DISTANCES
from eval.scoring.measures import MEASURES
from eval.scoring.sample_set import ScoredWindows
from eval.scoring.set_distances import set_distances
from tests.support.pieces import random_windows

SONGS = np.arange(120) // 3  # 40 songs
REAL = ScoredWindows.of(random_windows(120), songs=SONGS)
OTHERS = ScoredWindows.of(random_windows(240).take(range(120, 240)))


def panel(sample: ScoredWindows, *, most: int = 30, seed: int = 1) -> dict[str, dict[str, float]]:
    found = set_distances(sample, REAL, seed=seed, most=most).set_index("measure")
    assert list(found.columns) == ["value", "floor", "floor_p95", "ratio", "n", "p"]
    rows: dict[str, dict[str, float]] = found.T.to_dict()
    return rows


def test_every_distance_has_a_row_and_only_distances_from_0_have_floor_ratios() -> None:
    found = panel(OTHERS)
    assert set(found) == {"distance", *DISTANCES, "mmd_p"} < set(MEASURES)
    assert found["distance"]["value"] == found["distance"]["ratio"] >= 1
    for name, row in DISTANCES.items():
        assert np.isnan(found[name]["ratio"]) != row.in_floors, name
        assert found[name]["n"] == 30
    chords = found["chords"]
    assert chords["ratio"] == pytest.approx(chords["value"] / chords["floor"])


@pytest.mark.parametrize("origin", SampleOrigin)
def test_p_values_use_half_of_the_songs_for_every_origin(origin: SampleOrigin) -> None:
    sample = REAL.windows if origin is not SampleOrigin.INDEPENDENT else OTHERS.windows
    songs = SONGS if origin is not SampleOrigin.INDEPENDENT else None
    found = panel(ScoredWindows.of(sample, songs=songs, origin=origin))
    row = found["mmd_p"]
    assert row["n"] == 20
    assert 1 / 500 <= row["value"] <= 1
    assert row["p"] == row["value"] == found["mmd"]["p"]
    assert np.isnan([row["floor"], row["floor_p95"], row["ratio"]]).all()
    assert all(np.isnan(found[name]["p"]) for name in DISTANCES if name != "mmd")


def test_p_values_use_at_most_the_given_number_of_windows() -> None:
    assert panel(OTHERS, most=16)["mmd_p"]["n"] == 16


def test_windows_made_from_a_few_songs_have_no_p_value() -> None:
    few = np.resize(np.arange(0, 24, 3), 120)  # windows of 8 songs, some of them in the half
    made = ScoredWindows.of(REAL.windows.take(few), songs=SONGS[few], origin=SampleOrigin.OTHER_HALF)
    row = panel(made)["mmd_p"]
    assert row["n"] < MIN_SONGS
    assert np.isnan(row["value"])


def test_wrong_music_has_a_small_p_value() -> None:
    high = OTHERS.windows.map(lambda notes: notes[notes["pitch"] > 100])
    assert panel(ScoredWindows.of(high))["mmd_p"]["value"] == pytest.approx(1 / 500)

"""The endpoint without single songs."""

from __future__ import annotations

import numpy as np
import pytest

from eval.distances.endpoint import endpoint
from eval.distances.harmony import divergence
from eval.distances.jackknife import without_each_song
from eval.distances.noise_floor import against_halves
from eval.distances.rows import Rows

SONGS = np.repeat(np.arange(16), 6)
DRAWS = 10


def counts(rng: np.random.Generator, size: int, shares: list[float]) -> Rows:
    return Rows(rng.multinomial(40, shares, size).astype(float), 1000 + np.arange(size))


def test_a_song_without_windows_in_the_halves_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    sample = counts(rng, 64, [0.3, 0.3, 0.4])
    real = Rows(counts(rng, len(SONGS), [0.2, 0.4, 0.4]).values, SONGS)
    whole = against_halves(divergence, sample, real, rng=np.random.default_rng(1), draws=DRAWS, most=40)
    found = without_each_song({"intervals": sample}, {"intervals": real}, seed=1, most=40, draws=DRAWS)
    assert list(found) == list(range(16))
    # Each song is a sixteenth of the reference, so each value is near the whole one, and their mean nearer.
    value = endpoint({"intervals": whole}).value
    assert np.mean(list(found.values())) == pytest.approx(value, rel=0.1)


def test_it_finds_the_song_on_which_a_distance_rests() -> None:
    rng = np.random.default_rng(0)
    real = counts(rng, len(SONGS), [0.3, 0.3, 0.4]).values
    real[SONGS == 5] = rng.multinomial(40, [1, 0, 0], 6)
    sample = counts(rng, 64, [0.3, 0.3, 0.4])
    found = without_each_song({"intervals": sample}, {"intervals": Rows(real, SONGS)}, seed=1, most=40, draws=DRAWS)
    floors = np.array([found[song] for song in range(16)])
    assert np.abs(floors - np.median(floors)).argmax() == 5 or np.ptp(floors) == 0

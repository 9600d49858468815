"""The endpoint without single songs."""

from __future__ import annotations

import numpy as np
import pytest

from eval.distances.jackknife import without_each_song
from eval.distances.rows import Rows

SONGS = np.repeat(np.arange(16), 6)
DRAWS = 10


def counts(rng: np.random.Generator, size: int, shares: list[float]) -> Rows:
    return Rows(rng.multinomial(40, shares, size).astype(float), 1000 + np.arange(size))


def test_a_song_like_all_others_changes_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    sample = counts(rng, 64, [0.3, 0.3, 0.4])
    real = Rows(counts(rng, len(SONGS), [0.2, 0.4, 0.4]).values, SONGS)
    found = without_each_song({"intervals": sample}, {"intervals": real}, seed=1, most=40, draws=DRAWS)
    assert list(found) == list(range(16))
    # Each song is a sixteenth of the reference.
    assert np.mean(list(found.values())) == pytest.approx(1, rel=0.1)


def test_the_number_of_halvings_does_not_look_like_the_influence_of_songs() -> None:
    rng = np.random.default_rng(0)
    sample = counts(rng, 64, [0.3, 0.3, 0.4])
    real = counts(rng, len(SONGS), [0.2, 0.4, 0.4]).values
    some = {"intervals": Rows(real, SONGS)}
    whole = without_each_song({"intervals": sample}, some, seed=1, most=40, draws=DRAWS)
    twice = without_each_song({"intervals": sample}, some, seed=1, most=40, draws=2 * DRAWS)
    # The number of halvings moves the endpoint, and not the factors.
    assert np.median(list(whole.values())) == pytest.approx(np.median(list(twice.values())), rel=0.06)


def test_it_finds_the_song_on_which_a_distance_rests() -> None:
    rng = np.random.default_rng(0)
    real = counts(rng, len(SONGS), [0.3, 0.3, 0.4]).values
    real[SONGS == 5] = rng.multinomial(40, [1, 0, 0], 6)
    sample = counts(rng, 64, [0.3, 0.3, 0.4])
    found = without_each_song({"intervals": sample}, {"intervals": Rows(real, SONGS)}, seed=1, most=40, draws=DRAWS)
    floors = np.array([found[song] for song in range(16)])
    assert np.abs(floors - np.median(floors)).argmax() == 5 or np.ptp(floors) == 0

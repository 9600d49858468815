"""Noise floors are computed once, and change no number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from eval.scoring.floors import FloorFiles
from eval.scoring.sample_set import ScoredWindows
from eval.scoring.set_distances import endpoint_of, set_distances
from replication.util.errors import UserError
from tests.support.pieces import random_windows

if TYPE_CHECKING:
    from pathlib import Path

    from eval.distances.endpoint import Endpoint
    from eval.scoring.floors import Floors

REAL = ScoredWindows.of(random_windows(60), songs=np.arange(60) // 3)
SAMPLE = ScoredWindows.of(random_windows(84).take(range(60, 84)))


def distances(floors: Floors | None = None) -> pd.DataFrame:
    return set_distances(SAMPLE, REAL, seed=1, most=24, floors=floors)


def distance(floors: Floors | None = None) -> Endpoint:
    return endpoint_of(SAMPLE, REAL, seed=1, most=24, floors=floors)


def test_known_floors_change_no_number(tmp_path: Path) -> None:
    files = FloorFiles(tmp_path / "floors")
    with files.at(24) as floors:
        first = distances(floors)
    with files.at(24) as floors:
        assert floors
        again = distances(floors)
        assert distance(floors) == distance()
    pd.testing.assert_frame_equal(first, distances(), check_exact=True)
    pd.testing.assert_frame_equal(first, again, check_exact=True)


def test_floors_are_kept_by_size_and_those_of_a_failed_block_are_not(tmp_path: Path) -> None:
    files = FloorFiles(tmp_path / "floors")
    with files.at(24) as floors:
        floors["one"] = np.array([1.0])
    with pytest.raises(ZeroDivisionError), files.at(24) as floors:
        floors["other"] = np.array([1 / 0])
    with files.at(24) as floors:
        assert list(floors) == ["one"]
    with files.at(32) as floors:
        assert floors == {}


def test_a_damaged_file_of_floors_is_named(tmp_path: Path) -> None:
    (tmp_path / "floors-24.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"floors-24\.npz is damaged .*; delete it to compute the noise floors again"):
        FloorFiles(tmp_path / "floors").at(24).__enter__()

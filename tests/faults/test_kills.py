"""The short version of kills.py; `nox -s faults -- kills` runs the long one."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.faults.kills import aims, chain
from tests.support.killed_program import Workspace

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_a_run_killed_at_every_stage_ends_with_the_results_of_an_undisturbed_run(
    own_music: Workspace, tmp_path: Path
) -> None:
    place, random = Workspace(folder=tmp_path / "killed", corpus=own_music.corpus), Random(0)
    # tests/etude/runner/test_runner.py kills a worker alone. Here that would take long, as the program continues.
    moments = aims(8, random, victims=("group", "program"))
    kills, wrong = chain(place, own_music, moments, random)
    assert wrong == []
    assert len(kills) == 8

"""A short series of kills of the real program; `nox -s faults -- kills` has the long one."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.faults.kills import aims, chain
from tests.support.killed_program import Workspace

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_killed_at_every_stage_it_comes_to_what_it_would_have_come_to_undisturbed(
    own_music: Workspace, tmp_path: Path
) -> None:
    place, random = Workspace(folder=tmp_path / "killed", corpus=own_music.corpus), Random(0)
    # A worker alone is killed in tests/etude/runner/test_runner.py: the program goes on then with what it can, which
    # takes long.
    moments = aims(8, random, victims=("group", "program"))
    kills, wrong = chain(place, own_music, moments, random)
    assert wrong == []
    assert len(kills) == 8

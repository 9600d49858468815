"""What several modules of tests look at."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from etude.runner.executors import Process
from eval.results.tuning import tuning_folder
from eval.tracking.references import level
from eval.tracking.store import open_store
from replication.util.files import read_json, write_json
from tests.support.killed_program import Workspace
from tests.support.program import music
from tests.support.small_trials import planned, run

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.plan import Plan


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A comparison with a trial of the grid before it, run and brought to a store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        plan = compared(tmp_path_factory.mktemp("shown"))
        assert level(open_store(plan.root), [plan.comparison, tuning_folder(plan.comparison)]) == 3
    return plan


def compared(root: Path) -> Plan:
    """Run a comparison, and put a trial of the grid before it."""
    plan = planned(root, "e2e", "ngram", steps=20)
    assert run(plan, Process(workers=2)) == []
    there, grid = plan.comparison / "e2e" / "0", tuning_folder(plan.comparison)
    shutil.copytree(there, grid / "e2e-d8-s1" / "0", ignore=shutil.ignore_patterns("checkpoint"))
    about = read_json(there / "trial.json")
    about["config"]["model"]["dimension"] = 8
    about |= {"id": "0" * 64, "experiment": "e2e-d8-s1", "kind": "tuning", "scale": "smoke-tuning"}
    write_json(grid / "e2e-d8-s1" / "0" / "trial.json", about)
    write_json(plan.comparison / "tuning.json", {"e2e": {"dimension": 1, "scale": 1.0}})
    return plan


@pytest.fixture(scope="session")
def own_music(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a folder in which the program was run once on a user's own music, for tests that leave it as it is."""
    base = tmp_path_factory.mktemp("own-music")
    place = Workspace(folder=base / "place", corpus=music(base, 40))
    (place.corpus / "broken.mid").write_bytes(b"MThd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONNECTIONS", str(base / "observed"))
        assert place.start().wait() == 0, place.log.read_text(encoding="utf-8")
    return place

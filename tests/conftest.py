"""Fixtures that several folders of tests use. Each is made once in a process."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from multiprocessing import forkserver
from typing import TYPE_CHECKING

import pytest

from etude.runner.executors import PRELOADED, ProcessExecutor
from eval.results.tuning import tuning_folder
from eval.tracking.store import open_store
from replication.util.files import read_json, write_json
from tests.support import tracking_stores
from tests.support.killed_program import Workspace
from tests.support.program import music
from tests.support.small_trials import planned, run

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.plan import Plan


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> None:
    """Start the fork server of this process with the modules of all who use it; otherwise only the first has its own.

    A test alone starts it when it needs it, if it does.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        forkserver.set_forkserver_preload([*PRELOADED, *tracking_stores.PRELOADED])
        forkserver.ensure_running()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an empty tracking store, to be copied: creating one takes seconds."""
    root = tmp_path_factory.mktemp("empty-store")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        open_store(root)
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return root / "mlflow.db"


@pytest.fixture(scope="session")
def finished_comparison(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The plan of a finished comparison with a tuning trial, synced to a tracking store. Tests must not change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        plan = run_comparison(tmp_path_factory.mktemp("comparison"))
        assert open_store(plan.root).sync_all([plan.comparison, tuning_folder(plan.comparison)]) == 3
    return plan


def run_comparison(root: Path) -> Plan:
    """Run a comparison of two experiments and add a tuning trial."""
    plan = planned(root, "e2e", "ngram", steps=20)
    assert run(plan, ProcessExecutor(workers=2)) == []
    source, tuning = plan.comparison / "e2e" / "0", tuning_folder(plan.comparison)
    shutil.copytree(source, tuning / "e2e-d8-s1" / "0", ignore=shutil.ignore_patterns("checkpoint"))
    about = read_json(source / "trial.json")
    about["config"]["model"]["dimension"] = 8
    about |= {"id": "0" * 64, "experiment": "e2e-d8-s1", "kind": "tuning", "point": {"dimension": 1, "scale": 1.0}}
    about |= {"scale": "smoke-tuning", "tunes": "smoke"}
    write_json(tuning / "e2e-d8-s1" / "0" / "trial.json", about)
    write_json(plan.comparison / "tuning.json", {"0": {"e2e": {"dimension": 1, "scale": 1.0}}})
    return plan


@pytest.fixture(scope="session")
def own_music(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A folder in which `etude run` ran once on a user's own music. Tests must not change it."""
    base = tmp_path_factory.mktemp("own-music")
    workspace = Workspace(folder=base / "place", corpus=music(base, 40))
    (workspace.corpus / "broken.mid").write_bytes(b"MThd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONNECTIONS", str(base / "observed"))
        assert workspace.start().wait() == 0, workspace.log.read_text(encoding="utf-8")
    return workspace

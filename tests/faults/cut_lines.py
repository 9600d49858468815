"""The long version of test_tracking_faults.py, about half an hour on two cores: `nox -s faults -- tracking`.

The environment variable CUTS gives the number of cuts for each kind of store. Their seeds count from 0.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from alembic.command import upgrade
from mlflow.store.db import utils
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase
from sqlalchemy import create_engine

from eval.tracking.store import Store, StoreError, database_uri, open_store
from replication.util.locks import lease
from tests.faults.test_tracking_faults import of_another_mlflow
from tests.support.program import ROOT, etude, python
from tests.support.small_trials import bits, planned, run_here
from tests.support.tcp_proxy import proxy_to
from tests.support.tracking_stores import (
    assert_eight_writers_share_a_store,
    assert_recovers_from_cut,
    assert_recovers_from_kill,
    assert_synced_in_new_process,
    expected_run,
    finish_trial,
    mlflow_server,
    postgres,
    runs_table,
    stored_run,
    trial_in,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.tcp_proxy import Proxy

CUTS = range(int(os.environ.get("CUTS", "40")))


@contextmanager
def server_on_sqlite(folder: Path) -> Iterator[tuple[str, Proxy]]:
    with mlflow_server(f"sqlite:///{folder / 'mlflow.db'}", folder) as port, proxy_to(port) as proxy:
        yield f"http://127.0.0.1:{proxy.port}", proxy


@contextmanager
def server_on_postgres(folder: Path) -> Iterator[tuple[str, Proxy]]:
    with postgres() as database, mlflow_server(database.uri, folder) as port, proxy_to(port) as proxy:
        yield f"http://127.0.0.1:{proxy.port}", proxy


@contextmanager
def server_that_loses_postgres(folder: Path) -> Iterator[tuple[str, Proxy]]:
    with (
        postgres() as database,
        proxy_to(database.port) as proxy,
        mlflow_server(database.uri.replace(str(database.port), str(proxy.port)), folder) as port,
    ):
        yield f"http://127.0.0.1:{port}", proxy


@contextmanager
def postgres_alone(_: Path) -> Iterator[tuple[str, Proxy]]:
    with postgres() as database, proxy_to(database.port) as proxy:
        yield database.uri.replace(str(database.port), str(proxy.port)), proxy


KINDS = (server_on_sqlite, server_on_postgres, server_that_loses_postgres, postgres_alone)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__, scope="module")
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy in front of the store that MLFLOW_TRACKING_URI names, or between that server and its database."""
    with pytest.MonkeyPatch.context() as patch, request.param(tmp_path_factory.mktemp("server")) as (uri, proxy):
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield proxy


@pytest.fixture(scope="module")
def whole(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Number of bytes of an undisturbed sync."""
    root = tmp_path_factory.mktemp("whole")
    store = open_store(root)
    proxy.reset()
    store.sync(finish_trial(trial_in(root, "whole")), final=True)
    return proxy.passed


def test_eight_writers_that_find_no_store_create_one(proxy: Proxy, tmp_path: Path) -> None:
    proxy.reset()
    assert_eight_writers_share_a_store(tmp_path)


@pytest.mark.parametrize("seed", CUTS)
def test_a_sync_that_was_cut_anywhere_is_completed_by_the_next(
    proxy: Proxy, whole: int, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(seed % 2))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    assert_recovers_from_cut(proxy, tmp_path, seed, whole=whole)


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def file(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("file") / "mlflow.db"
    shutil.copy(empty_store, database)
    return database


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("seed", CUTS)
def test_a_sync_to_a_file_that_was_killed_anywhere_is_completed_by_the_next(file: Path, seed: int) -> None:
    assert_recovers_from_kill(file, seed)


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("round_", range(5))
def test_eight_writers_that_find_no_file_create_one(tmp_path: Path, round_: int) -> None:
    assert_eight_writers_share_a_store(tmp_path / str(round_))


def down(proxy: Proxy) -> None:
    proxy.down = True


def cut(proxy: Proxy) -> None:
    proxy.limit = 60_000


def slow(proxy: Proxy) -> None:
    proxy.delay = 5.0


@pytest.mark.parametrize("fault", [down, cut, slow], ids=lambda fault: fault.__name__)
def test_the_program_continues_and_sync_completes_the_store(
    fault: Callable[[Proxy], None],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = planned(tmp_path_factory.mktemp("alone"), "ngram")
    run_here(alone)
    words = ("--scale", "smoke", "--only", "ngram", "--seeds", "1")
    with server_on_sqlite(tmp_path_factory.mktemp("server")) as (place, proxy):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
        fault(proxy)
        done = etude("run", *words, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        warnings = [text for text in done.stderr.splitlines() if "warning" in text]
        assert len(warnings) == (0 if fault is slow else 1), done.stderr
        assert all("etude sync` will update MLflow" in text for text in warnings)
        assert "Traceback" not in done.stderr
        plan = planned(tmp_path, "ngram")
        assert bits(plan) == bits(alone)
        proxy.reset()
        before = None
        for _ in range(2):
            done = etude("sync", folder=tmp_path)
            assert (done.returncode, done.stdout) == (0, "MLflow is up to date with 1 trial\n"), done.stderr
            found = runs_table(tmp_path)
            assert (found["tags.trial_id"] == plan.trials[0].about()["id"]).sum() == 1
            assert before is None or before.equals(found)
            before = found


@pytest.mark.usefixtures("local")
def test_a_trial_that_was_killed_is_marked_and_ends_in_the_same_run(tmp_path: Path) -> None:
    plan = planned(tmp_path, "e2e")
    (trial,) = plan.trials
    words = ["run", "--scale", "smoke", "--only", "e2e", "--seeds", "1"]
    settings = {"ETUDE_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen([sys.executable, "-m", "etude", *words], cwd=tmp_path, env=os.environ | settings)
    while program.poll() is None and not (trial.folder / "metrics.jsonl").exists():
        pass
    program.kill()
    program.wait()
    with lease(trial.folder / ".lock"):  # waits until its worker has ended too
        assert etude("sync", folder=tmp_path).returncode == 0
        assert runs_table(tmp_path).query("`tags.kind` == 'trial'")["status"].tolist() == ["RUNNING"]
    assert etude("sync", folder=tmp_path).returncode == 0
    (dead,) = runs_table(tmp_path).query("`tags.kind` == 'trial'").to_dict("records")
    assert dead["status"] == "KILLED"
    assert etude(*words, folder=tmp_path).returncode == 0
    (run,) = runs_table(tmp_path).query("`tags.kind` == 'trial'").to_dict("records")
    assert (run["status"], run["run_id"]) == ("FINISHED", dead["run_id"])


@pytest.mark.usefixtures("local")
def test_the_store_of_an_older_mlflow_is_upgraded(tmp_path: Path) -> None:
    uri = database_uri(tmp_path / "mlflow.db")
    InitialBase.metadata.create_all(create_engine(uri))
    config = utils._get_alembic_config(uri)  # type: ignore[no-untyped-call] # MLflow's
    upgrade(config, "acf3f17fdcc7")  # the schema of MLflow 2.11
    assert_synced_in_new_process(tmp_path, finish_trial(trial_in(tmp_path, "old")))


@pytest.mark.usefixtures("local")
def test_the_command_that_upgrades_a_store_finds_its_file(tmp_path: Path, empty_store: Path) -> None:
    root = tmp_path / "a %41?#"
    folder = finish_trial(trial_in(root, "refused"))
    shutil.copy(empty_store, root)
    with (
        of_another_mlflow(root / "mlflow.db"),
        pytest.raises(StoreError, match=r"run `mlflow db upgrade .*`; the results are safe") as caught,
    ):
        Store(root).sync(folder, final=True)
    words = shlex.split(str(caught.value).split("`")[1])
    done = python(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {root.name}


@pytest.mark.usefixtures("local")
def test_a_damaged_file_that_was_moved_away_is_created_again(tmp_path: Path) -> None:
    file, folder = tmp_path / "mlflow.db", finish_trial(trial_in(tmp_path, "damaged"))
    assert_synced_in_new_process(tmp_path, folder)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\xff" * 65536 + content[4096 + 65536 :])
    done = etude("sync", folder=tmp_path)
    assert done.returncode == 2
    assert "move that file away to have a new one made from the run folders" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    file.rename(tmp_path / "away.db")
    assert_synced_in_new_process(tmp_path, folder)


@pytest.mark.usefixtures("local")
def test_a_read_only_folder_gives_a_message_of_one_line(tmp_path: Path) -> None:
    root = tmp_path / "root"
    folder = finish_trial(trial_in(root, "read-only"))
    bind = subprocess.run(["mount", "--bind", root, root], check=False, capture_output=True)
    if bind.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", root], check=True)
        done = etude("sync", "--root", str(root), folder=tmp_path)
    finally:
        subprocess.run(["umount", root], check=True)
    assert done.returncode == 2
    assert "give permission to write there" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert_synced_in_new_process(root, folder)
    assert stored_run(open_store(root), folder) == expected_run(folder)

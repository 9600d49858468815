"""Real tracking stores that fail: training is unaffected, and a later sync makes the store complete."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy

from etude.runner import scheduler
from etude.runner.executors import ProcessExecutor
from etude.runner.plan import prepare
from eval.tracking import logger as live
from eval.tracking.logger import Tracker
from eval.tracking.store import Store, StoreError, open_store
from replication.util.deadline import TimeUpError, time_limit
from replication.util.program import command
from tests.support.small_trials import planned
from tests.support.tcp_proxy import Proxy, proxy_to
from tests.support.tracking_stores import (
    assert_eight_writers_share_a_store,
    assert_recovers_from_cut,
    assert_recovers_from_kill,
    assert_synced,
    assert_synced_in_new_process,
    expected_run,
    finish_trial,
    mlflow_server,
    postgres,
    postgres_programs,
    stored_run,
    trial_in,
)
from tests.support.trial_folders import append

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.support.tracking_stores import Postgres


WHOLE = 250_000  # bytes of a sync to a server


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres | None]:
    """The server's PostgreSQL database, or None for SQLite where PostgreSQL is not installed."""
    if postgres_programs() is None:
        yield None
        return
    with postgres() as started:
        yield started


@pytest.fixture(scope="module")
def server(database: Postgres | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy to an MLflow server."""
    folder = tmp_path_factory.mktemp("server")
    uri = database.uri if database else f"sqlite:///{folder / 'mlflow.db'}"
    with mlflow_server(uri, folder) as port, proxy_to(port) as proxy:
        yield proxy


@pytest.fixture
def proxy(server: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The proxy, with MLFLOW_TRACKING_URI set to it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield server
    server.reset()


@pytest.fixture
def file(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of an empty store for one test."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "root").mkdir()
    shutil.copy(empty_store, tmp_path / "root" / "mlflow.db")
    return tmp_path / "root" / "mlflow.db"


@pytest.mark.parametrize("seed", range(4))
def test_a_sync_to_a_server_that_was_cut_anywhere_is_completed_by_the_next(
    proxy: Proxy, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(seed % 2))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    assert_recovers_from_cut(proxy, tmp_path, seed, whole=WHOLE)


@pytest.mark.parametrize("seed", range(2))
def test_a_sync_to_a_file_that_was_killed_anywhere_is_completed_by_the_next(file: Path, seed: int) -> None:
    assert_recovers_from_kill(file, seed)


def test_eight_writers_that_find_no_store_create_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert_eight_writers_share_a_store(tmp_path)


def test_a_store_that_never_answers_does_not_delay_a_trial(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "600")
    plan = planned(tmp_path, "unigram")
    datasets = prepare(plan)
    proxy.reset()
    proxy.delay = 3600.0
    with Tracker(tmp_path) as tracker:
        assert (
            scheduler.run(plan.trials, datasets, plan.corpus.reading.grid, tracker, executor=ProcessExecutor(workers=1))
            == []
        )
        assert proxy.asked > 0
        assert proxy.answered == 0
        proxy.reset()
    (trial,) = plan.trials
    (run,) = (run for run in Store(tmp_path).runs() if run.data.tags["trial_id"] == trial.about()["id"])
    assert run.info.status == "FINISHED"


def test_a_store_that_dies_and_comes_back_costs_one_warning(
    proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [trial_in(tmp_path, f"outage-{number}") for number in range(2)]
    with Tracker(tmp_path, every=0) as tracker:
        for folder in folders:
            tracker.update(folder)
        until(lambda: not tracker._jobs)
        proxy.cut()
        for folder in folders:
            tracker.update(finish_trial(folder), final=True)
        until(lambda: not tracker._jobs and tracker._down)
        proxy.reset()
        tracker.sync_all([tmp_path / "runs" / "smoke" / "bach"])
        # A job from before the reset may still be failing: after the end of the block, that would end the sync too.
        until(lambda: not tracker._down)
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: MLflow at http://127.0.0.1")
    for folder in folders:
        assert stored_run(open_store(tmp_path), folder) == expected_run(folder)


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def close_stalled(proxy: Proxy, tracker: Tracker, folder: Path) -> None:
    """Leave a tracker's `with` block while every request stalls."""
    proxy.delay = 3600.0
    with tracker:
        tracker.update(folder, final=True)


def test_ctrl_c_stops_waiting_for_a_slow_store(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PATIENCE", 0.1)
    printed: list[str] = []
    monkeypatch.setattr("builtins.print", lambda words, **_: printed.append(words))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def press() -> None:
        until(lambda: bool(printed))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    try:
        close_stalled(proxy, Tracker(tmp_path), finish_trial(trial_in(tmp_path, "left")))
    finally:
        signal.signal(signal.SIGINT, before)
    sync = command("sync", root=tmp_path)
    assert printed == [
        f"Updating MLflow takes a while; press Ctrl-C to stop and run `{sync}` later.",
        f"\nMLflow is not up to date; run `{sync}` to update it.",
    ]


def test_a_deadline_ends_the_wait_for_a_slow_store(proxy: Proxy, tmp_path: Path) -> None:
    with pytest.raises(TimeUpError), time_limit(0.3 / 60):
        close_stalled(proxy, Tracker(tmp_path), finish_trial(trial_in(tmp_path, "late")))


def test_a_sync_during_which_the_database_crashes_is_completed_by_the_next(
    database: Postgres | None, proxy: Proxy, tmp_path: Path
) -> None:
    if database is None:
        pytest.skip("PostgreSQL (Debian: apt install postgresql) or psycopg2 is not installed")
    folder = trial_in(tmp_path, "crash")
    store = open_store(tmp_path)
    store.sync(folder, final=False)
    finish_trial(folder)
    proxy.reset()

    def crash() -> None:
        until(lambda: proxy.passed > WHOLE // 4)
        database.kill()

    crasher = threading.Thread(target=crash)
    crasher.start()
    proxy.delay = 0.05  # slow enough that the crash comes first
    with pytest.raises(StoreError, match=r"`.*etude sync --root .*` will update MLflow"):
        store.sync(folder, final=True)
    crasher.join()
    proxy.reset()
    database.start()
    assert_synced(tmp_path, folder)


@contextmanager
def unwritable(file: Path) -> Iterator[None]:
    """Make a file read-only, for root too."""
    for words in (["chmod", "a-w"], ["chattr", "+i"]):
        if os.access(file, os.W_OK) and subprocess.run([*words, file], check=False, capture_output=True).returncode:
            pytest.skip("root may write to every file of this file system")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", file], check=False, capture_output=True)
        file.chmod(0o644)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Keep a database locked, and shorten the 20 seconds that MLflow waits for it."""

    def hurry(*words: Any) -> tuple[str, object]:  # noqa: ANN401 - SQLAlchemy's
        return words[2].replace("busy_timeout = 20000", "busy_timeout = 50"), words[3]

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", hurry, retval=True)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", hurry)


@contextmanager
def of_another_mlflow(file: Path) -> Iterator[None]:
    """Make a database claim the schema of an older MLflow."""
    with closing(sqlite3.connect(file)) as connection, connection:
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = '1b5f0d9ad7c1'")
    yield
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))


@contextmanager
def damaged(file: Path) -> Iterator[None]:
    """Overwrite the beginning of a database."""
    content = file.read_bytes()
    file.write_bytes(b"\xff" * 4096 + content[4096:])
    yield
    file.write_bytes(content)


FAULTS: dict[Callable[[Path], AbstractContextManager[None]], tuple[str, str]] = {
    unwritable: ("readonly", "give permission to write there"),
    locked: ("database is locked", "end the program that keeps it locked"),
    of_another_mlflow: ("out-of-date database schema", "run `mlflow db upgrade sqlite+pysqlite:///"),
    damaged: ("not a database", "move that file away to have a new one made from the run folders"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=("unwritable", "locked", "of another MLflow", "damaged"))
def test_a_file_that_refuses_gives_one_warning_with_the_remedy(
    fault: Callable[[Path], AbstractContextManager[None]], file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reason, remedy = FAULTS[fault]
    folder = finish_trial(trial_in(file.parent, "refused"))
    with fault(file), Tracker(file.parent) as tracker:
        tracker.update(folder)
        tracker.update(append_one(folder), final=True)
    (warning,) = capfd.readouterr().err.splitlines()
    assert warning.startswith(f"warning: MLflow at {file} does not answer (")
    assert reason in warning
    assert remedy in warning
    sync = command("sync", root=file.parent)
    assert warning.endswith(f"the results are safe in the run folders, and `{sync}` will update MLflow")
    assert_synced_in_new_process(file.parent, folder)


def append_one(folder: Path) -> Path:
    append(folder, range(700, 701))
    return folder

"""Tracking stores that fail, for real: what is trained is not touched, and a sync makes up for all of it, once."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import threading
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy
from line import Line, line_to
from small_trials import planned
from stores import arrived, bring, bring_once, expected, finish, in_process, postgres, postgres_programs, served, shown
from trial_folders import append, make_trial

from eval import engine, live, suite
from eval.deadline import TimeUpError, at_most
from eval.engines import Process
from eval.live import Tracker
from eval.tracking import Store, StoreError, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from stores import Postgres


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres | None]:
    """The database of the server: PostgreSQL where it is installed."""
    if postgres_programs() is None:
        yield None
        return
    with postgres() as started:
        yield started


@pytest.fixture(scope="module")
def server(database: Postgres | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A line to an MLflow server."""
    folder = tmp_path_factory.mktemp("server")
    uri = database.uri if database else f"sqlite:///{folder / 'mlflow.db'}"
    with served(uri, folder) as port, line_to(port) as line:
        yield line


@pytest.fixture
def line(server: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """The same, with the server as the tracking store."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield server
    server.mend()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store with nothing in it, whose making takes seconds."""
    root = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        open_store(root)
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return root / "mlflow.db"


@pytest.fixture
def file(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a store of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "root").mkdir()
    return Path(shutil.copy(template, tmp_path / "root" / "mlflow.db"))


def trial_in(root: Path, name: str) -> Path:
    return make_trial(root / "runs" / "smoke" / "bach" / name)


def assert_brought_anew(root: Path, folder: Path) -> None:
    """Assert in a process of its own what `bring_once` does: this one may hold on to what the file was."""
    process = in_process(bring_once, root, folder)
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize("seed", range(4))
def test_cut_anywhere_and_synced_again_a_server_says_what_the_folder_says(
    line: Line, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trial_in(tmp_path, f"cut-{seed}")
    store = open_store(tmp_path)
    store.sync(folder, final=False)
    finish(folder)
    line.mend()
    # All of it is some 260 kB. With a blip, what was asked is asked again, though it may have been done.
    line.limit, line.blip = int(np.random.default_rng(seed).integers(250_000)), seed % 2 == 1
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(int(line.blip)))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with nullcontext() if line.blip else pytest.raises(StoreError, match="`etude sync` will bring MLflow level"):
        store.sync(folder, final=True)
    line.mend()
    bring_once(tmp_path, folder)


def test_killed_anywhere_and_synced_again_a_file_says_what_the_folder_says(file: Path) -> None:
    random = np.random.default_rng(0)
    for attempt in range(3):
        folder = finish(trial_in(file.parent, f"killed-{attempt}"))
        moment = arrived(file) + random.integers(1, 40)
        process = in_process(bring, file.parent, [folder])
        while process.is_alive() and arrived(file) < moment:  # however slow the machine is
            pass
        process.kill()
        process.join()
        assert_brought_anew(file.parent, folder)


def test_eight_writers_find_no_store_and_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shared = finish(trial_in(tmp_path, "shared"))
    own = [finish(trial_in(tmp_path, f"own-{number}")) for number in range(8)]
    writers = [in_process(bring, tmp_path, [shared, folder]) for folder in own]
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 8
    store = open_store(tmp_path)
    for folder in (shared, *own):
        assert shown(store, folder) == expected(folder)
    assert len(store.runs()) == 9


def test_a_store_that_never_answers_holds_no_trial_up(line: Line, tmp_path: Path) -> None:
    plan = planned(tmp_path, "unigram", seeds=2)
    datasets = suite.prepare(plan)
    line.mend()
    line.delay = 3600.0
    with Tracker(tmp_path) as tracker:
        assert engine.run(plan.trials, datasets, plan.corpus.reading.grid, tracker, engine=Process(workers=1)) == []
        assert line.passed > 0 or not tracker._jobs  # it was asked
        assert line.answered == 0
        line.mend()
    ids = {trial.about()["id"]: "FINISHED" for trial in plan.trials}
    runs = [run for run in Store(tmp_path).runs() if run.data.tags["trial_id"] in ids]
    assert {run.data.tags["trial_id"]: run.info.status for run in runs} == ids
    assert len(runs) == 2


def test_a_store_that_dies_and_comes_back_costs_one_warning(
    line: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [trial_in(tmp_path, f"outage-{number}") for number in range(3)]
    with Tracker(tmp_path, every=0) as tracker:
        for folder in folders:
            tracker.update(folder)
        while tracker._jobs:
            assert tracker._thread.is_alive()
        line.cut()
        for folder in folders:
            tracker.update(finish(folder), final=True)
        line.mend()
        tracker.level([])
    (warning,) = capsys.readouterr().err.splitlines() or ["none, for it was back in time"]
    assert warning.startswith(("warning: MLflow at http://127.0.0.1", "none"))
    for folder in folders:
        bring_once(tmp_path, folder)


def held(line: Line, tracker: Tracker, folder: Path) -> None:
    """Leave a tracker's block while the line is held."""
    line.delay = 3600.0
    with tracker:
        tracker.update(folder, final=True)


def test_ctrl_c_leaves_a_slow_store_behind(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PATIENCE", 0.1)
    told = threading.Event()
    said: list[str] = []

    def say(*words: str, **_: object) -> None:
        said.append(words[0])
        told.set()

    monkeypatch.setattr("builtins.print", say)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def press() -> None:
        told.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    try:
        held(line, Tracker(tmp_path), finish(trial_in(tmp_path, "left")))
    finally:
        signal.signal(signal.SIGINT, before)
    assert said == [
        "Bringing MLflow level takes a while; Ctrl-C leaves it to `etude sync`.",
        "\nMLflow is left behind; `etude sync` brings it level.",
    ]


def test_a_deadline_ends_the_wait_for_a_slow_store(line: Line, tmp_path: Path) -> None:
    with pytest.raises(TimeUpError), at_most(0.3 / 60):
        held(line, Tracker(tmp_path), finish(trial_in(tmp_path, "late")))


def test_a_database_that_crashes_in_the_middle_is_made_up_for(
    database: Postgres | None, line: Line, tmp_path: Path
) -> None:
    if database is None:
        pytest.skip("PostgreSQL (Debian: apt install postgresql) or psycopg2 is not installed")
    folder = trial_in(tmp_path, "crash")
    store = open_store(tmp_path)
    store.sync(folder, final=False)
    finish(folder)
    line.mend()

    def crash_later() -> None:
        wait_for(line, 60_000)
        database.kill()

    crash = threading.Thread(target=crash_later)
    crash.start()
    with pytest.raises(StoreError, match="`etude sync` will bring MLflow level"):
        store.sync(folder, final=True)
    crash.join()
    database.start()
    bring_once(tmp_path, folder)


def wait_for(line: Line, count: int) -> None:
    """Wait until so many bytes have passed, and hold what comes then."""
    while line.passed < count:
        pass
    line.delay = 1.0


@contextmanager
def unwritable(file: Path) -> Iterator[None]:
    """Take away the permission to write to a file, from root too."""
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
    """Keep a database locked, and MLflow from waiting 20 seconds for it."""

    def hurry(*words: Any) -> tuple[str, object]:  # noqa: ANN401 - SQLAlchemy's
        return words[2].replace("busy_timeout = 20000", "busy_timeout = 50"), words[3]

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", hurry, retval=True)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", hurry)


@contextmanager
def of_an_older_mlflow(file: Path) -> Iterator[None]:
    """Have a database say that it was made before the last change of the schema."""
    with closing(sqlite3.connect(file)) as connection, connection:
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = '1b5f0d9ad7c1'")
    yield
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))


@contextmanager
def damaged(file: Path) -> Iterator[None]:
    """Write over the beginning of a database."""
    content = file.read_bytes()
    file.write_bytes(b"\xff" * 4096 + content[4096:])
    yield
    file.write_bytes(content)


FAULTS: dict[Callable[[Path], AbstractContextManager[None]], tuple[str, str]] = {
    unwritable: ("readonly", "give permission to write there"),
    locked: ("database is locked", "end the program that keeps it locked"),
    of_an_older_mlflow: ("out-of-date database schema", "run `mlflow db upgrade sqlite:///"),
    damaged: ("not a database", "move that file away, and it is made anew"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_file_that_refuses_is_told_once_with_the_way_out(
    fault: Callable[[Path], AbstractContextManager[None]], file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reason, remedy = FAULTS[fault]
    folder = finish(trial_in(file.parent, "refused"))
    with fault(file), Tracker(file.parent) as tracker:
        tracker.update(folder)
        tracker.update(append_one(folder), final=True)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("warning: MLflow at sqlite:///")
    assert reason in line
    assert remedy in line
    assert line.endswith("the results are safe in the run folders, and `etude sync` will bring MLflow level")
    assert_brought_anew(file.parent, folder)


def append_one(folder: Path) -> Path:
    append(folder, range(700, 701))
    return folder

"""Real tracking stores for tests (MLflow's server, PostgreSQL) and what a store holds of a trial."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from eval.listening.piano_rolls import save_rolls
from eval.tracking import ui
from eval.tracking.runs import SENDING, SYNCED
from eval.tracking.store import Store, StoreError, open_store
from eval.tracking.summary import summary
from replication.util.files import read_json
from tests.support.pieces import SINGLE, piece
from tests.support.trial_folders import append, end, make_trial, scores_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess

    from tests.support.tcp_proxy import Proxy

SCORES = scores_of(2.3, overflow=math.inf)
PRELOADED = [
    "mlflow.tracking.client",
    "mlflow.store.tracking.sqlalchemy_store",
    "alembic.command",
    "PIL.WebPImagePlugin",
]
SERVER = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@contextmanager
def mlflow_server(uri: str, folder: Path) -> Iterator[int]:
    """Run an MLflow server on a database, with artifacts below `folder`; yield its port."""
    port = ui._free(0)
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", uri, "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | SERVER, stdout=log, stderr=log, start_new_session=True
        )
        try:
            assert ui._answers(process, port), (folder / "server.log").read_text(encoding="utf-8")[-3000:]
            yield port
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A PostgreSQL server of this test run, with its data in `folder`."""

    folder: Path
    programs: Path
    port: int

    @property
    def uri(self) -> str:
        return f"postgresql+psycopg2://etude@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -h 127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "-w", "-D", "data", "-l", "log", "-o", options, "start")

    def kill(self) -> None:
        """Stop at once, as in a crash."""
        self._run("pg_ctl", "-w", "-D", "data", "-m", "immediate", "stop")

    def _run(self, program: str, *words: str) -> None:
        root = not os.getuid()  # PostgreSQL refuses to run as root
        with (self.folder / "said").open("wb") as log:
            subprocess.run(
                [self.programs / program, *words],
                cwd=self.folder,
                check=True,
                stdout=log,
                stderr=log,
                user="nobody" if root else None,
                group=pwd.getpwnam("nobody").pw_gid if root else None,
                extra_groups=[] if root else None,
            )


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, or None if they or psycopg2 are not installed."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    places += [Path(found)] if (found := shutil.which("initdb")) else []
    return places[-1].resolve().parent if places and find_spec("psycopg2") else None


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL server; skip the test if it is not installed."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL (Debian: apt install postgresql) or psycopg2 is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not os.getuid():
            shutil.chown(folder, "nobody")
        database = Postgres(folder=folder, programs=programs, port=ui._free(0))
        database._run("initdb", "-D", "data", "-A", "trust", "-U", "etude", "--no-sync")
        database.start()
        try:
            yield database
        finally:
            database.kill()


def start_process(work: Callable[..., None], *words: object) -> BaseProcess:
    """Start a process that can be killed, forked from a clean one that has imported MLflow."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(
        target=_work_with_uri, args=(os.environ.get("MLFLOW_TRACKING_URI"), work, words), daemon=True
    )
    process.start()
    return process


def _work_with_uri(uri: str | None, work: Callable[..., None], words: tuple[object, ...]) -> None:
    """Call a function with the current tracking URI. The clean process still has the URI of its own start."""
    if uri is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = uri
    work(*words)


def sync_all(root: Path, folders: list[Path]) -> None:
    """Sync trials to the store of a root as `etude sync` does."""
    store = open_store(root)
    for folder in folders:
        store.sync(folder, final=True)


def assert_synced(root: Path, folder: Path) -> None:
    """Assert that after a sync the store equals the trial folder, and that a second sync changes nothing."""
    for _ in range(2):
        store = open_store(root)
        store.sync(folder, final=True)
        assert stored_run(store, folder) == expected_run(folder)


def assert_synced_in_new_process(root: Path, folder: Path) -> None:
    """Assert the same in a new process, because this one may cache an earlier state of a file."""
    process = start_process(assert_synced, root, folder)
    process.join()
    assert process.exitcode == 0


def assert_recovers_from_cut(proxy: Proxy, root: Path, seed: int, *, whole: int) -> None:
    """Assert that the sync after one that was cut anywhere makes the store equal the trial folder.

    Args:
        proxy: Proxy to the server that MLFLOW_TRACKING_URI names.
        root: Root of the project.
        seed: Seed of the moment. A cut with an odd seed is a blip, after which the client retries.
        whole: Number of bytes of an undisturbed sync.
    """
    proxy.reset()
    folder = trial_in(root, f"cut-{seed}")
    store = open_store(root)
    store.sync(folder, final=False)
    proxy.passed = 0
    proxy.limit, proxy.blip = int(np.random.default_rng(seed).integers(whole)), seed % 2 == 1
    with suppress(StoreError):  # no other exception may escape
        store.sync(finish_trial(folder), final=True)
    proxy.reset()
    assert_synced(root, folder)


def assert_recovers_from_kill(file: Path, seed: int) -> None:
    """Assert the same after a process is killed while it syncs to a SQLite file."""
    folder = finish_trial(trial_in(file.parent, f"killed-{seed}"))
    moment = _rows_stored(file) + np.random.default_rng(seed).integers(1, 40)
    process = start_process(sync_all, file.parent, [folder])
    while (
        process.is_alive() and _rows_stored(file) < moment
    ):  # counts rows, so the moment does not depend on the machine's speed
        pass
    process.kill()
    process.join()
    assert_synced_in_new_process(file.parent, folder)


def assert_eight_writers_share_a_store(root: Path) -> None:
    """Assert that eight processes that all find no store create one store, with one run for each trial."""
    shared = finish_trial(trial_in(root, "shared"))
    own = [trial_in(root, f"own-{number}") for number in range(8)]
    writers = [start_process(sync_all, root, [shared, folder]) for folder in own]
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 8
    store = open_store(root)
    assert stored_run(store, shared) == expected_run(shared)
    assert len(store.runs()) == 9


def _rows_stored(file: Path) -> int:
    """Return a measure of progress of a sync to a file: about 40 for a whole trial."""
    count = "SELECT (SELECT count(*) FROM tags) + (SELECT count(*) FROM metrics) / 100 + (SELECT count(*) FROM runs)"
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        (rows,) = connection.execute(count).fetchone()
    return int(rows) + sum(place.is_file() for place in (file.parent / "mlartifacts").rglob("*"))


def trial_in(root: Path, name: str) -> Path:
    """Make a trial folder at its place in a comparison below a root."""
    return make_trial(root / "runs" / "smoke" / "bach" / "e2e" / name)


def finish_trial(folder: Path) -> Path:
    """Complete a trial with one file of every kind that is synced, and more metric points than one batch holds."""
    append(folder, range(3, 700))
    save_rolls([piece(SINGLE)], folder / "roll.png", colour="#000000")
    for name in ("0.mid", "1.mid"):
        (folder / "midi").mkdir(exist_ok=True)
        (folder / "midi" / name).write_bytes(name.encode() * 2000)
    end(folder, scores=SCORES)
    return folder


def expected_run(folder: Path) -> dict[str, Any]:
    """Return what a store must hold of a trial: exactly what its folder holds."""
    about = read_json(folder / "trial.json")
    points = []
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        time, step = int(record.pop("time") * 1000), record.pop("step")
        points += [(key, step, time, repr(value)) for key, value in record.items()]
    for key, value in summary(folder, read_json(folder / "scores.json")).items():
        points.append((key, 0, int(about["ended"] * 1000), repr(_stored_value(value))))
    names = ("trial.json", "metrics.jsonl", "scores.json", "roll.png", "midi/0.mid", "midi/1.mid")
    return {
        "runs": 1,
        "status": about["status"],
        "points": sorted(points),
        "artifacts": {name: (folder / name).read_bytes() for name in names},
        "images": 2,
        "datasets": 1,
        "variant": about["experiment"],
    }


def stored_run(store: Store, folder: Path) -> dict[str, Any]:
    """Return what a store holds of a trial."""
    client = store._connect()
    name = read_json(folder / "trial.json")["id"]
    (run, *more) = client.search_runs([store.experiment], f"tags.trial_id = '{name}'")
    points = [
        (point.key, point.step, point.timestamp, repr(point.value))
        for key in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, key)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        there = Path(client.download_artifacts(run.info.run_id, "", scratch))
        files = {str(file.relative_to(there)): file.read_bytes() for file in there.rglob("*") if file.is_file()}
    assert json.loads(files.pop("environment.json")) == read_json(folder / "trial.json")["environment"]
    images = [files.pop(name) for name in list(files) if name.startswith("images/")]
    return {
        "runs": 1 + len(more),
        "status": run.info.status,
        "points": sorted(points),
        "artifacts": files,
        "images": len(images),
        "datasets": len(run.inputs.dataset_inputs),
        "variant": run.data.params["variant"],
    }


def _stored_value(value: float) -> float:
    return math.nan if math.isinf(value) else value


def runs_table(root: Path) -> pd.DataFrame:
    """Return the runs of a root's store, one row each: `tags.*`, `params.*` and the final values `metrics.*`."""
    return pd.DataFrame([_row(run) for run in Store(root).runs()])


def _row(run: Any) -> dict[str, Any]:  # noqa: ANN401 - MLflow's Run, which only the store imports
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith(("mlflow.", SYNCED, SENDING))}
    groups = {"tags": tags, "params": run.data.params, "metrics": run.data.metrics}
    cells = {f"{group}.{key}": value for group, values in groups.items() for key, value in values.items()}
    return {"run_id": run.info.run_id, "name": run.info.run_name, "status": run.info.status, **cells}

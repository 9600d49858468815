"""Real tracking stores for tests: MLflow's server, PostgreSQL; and what a store says of a trial."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import pwd
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pieces import SINGLE, piece
from trial_folders import append, end

from eval import ui
from eval.rolls import save_rolls
from eval.tracking import Store, open_store
from replication.files import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess

SCORES = {"eval/floor_ratio": 2.3, "nll/nats_per_token": 1.9, "eval/validity": None, "eval/overflow": math.inf}
PRELOADED = [
    "mlflow.tracking.client",
    "mlflow.store.tracking.sqlalchemy_store",
    "alembic.command",
    "PIL.WebPImagePlugin",
]
SERVER = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@contextmanager
def served(uri: str, folder: Path) -> Iterator[int]:
    """Yield the port of an MLflow server over a database, which keeps artifacts below `folder`."""
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
            ui._end(process)


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A PostgreSQL of our own, that stands in `folder`."""

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
        """End it at once, as a crash does."""
        self._run("pg_ctl", "-w", "-D", "data", "-m", "immediate", "stop")

    def _run(self, program: str, *words: str) -> None:
        # It refuses to run as root.
        user: dict[str, Any] = {}
        if not os.getuid():
            user = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
        with (self.folder / "said").open("wb") as log:
            subprocess.run(
                [self.programs / program, *words], cwd=self.folder, check=True, stdout=log, stderr=log, **user
            )


def postgres_programs() -> Path | None:
    """Return where the programs of PostgreSQL are; None without them or the module that speaks to it."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    places += [Path(found)] if (found := shutil.which("initdb")) else []
    return places[-1].resolve().parent if places and find_spec("psycopg2") else None


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Yield a PostgreSQL that runs; skips the test where there is none."""
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


def in_process(work: Callable[..., None], *words: object) -> BaseProcess:
    """Start a process that can be killed, forked from a clean one that has MLflow imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=work, args=words, daemon=True)
    process.start()
    return process


def bring(root: Path, folders: list[Path]) -> None:
    """Bring trials to the store of a root, as `etude sync` does."""
    store = open_store(root)
    for folder in folders:
        store.sync(folder, final=True)


def bring_once(root: Path, folder: Path) -> None:
    """Assert that a sync makes a store say what the folder says, and that another changes nothing."""
    for _ in range(2):
        store = open_store(root)
        store.sync(folder, final=True)
        assert shown(store, folder) == expected(folder)


def arrived(file: Path) -> int:
    """Return a measure of how much has arrived in a store, some 40 for a whole trial."""
    count = "SELECT (SELECT count(*) FROM tags) + (SELECT count(*) FROM metrics) / 100 + (SELECT count(*) FROM runs)"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        (rows,) = connection.execute(count).fetchone()
    return int(rows) + sum(place.is_file() for place in (file.parent / "mlartifacts").rglob("*"))


def finish(folder: Path) -> Path:
    """Give a trial something of all that is shown, and points for more than one batch."""
    append(folder, range(3, 700))
    save_rolls([piece(SINGLE)], folder / "roll.png", colour="#000000")
    for name in ("0.mid", "1.mid"):
        (folder / "midi").mkdir(exist_ok=True)
        (folder / "midi" / name).write_bytes(name.encode() * 2000)
    end(folder, scores=SCORES)
    return folder


def expected(folder: Path) -> dict[str, Any]:
    """Return what a store must say of a trial: no more and no less than its folder."""
    about = read_json(folder / "trial.json")
    points = []
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        time, step = int(record.pop("time") * 1000), record.pop("step")
        points += [(key, step, time, repr(value)) for key, value in record.items()]
    for key, value in read_json(folder / "scores.json").items():
        points.append((key, 0, int(about["ended"] * 1000), repr(_shown(value))))
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


def shown(store: Store, folder: Path) -> dict[str, Any]:
    """Return what a store says of a trial."""
    client = store._connect()
    name = read_json(folder / "trial.json")["id"]
    (run, *more) = client.search_runs([store._experiment], f"tags.trial_id = '{name}'")
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


def _shown(value: float | None) -> float:
    return math.nan if value is None or math.isinf(value) else value

"""Real tracking stores for tests, with MLflow's server and PostgreSQL; and the content that a store has of a trial."""

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
import pytest

from eval.listening.piano_rolls import save_rolls
from eval.tracking import ui
from eval.tracking.store import Store, StoreError, open_store
from replication.util.files import read_json
from tests.support.pieces import SINGLE, piece
from tests.support.trial_folders import append, end, make_trial, scores_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess

    from tests.support.line import Line

SCORES = scores_of(2.3, overflow=math.inf)
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
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


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
        root = not os.getuid()  # as which it refuses to run
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
    process = context.Process(target=_work_with, args=(os.environ.get("MLFLOW_TRACKING_URI"), work, words), daemon=True)
    process.start()
    return process


def _work_with(uri: str | None, work: Callable[..., None], words: tuple[object, ...]) -> None:
    """Call `work` with the present tracking store, since the clean process has that of its start."""
    if uri is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = uri
    work(*words)


def bring(root: Path, folders: list[Path]) -> None:
    """Sync trials to the store of a root, as `etude sync` does."""
    store = open_store(root)
    for folder in folders:
        store.sync(folder, final=True)


def bring_once(root: Path, folder: Path) -> None:
    """Assert that after a sync the store agrees with the folder, and that another sync changes nothing."""
    for _ in range(2):
        store = open_store(root)
        store.sync(folder, final=True)
        assert shown(store, folder) == expected(folder)


def bring_anew(root: Path, folder: Path) -> None:
    """Assert the same in a process of its own, since this one may keep an old state of the file."""
    process = in_process(bring_once, root, folder)
    process.join()
    assert process.exitcode == 0


def cut_and_brought(line: Line, root: Path, seed: int, *, whole: int) -> None:
    """Assert that the next sync completes one that was cut off anywhere on the line to a server.

    Args:
        line: Line to the server that MLFLOW_TRACKING_URI names.
        root: Folder of the project.
        seed: Seed of the moment of the cut. Odd seeds cut the line for a moment, after which requests are repeated.
        whole: Bytes of a sync that is not cut off.
    """
    line.mend()
    folder = trial_in(root, f"cut-{seed}")
    store = open_store(root)
    store.sync(folder, final=False)
    line.passed = 0
    line.limit, line.blip = int(np.random.default_rng(seed).integers(whole)), seed % 2 == 1
    with suppress(StoreError):  # and nothing else
        store.sync(finish(folder), final=True)
    line.mend()
    bring_once(root, folder)


def killed_and_brought(file: Path, seed: int) -> None:
    """Assert the same of a process that is killed while it syncs to a database file."""
    folder = finish(trial_in(file.parent, f"killed-{seed}"))
    moment = _arrived(file) + np.random.default_rng(seed).integers(1, 40)
    process = in_process(bring, file.parent, [folder])
    while process.is_alive() and _arrived(file) < moment:  # however slow the machine is
        pass
    process.kill()
    process.join()
    bring_anew(file.parent, folder)


def eight_writers(root: Path) -> None:
    """Assert that eight processes that find no store create one, with one run per trial."""
    shared = finish(trial_in(root, "shared"))
    own = [trial_in(root, f"own-{number}") for number in range(8)]
    writers = [in_process(bring, root, [shared, folder]) for folder in own]
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 8
    store = open_store(root)
    assert shown(store, shared) == expected(shared)
    assert len(store.runs()) == 9


def _arrived(file: Path) -> int:
    """Return a measure of how much has arrived in a store, some 40 for a whole trial."""
    count = "SELECT (SELECT count(*) FROM tags) + (SELECT count(*) FROM metrics) / 100 + (SELECT count(*) FROM runs)"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        (rows,) = connection.execute(count).fetchone()
    return int(rows) + sum(place.is_file() for place in (file.parent / "mlartifacts").rglob("*"))


def trial_in(root: Path, name: str) -> Path:
    """Make a trial in the folder of a comparison."""
    return make_trial(root / "runs" / "smoke" / "bach" / "e2e" / name)


def finish(folder: Path) -> Path:
    """Finish a trial with something of everything that is shown, and with points for more than one batch."""
    append(folder, range(3, 700))
    save_rolls([piece(SINGLE)], folder / "roll.png", colour="#000000")
    for name in ("0.mid", "1.mid"):
        (folder / "midi").mkdir(exist_ok=True)
        (folder / "midi" / name).write_bytes(name.encode() * 2000)
    end(folder, scores=SCORES)
    return folder


def expected(folder: Path) -> dict[str, Any]:
    """Return what a store must contain of a trial: no more and no less than its folder."""
    about = read_json(folder / "trial.json")
    points = []
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        time, step = int(record.pop("time") * 1000), record.pop("step")
        points += [(key, step, time, repr(value)) for key, value in record.items()]
    scores = read_json(folder / "scores.json")
    final = {"distance": scores["measures"]["distance"]["ratio"], "validity": scores["validity"]}
    final |= {"classifier_auc": scores["measures"]["classifier_auc"]["value"]}
    final |= {"teacher_gap": 0.0, "entropy_gap": 0.0}  # the made-up values are those of real music
    for name, row in scores["measures"].items():
        final |= {f"measures/{name}": row["value"], f"floors/{name}": row["ratio"]}
    points += [(key, 0, int(about["ended"] * 1000), repr(_shown(value))) for key, value in final.items()]
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
    """Return what a store contains of a trial."""
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

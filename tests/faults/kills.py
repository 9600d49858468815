"""Kill the program at seeded random moments and compare its results with those of an undisturbed run.

`python -m tests.faults.kills 60 7` kills 60 times with seed 7: chains of kills, each followed by the same command, then
downloads and the smaller commands. It prints what was in progress at each kill, and exits with code 1 if anything was
lost, half-written, duplicated or left over.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import pandas as pd
import psutil

from replication.corpora.download import CHUNK
from tests.support import small_trials
from tests.support.damage_check import damaged, drafts
from tests.support.http_server import ServedFile, serve
from tests.support.killed_program import STAGES, TRIALS, VICTIMS, Aim, Chain, Kill, Workspace, family_of
from tests.support.program import ROOT, music, python
from tests.support.small_trials import without_times
from tests.support.tracking_stores import runs_table

# Fields that hold times or durations.
TIMES = (*small_trials.TIMES, "started", "ended", "environment", "moves", "seconds")
# Parts of the names of files that hold such numbers. Tables are compared without these fields, figures not at all.
TIMED: tuple[str, ...] = (
    "timing.json",
    "last.safetensors",
    "cost.",
    "pareto.",
    "report.md",
    "index.html",
    "facts.json",
)
TIMED += ("samplers.", ".sha256")
SECONDS = ("fit_seconds", "sample_seconds")
CHAIN = 16  # number of kills after which a chain is finished and compared, and the next one starts from nothing
SLOW = 20.0  # seconds within which a smaller command is killed


def aims(count: int, random: Random, *, victims: tuple[str, ...] = VICTIMS) -> list[Aim]:
    """Return moments for `count` kills, spread over all stages, in the order of the stages."""
    stages = [STAGES[number % len(STAGES)] for number in range(count)]
    return [
        Aim(stage=stage, writing=random.random() < 1 / 2, victim=random.choice(victims))
        for stage in sorted(stages, key=STAGES.index)
    ]


def differences(place: Workspace, reference: Workspace) -> list[str]:
    """Return the differences between a workspace and the reference, without times."""
    ours, theirs = _files(place.folder), _files(reference.folder)
    found = [f"only in one of the two: {name}" for name in sorted(ours.keys() ^ theirs.keys())]
    both = sorted(name for name in ours.keys() & theirs.keys() if not any(timed in name for timed in TIMED))
    found += [f"not the same: {name}" for name in both if _content(ours[name]) != _content(theirs[name])]
    for trial in TRIALS:
        log = place.comparison / trial / "metrics.jsonl"
        steps = [record["step"] for record in without_times(log)]
        if steps != sorted(set(steps)):
            found.append(f"steps of {trial}: {steps}")
    return found + _differences_of_stores(place.folder, reference.folder)


def _files(folder: Path) -> dict[str, Path]:
    places = (path for part in ("runs", "reports") for path in (folder / part).rglob("*"))
    return {path.relative_to(folder).as_posix(): path for path in places if path.is_file()}


def _content(path: Path) -> object:
    """Return the content of a file without times and durations."""
    if path.suffix in {".json", ".jsonl"}:
        return without_times(path, *TIMES)
    if path.name == "trials.csv":
        return pd.read_csv(path).drop(columns=[*SECONDS]).to_csv()
    if path.name in {"trials.parquet", "curves.parquet"}:
        frame = pd.read_parquet(path).drop(columns=[*SECONDS], errors="ignore")
        return frame[~frame["key"].isin(TIMES)].to_csv() if "key" in frame else frame.to_csv()
    return path.read_bytes()


def _differences_of_stores(ours: Path, theirs: Path) -> list[str]:
    """Return the differences between MLflow's runs. Each must be there once, finished, with every point once."""
    found = []
    tables = [runs_table(folder).set_index("name").sort_index() for folder in (ours, theirs)]
    found += [f"in MLflow twice: {name}" for name in tables[0].index[tables[0].index.duplicated()]]
    found += [f"in MLflow {status}: {name}" for name, status in tables[0]["status"].items() if status != "FINISHED"]
    timed = [f"metrics.{name}" for name in TIMES]
    kept = [name for name in tables[1] if name not in {"run_id", *timed} and not name.startswith("metrics.cost/")]
    if not (set(kept) <= set(tables[0]) and tables[0][kept].equals(tables[1][kept])):
        found.append("MLflow's runs are not the same")
    points = [_points(folder / "mlflow.db") for folder in (ours, theirs)]
    found += [
        f"points in MLflow: {name} {points[0][name]} times, not {points[1][name]}"
        for name in points[0].keys() | points[1].keys()
        if points[0][name] != points[1][name]
    ]
    return found


def _points(database: Path) -> Counter[tuple[object, ...]]:
    query = "SELECT name, key, step FROM metrics JOIN runs USING (run_uuid) WHERE lifecycle_stage = 'active'"
    with closing(sqlite3.connect(database)) as connection:
        return Counter(connection.execute(query).fetchall())


def chain(place: Workspace, reference: Workspace, moments: list[Aim], random: Random) -> tuple[list[Kill], list[str]]:
    """Kill at each of the moments, then rerun the command until it succeeds; return the kills and what is wrong."""
    # The declaration has a date, which reports show.
    place.comparison.mkdir(parents=True, exist_ok=True)
    shutil.copy(reference.comparison / "declaration.json", place.comparison)
    killed = Chain(place, random)
    for aim in moments:
        killed.kill(aim)
    wrong = killed.finish()
    return killed.kills, wrong + differences(place, reference)


def kill_and_rerun(place: Workspace, words: tuple[str, ...], random: Random) -> tuple[Kill, list[str]]:
    """Kill a smaller command, without its children, at a random moment, and rerun it."""
    process, until = place.start(*words), time.monotonic() + random.uniform(0, SLOW)
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    family = family_of(process)
    process.kill()
    process.wait()
    whole = damaged(place.folder)
    kill = Kill(stage=words[0], victim="program", drafts=drafts(place.folder), damaged=whole, kept=place.kept())
    place.finish(*words)
    left = psutil.wait_procs(family, timeout=60)[1]
    return kill, [*whole, *(f"still running after {words[0]}: {process}" for process in left)]


def commands(place: Workspace, reference: Workspace, count: int, random: Random) -> tuple[list[Kill], list[str]]:
    """Kill the smaller commands, one after the other, in a workspace whose run has finished."""
    more = ("--scale", "smoke", "--corpus", str(place.corpus), "--seeds")
    rows = (("sync",), ("samplers", *more, "1"), ("export", "bundle.zip", *more, "2", "--only", "ngram"))
    kills, wrong = list[Kill](), list[str]()
    for number in range(count):
        if number % len(rows) == 0:  # so that `sync` has everything to do
            (place.folder / "mlflow.db").unlink()
            shutil.rmtree(place.folder / "mlartifacts")
        kill, faults = kill_and_rerun(place, rows[number % len(rows)], random)
        kills.append(kill)
        wrong += faults
    if count > 1:
        reference.finish(*rows[1])
    if count > 2:
        assert zipfile.ZipFile(place.folder / "bundle.zip").testzip() is None
    wrong += [f"left: {draft}" for draft in drafts(place.folder)]
    return kills, wrong + differences(place, reference)


ROW = """
import os, sys
from replication.corpora import corpus
from replication.corpora.catalogue import Archive, Licence, Published
from etude.cli.main import main
origin = Archive(url=os.environ["URL"], file="served.zip", checksum=os.environ["CHECKSUM"])
source = Published(pack="served", origin=origin, members="(.*)", files=1, content=None)
licence = Licence(name="CC0-1.0", note="", consent=False)
corpus.CORPORA["served"] = corpus.Corpus(name="served", title="", licence=licence, citation="", source=source)
main()
"""


def downloads(folder: Path, count: int, random: Random) -> tuple[list[Kill], list[str]]:
    """Kill `etude corpus fetch` repeatedly while it downloads; the next call downloads the whole file."""
    kills, wrong = list[Kill](), list[str]()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.mid", random.randbytes(4 * 2**20))
    body, path = archive.getvalue(), folder / "downloads" / "served.zip"

    def part() -> int:
        """Return the size of the file that a download is written to."""
        return max((file.stat().st_size for file in path.parent.glob(f".{path.name}-*/{path.name}")), default=0)

    with serve(ServedFile(body=body)) as served:
        checksum = f"sha256:{hashlib.sha256(body).hexdigest()}"
        settings = {"PYTHONPATH": str(ROOT), "ETUDE_DATA": "", "ETUDE_CACHE": str(folder), "NO_PROXY": "127.0.0.1"}
        settings |= {"URL": served.url, "CHECKSUM": checksum}
        command = [sys.executable, "-c", ROW, "corpus", "fetch", "served"]
        for stop in sorted(random.randrange(CHUNK, len(body)) for _ in range(count)):
            served.stop_after, served.go_on = stop, threading.Event()
            with subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.DEVNULL) as process:
                while len(served.requests) == len(kills) or part() < stop - 2 * CHUNK:
                    assert process.poll() is None
                    time.sleep(0.001)
                process.kill()
            served.go_on.set()
            if path.exists():
                wrong.append(f"{path} is there after a killed download")
            kills.append(Kill(stage="download", victim="program", drafts=[], damaged=[], kept={}))
        served.stop_after = len(body)
        subprocess.run(command, env=os.environ | settings, check=True, stdout=subprocess.DEVNULL)
    if path.read_bytes() != body or part():
        wrong.append("the download is not what is served")
    return kills, wrong


def show(kills: list[Kill]) -> None:
    """Print the number of kills at each stage and their victims."""
    print(f"{'in progress':12} {'kills':>5} {'writing':>7}  killed")
    for stage in dict.fromkeys(kill.stage for kill in kills):
        own = [kill for kill in kills if kill.stage == stage]
        victims = Counter(kill.victim for kill in own)
        writing = sum(bool(kill.drafts) for kill in own)
        print(f"{stage:12} {len(own):5} {writing:7}  " + ", ".join(f"{name} {n}" for name, n in victims.items()))
    files = Counter(Path(draft).name.removeprefix(".").rsplit("-", 1)[0] for kill in kills for draft in kill.drafts)
    print("half-written when killed:", ", ".join(f"{name} {n}" for name, n in files.most_common()) or "nothing")


def main(count: int, seed: int) -> int:
    """Kill `count` times; return the exit code."""
    random, kills, wrong = Random(seed), list[Kill](), list[str]()
    at_runs = count * 4 // 5
    at_downloads = (count - at_runs) // 2

    def tell(part: str, found: tuple[list[Kill], list[str]]) -> None:
        kills.extend(found[0])
        wrong.extend(found[1])
        print(f"{part}: {len(found[0])} kills, {len(found[1])} faults", *found[1], sep="\n  ", flush=True)

    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        reference = Workspace(folder=base / "reference", corpus=music(base, 40))
        reference.finish()
        for start in range(0, at_runs, CHAIN):
            place = Workspace(folder=base / f"killed-{start}", corpus=reference.corpus)
            tell(place.folder.name, chain(place, reference, aims(min(CHAIN, at_runs - start), random), random))
            done = python("reports", "--check", "reports/output", folder=place.folder)
            tell("the report", ([], [done.stdout] if done.returncode else []))
        tell("downloads", downloads(base / "cache", at_downloads, random))
        tell("commands", commands(place, reference, count - at_runs - at_downloads, random))
    show(kills)
    print(f"{len(kills)} kills, {len(wrong)} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))

"""Plans of small real trials, ways to run them, and digests of their results."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from etude.runner import scheduler
from etude.runner.plan import find_corpus, make_plan, prepare
from etude.runner.worker import Task, work
from eval.tracking.logger import Tracker
from replication.midi.piece import PAPER_GRID
from replication.tokens.encodings import encoding_on
from replication.util.files import sha256
from replication.util.locks import lease
from replication.windows.prepared import prepare as prepare_windows
from tests.support.program import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.executors import Executor
    from etude.runner.plan import Plan
    from etude.trial.trial import Trial
    from replication.windows.prepared import Dataset

ONE_THREAD = os.cpu_count() or 1  # with this number of workers each has one thread
TIMED = {"trial.json", "timing.json", "last.safetensors"}  # files that hold times or durations
VARYING = re.compile(r'"(time|checksum|train/seconds|system/peak_memory_mb|cost/\w+_seconds)": [^,}\n]*,?')
TIMES = ("time", "train/seconds", "system/peak_memory_mb", "checksum")


def planned(root: Path, *names: str, seeds: int = 1, steps: int = 60) -> Plan:
    """Return a plan of experiments at the smoke scale with `steps` training steps."""
    plan = make_plan(scale="smoke", only=names, seeds=seeds, root=root)
    budget = replace(plan.scale.budget, steps=steps, milestones=(steps // 5, 2 * steps // 5))
    return replace(plan, scale=replace(plan.scale, budget=budget))


def run(plan: Plan, place: Executor) -> list[Trial]:
    """Run the trials of a plan on an engine; return those that failed."""
    with Tracker(plan.root) as tracker:
        return scheduler.run(plan.trials, prepare(plan), plan.corpus.reading.grid, tracker, executor=place)


def task(trial: Trial, root: Path) -> Task:
    """Return the task of a trial with one thread. Prepares its windows if necessary."""
    return Task(trial=trial, windows=windows(trial, root).folder, grid=PAPER_GRID, threads=1)


def windows(trial: Trial, root: Path) -> Dataset:
    """Return the windows of a trial."""
    encoding = encoding_on(trial.experiment.encoding, PAPER_GRID)
    return prepare_windows(find_corpus(trial.corpus), encoding, trial.scale.cutting, cache=root / "runs" / "cache")


def run_here(plan: Plan) -> None:
    """Run the trials of a plan in this process one by one. Every engine must give the same results."""
    for trial in plan.trials:
        work(task(trial, plan.root))


# Runs the program with SIGINT enabled, because a shell that starts tests in the background ignores it.
HEEDS_CTRL_C = """
import signal
from etude.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


def interrupt(plan: Plan, *words: str) -> None:
    """Start the program on a plan's only trial, press Ctrl-C during training, and assert that it stops."""
    (trial,) = plan.trials
    command = ["run", "--scale", plan.scale.name, "--only", trial.experiment.name, "--seeds", "1", *words]
    program = subprocess.Popen(
        [sys.executable, "-c", HEEDS_CTRL_C, *command],
        cwd=plan.root,
        env=os.environ | {"PYTHONPATH": str(ROOT), "ETUDE_CACHE": str(plan.root / "cache")},
        stderr=subprocess.PIPE,
        text=True,
    )
    while program.poll() is None and not (trial.folder / "metrics.jsonl").exists():
        time.sleep(0.01)
    program.send_signal(signal.SIGINT)
    error = program.communicate()[1]
    assert program.returncode == 130, error
    assert "Interrupted; run the same command again to resume from the last checkpoint." in error
    with lease(trial.folder / ".lock", heartbeat=1.0):  # no worker holds the lock
        assert not trial.is_done()


def bits(plan: Plan) -> dict[str, list[str]]:
    """Return the hashes of the weights and samples of every trial of a plan."""
    return {
        trial.name: [sha256(trial.weights), sha256(trial.folder / "samples.npz"), sha256(trial.folder / "samples.txt")]
        for trial in plan.trials
    }


def without_times(path: Path, *more: str) -> list[dict[str, Any]]:
    """Return the objects of a JSON or JSON lines file without times, durations and the fields named in `more`."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    objects = map(json.loads, text.splitlines() if path.suffix == ".jsonl" else [text] * bool(text))
    return [
        {name: value for name, value in one.items() if name not in (*TIMES, *more) and not name.startswith("cost/")}
        for one in objects
    ]


def results(root: Path, pattern: str = "runs/smoke/*/*/*/**/*") -> dict[str, str]:
    """Return the hashes of all files of trials below a folder that must be equal in every run, without times."""
    found = {}
    for path in sorted(root.glob(pattern)):
        name = path.relative_to(root)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and path.suffix != ".sha256" and path.name not in TIMED:
            content = path.read_bytes()
            if path.suffix in {".json", ".jsonl"}:
                content = VARYING.sub("", content.decode()).encode()
            found[str(name)] = hashlib.sha256(content).hexdigest()
    return found

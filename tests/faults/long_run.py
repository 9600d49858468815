"""Run small trials for a long time in one process and check that no resource grows.

`python -m tests.faults.long_run 30 engine` runs them for 30 minutes in worker processes, as `etude run` does. `here`
runs them in this process, which also shows what a worker would release by ending. Resources are measured after each
round, when no trial is running. The Theil-Sen slope gives what 100 trials add. The first rounds, in which libraries
fill their caches, do not count.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from etude.runner import scheduler
from etude.runner.executors import ProcessExecutor
from etude.runner.plan import make_plan, prepare
from etude.runner.worker import Task, work
from eval.tracking.logger import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from etude.runner.plan import Plan
    from replication.windows.prepared import Dataset

ROOT = Path(__file__).parents[2]
NAMES = ("e2e", "gaussian", "autoregressive", "ngram", "pitches-permuted")
WARM_UP = 0.2  # share of the rounds that do not count
MOST = {"memory": 1.0, "helpers": 1.0}  # megabytes that 100 trials may add
MOST_COUNT = 0.5  # number of files, threads or processes that 100 trials may add


@dataclass(frozen=True, kw_only=True)
class Held:
    """Resources held after a number of trials.

    Attributes:
        trials: Number of trials so far.
        memory: Private megabytes of this process. Memory mapped from files is left out, as the system may drop it.
        helpers: Private megabytes of its child processes.
        processes: Number of this process and its children.
        files: Number of open files of all these processes.
        threads: Number of threads of all these processes.
        shared: Number of files in shared memory, for the whole machine.
        temporary: Number of files in the temporary folder, which no other program uses.
    """

    trials: int
    memory: float
    helpers: float
    processes: int
    files: int
    threads: int
    shared: int
    temporary: int


def rounds(root: Path, *, here: bool, names: Sequence[str] = NAMES) -> Iterator[Held]:
    """Run rounds of new trials below `root`, remove their folders, and yield the resources held after each round."""
    done = 0
    for number in range(sys.maxsize):
        plan = _plan(root, names, seed=number)
        datasets = prepare(plan)
        with Tracker(root) as tracker:
            (_run_here if here else _run)(plan, datasets, tracker)
        done += len(plan.trials)
        assert all(trial.is_done() for trial in plan.trials)
        shutil.rmtree(plan.comparison)
        yield _held(done)


def _plan(root: Path, names: Sequence[str], *, seed: int) -> Plan:
    """Return a plan of the smallest real trials. A new seed makes them new to the tracking store too."""
    plan = make_plan(scale="smoke", only=names, root=root)
    budget = replace(plan.scale.budget, steps=4, log_every=1, validate_every=2, checkpoint_every=2)
    experiments = tuple(replace(experiment, seeds=(seed,)) for experiment in plan.experiments)
    return replace(plan, scale=replace(plan.scale, budget=budget, samples=16), experiments=experiments)


def _run(plan: Plan, datasets: dict[str, Dataset], tracker: Tracker) -> None:
    place = ProcessExecutor(workers=2)
    assert scheduler.run(plan.trials, datasets, plan.corpus.reading.grid, tracker, executor=place) == []


def _run_here(plan: Plan, datasets: dict[str, Dataset], tracker: Tracker) -> None:
    grid = plan.corpus.reading.grid
    for trial in plan.trials:
        work(Task(trial=trial, windows=datasets[trial.experiment.encoding].folder, grid=grid, threads=1))
        tracker.update(trial.folder, final=True)


def _held(trials: int) -> Held:
    gc.collect()  # garbage is not a leak
    ours = psutil.Process()
    helpers = ours.children(recursive=True)
    return Held(
        trials=trials,
        memory=_own(ours),
        helpers=sum(map(_own, helpers)),
        processes=1 + len(helpers),
        files=sum(each.num_fds() for each in (ours, *helpers)),
        threads=sum(each.num_threads() for each in (ours, *helpers)),
        shared=sum(1 for _ in Path("/dev/shm").glob("*")),  # noqa: S108 - looked at only
        temporary=sum(1 for _ in Path(tempfile.gettempdir()).iterdir()),
    )


def _own(process: psutil.Process) -> float:
    memory = process.memory_info()
    return float(memory.rss - memory.shared) / 1e6


def slopes(held: Sequence[Held]) -> dict[str, float]:
    """Return what 100 trials add to each resource: the median of the slopes between any two rounds."""
    rows = [asdict(each) for each in held[int(WARM_UP * len(held)) :]]
    first, second = np.triu_indices(len(rows), 1)
    columns = {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}
    trials = columns.pop("trials")
    run = trials[second] - trials[first]
    return {name: float(np.median((values[second] - values[first]) / run)) * 100 for name, values in columns.items()}


def grown(found: dict[str, float]) -> list[str]:
    """Return the names of the resources that grow."""
    return [name for name, slope in found.items() if slope >= MOST.get(name, MOST_COUNT)]


def watch(root: Path, minutes: float, *, here: bool) -> int:
    """Run for some minutes, print the resources held, and return 1 if one grew."""
    _print([field.name for field in fields(Held)])
    held, end = list[Held](), time.monotonic() + minutes * 60
    for each in rounds(root, here=here):
        held.append(each)
        _print([f"{value:.1f}" if isinstance(value, float) else value for value in asdict(each).values()])
        if time.monotonic() > end:
            break
    found = slopes(held)
    _print(["per 100", *(f"{slope:+.2f}" for slope in found.values())])
    print(f"{held[-1].trials} trials in {len(held)} rounds; what grows: {', '.join(grown(found)) or 'nothing'}")
    return 1 if grown(found) else 0


def _print(cells: Sequence[object]) -> None:
    print("".join(f"{cell!s:>11}" for cell in cells), flush=True)


def main(minutes: str = "30", mode: str = "engine", scratch: str = "") -> int:
    """Watch in a child process that has a temporary folder of its own."""
    if scratch:
        return watch(Path(scratch) / "root", float(minutes), here=mode == "here")
    with tempfile.TemporaryDirectory(prefix="etude-") as folder:
        own = {"TMPDIR": folder, "ETUDE_CACHE": f"{folder}/cache", "PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-m", "tests.faults.long_run", minutes, mode, folder]
        return subprocess.run(words, env=os.environ | own, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

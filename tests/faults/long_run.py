"""Small trials for as long as one likes, in one process: does anything grow?

`python tests/faults/long_run.py 30 engine` runs them as `etude run` does, on processes of their own; `here` runs them
in this process itself, where also what workers take with them at their end would show. After each round, when no trial
is running, it looks at what is held. Theil and Sen's slope says what is added in 100 trials; the first rounds, in which
libraries fill their caches, do not count.
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

from etude.runner import plan as suite
from etude.runner import scheduler
from etude.runner.executors import ProcessExecutor
from etude.runner.worker import Task, work
from eval.tracking.logger import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from etude.runner.plan import Plan
    from replication.windows.prepared import Dataset

ROOT = Path(__file__).parents[2]
NAMES = ("e2e", "gaussian", "autoregressive", "ngram", "pitches-permuted")
WARM_UP = 0.2  # share of the rounds
MOST = {"memory": 1.0, "helpers": 1.0}  # megabytes that 100 trials may add
MOST_COUNT = 0.5  # files, threads, processes that they may


@dataclass(frozen=True, kw_only=True)
class Held:
    """What is held after some trials.

    Attributes:
        memory: megabytes of this process's own; what is mapped from files, the system takes away and gives as it likes.
        helpers: megabytes of the processes that it has started.
        files: open ones, of this process and of the helpers.
        threads: the same.
        shared: files in shared memory, of the whole machine.
        temporary: files in the folder for temporary ones, which is this run's own.
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
    """Run round after round of fresh trials below `root`, whose folders are removed; yield what is held after each."""
    done = 0
    for number in range(sys.maxsize):
        plan = _plan(root, names, seed=number)
        datasets = suite.prepare(plan)
        with Tracker(root) as tracker:
            (_run_here if here else _run)(plan, datasets, tracker)
        done += len(plan.trials)
        assert all(trial.is_done() for trial in plan.trials)
        shutil.rmtree(plan.comparison)
        yield _held(done)


def _plan(root: Path, names: Sequence[str], *, seed: int) -> Plan:
    """Return a plan of the smallest real trials, with a seed of their own, so that they are new to the store too."""
    plan = suite.plan(scale="smoke", only=names, root=root)
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
    gc.collect()  # what only waits for it is not lost
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
    """Return what is added to each quantity in 100 trials: the median of the slopes between any two rounds."""
    rows = [asdict(each) for each in held[int(WARM_UP * len(held)) :]]
    first, second = np.triu_indices(len(rows), 1)
    columns = {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}
    trials = columns.pop("trials")
    run = trials[second] - trials[first]
    return {name: float(np.median((values[second] - values[first]) / run)) * 100 for name, values in columns.items()}


def grown(found: dict[str, float]) -> list[str]:
    """Return the names of what grows."""
    return [name for name, slope in found.items() if slope >= MOST.get(name, MOST_COUNT)]


def watch(root: Path, minutes: float, *, here: bool) -> int:
    """Run for so long, print what was held and return 1 if something grew."""
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
    """Watch, in a process whose folder for temporary files nothing else uses and which is removed afterwards."""
    if scratch:
        return watch(Path(scratch) / "root", float(minutes), here=mode == "here")
    with tempfile.TemporaryDirectory(prefix="etude-") as folder:
        own = {"TMPDIR": folder, "ETUDE_CACHE": f"{folder}/cache", "PYTHONPATH": str(ROOT)}
        words = [sys.executable, __file__, minutes, mode, folder]
        return subprocess.run(words, env=os.environ | own, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""The study of samplers: the weights of finished trials, drawn from by every sampler at several costs.

A sampler needs no training, so one set of weights tells them apart: the start of sample i is the same for all. Every
result is a file of its own in the trial's folder, named by all that it depends on; those that are there are not made
again, and none takes the place of the trial's own samples.
"""

from __future__ import annotations

import functools
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from etude.runner import plan as suite
from etude.runner.comparison import at_chosen
from etude.runner.executors import PRELOADED, end_with_parent
from etude.runner.threads import threads_of
from etude.runner.tuning import TUNED
from eval.results.sampler_study import EVALUATIONS, sampler_of, sampler_paths
from replication.diffusion.samplers import Ancestral
from replication.util.errors import UserError
from replication.util.files import sha256, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.plan import Plan
    from etude.trial.trial import Trial
    from eval.scoring.reference import ReferenceSet
    from replication.midi.piece import Grid
    from replication.training.scales import Scale


class Task(NamedTuple):
    """One result to make: a trial drawn from by a row at a number of evaluations, on the windows in a folder."""

    trial: Trial
    row: str
    evaluations: int
    windows: Path
    grid: Grid
    path: Path
    threads: int


def study(plan: Plan, *, workers: int) -> None:
    """Make every result that is not there, of every finished trial of the embedding arms, `workers` at a time.

    Raises:
        UserError: if no such trial is finished, or one was made with another configuration.
    """
    plan = at_chosen(plan)
    datasets = {name: suite.windows(plan, name) for name in plan.encodings}
    trials, tasks = [], []
    for trial in plan.trials:
        if trial.experiment.name not in TUNED or not trial.exists():
            continue
        windows = datasets[trial.experiment.encoding]
        if trial.check(windows):
            trials.append(trial)
            weights = sha256(trial.weights)
            places = sampler_paths(trial.folder, weights, windows.digest, trial.scale.timesteps, trial.scale.samples)
            tasks += [
                Task(trial, *key, windows.folder, plan.corpus.reading.grid, path, threads_of(workers))
                for key, path in places.items()
                if not path.exists()
            ]
    if not trials:
        raise UserError(f"{plan.comparison} holds no finished trial of {', '.join(TUNED)}: run `etude run` first")
    # What all are held against first, then what is cheap, so that a study that is cut short can be read.
    tasks.sort(key=lambda task: (task.evaluations <= max(EVALUATIONS), task.evaluations))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)
    try:
        for number, done in enumerate(as_completed([pool.submit(measure, task) for task in tasks]), 1):
            print(f"[{number}/{len(tasks)}] {done.result()}", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)


def measure(task: Task) -> str:
    """Draw the samples, hold them against the held-out split, write what was found; return a line about it."""
    import numpy as np
    import torch

    from etude.trial.workbench import Workbench
    from eval.scoring.measures import DISTANCE
    from eval.scoring.sample_set import read
    from replication.windows.prepared import open_windows

    torch.set_num_threads(task.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sampler = sampler_of(task.row, task.evaluations)
    # Only what is built is of another scale: the folder, its weights and its samples are the trial's.
    drawn = replace(task.trial, scale=replace(task.trial.scale, sampler=sampler))
    bench = Workbench(trial=drawn, dataset=open_windows(task.windows), grid=task.grid, device=device)
    model = bench.trained()
    # Compiling is no cost of sampling.
    quick = replace(drawn, scale=replace(drawn.scale, sampler=Ancestral(steps=1)))
    replace(bench, trial=quick).trained().sample(range(1), seed=drawn.seed)
    since = time.perf_counter()
    tokens = model.sample(range(drawn.scale.samples), seed=drawn.seed).numpy().astype(np.uint16)
    seconds = time.perf_counter() - since
    music = read(tokens, bench.encoding)
    judge = _judge(task.windows, drawn.experiment.encoding, task.grid, task.trial.scale, drawn.comparison)
    measures = judge.compare(music)[1].set_index("measure")
    values = measures["value"]
    found = {
        "distance": float(measures.loc[DISTANCE, "ratio"]),
        "classifier_auc": float(values["classifier_auc"]),
        "validity": float(music.valid.mean()),
        "entropy": float(values["token_entropy"]),
        "seconds": seconds,
    }
    write_json(task.path, {"sampler": task.row, "evaluations": task.evaluations, **found})
    worth = f"{found['distance']:.2f} floors, {found['validity']:.0%} valid"
    return f"{drawn.name}, {task.row} at {task.evaluations}: {worth}, {seconds:.0f} s"


@functools.lru_cache(maxsize=1)
def _judge(windows: Path, encoding: str, grid: Grid, scale: Scale, comparison: Path) -> ReferenceSet:
    """Return the judge of a comparison, once per process."""
    from eval.scoring.reference import ReferenceSet
    from replication.tokens.encodings import encoding_on
    from replication.windows.prepared import open_windows

    return ReferenceSet.of(open_windows(windows), encoding_on(encoding, grid), scale, comparison=comparison)

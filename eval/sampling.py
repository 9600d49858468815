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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from eval import suite
from eval.engines import PRELOADED, end_with_parent, threads_of
from eval.panel import scoring
from eval.preliminaries import at_chosen
from eval.tuning import TUNED
from replication.errors import UserError
from replication.files import digest, read_json, sha256, write_json
from replication.rounding import AsPredicted, Expectation, Nearest
from replication.samplers import DDIM, Ancestral, DPMSolver, Euler, Renoised
from replication.schedule import Sqrt
from replication.selection import MinimumBayesRisk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from eval.judge import Judge
    from eval.suite import Plan
    from eval.trial import Trial
    from replication.piece import Grid
    from replication.samplers import Sampler
    from replication.scales import Scale

EDITION = 1  # raise it when a sampler comes to draw other samples, or a result to mean something else
EVALUATIONS = (10, 20, 50, 100, 200)
REFERENCE = "ancestral"  # the published sampler, which is measured at all timesteps too
CANDIDATES = 5  # as many as divide all evaluations
FOUND = ("sampler", "evaluations", "distance", "c2st", "validity", "entropy", "seconds")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of `SAMPLERS`.

    Attributes:
        name: for files and tables of numbers.
        label: for people.
        sampler: makes one of so many network evaluations.
        colour: of its line: samplers that differ in rounding alone share it.
        dashes: of its line, as matplotlib names them.
    """

    name: str
    label: str
    sampler: Callable[[int], Sampler]
    colour: str
    dashes: str = "-"


SAMPLERS: tuple[Row, ...] = (
    Row(name=REFERENCE, label="Ancestral, as published", sampler=lambda n: Ancestral(steps=n), colour="#0072B2"),
    Row(
        name="ancestral-rebuilt",
        label="Ancestral, schedule rebuilt",
        sampler=lambda n: Ancestral(steps=n, rebuilt=Sqrt()),
        colour="#56B4E9",
    ),
    Row(
        name="ancestral-late",
        label="Ancestral, rounded in the last half",
        sampler=lambda n: Ancestral(steps=n, rounding=Nearest(last=0.5)),
        colour="#0072B2",
        dashes="--",
    ),
    Row(
        name="ancestral-expectation",
        label="Ancestral, mean embedding",
        sampler=lambda n: Ancestral(steps=n, rounding=Expectation()),
        colour="#0072B2",
        dashes="-.",
    ),
    Row(
        name="ancestral-unrounded",
        label="Ancestral, unrounded",
        sampler=lambda n: Ancestral(steps=n, rounding=AsPredicted()),
        colour="#0072B2",
        dashes=":",
    ),
    Row(name="renoised", label="Re-noised", sampler=lambda n: Renoised(steps=n), colour="#D55E00"),
    Row(
        name="renoised-unrounded",
        label="Re-noised, unrounded",
        sampler=lambda n: Renoised(steps=n, rounding=AsPredicted()),
        colour="#D55E00",
        dashes=":",
    ),
    Row(
        name="ddim",
        label="DDIM",
        sampler=lambda n: DDIM(steps=n, rounding=AsPredicted()),
        colour="#009E73",
    ),
    Row(
        name="dpm-solver",
        label="DPM-Solver++(2M)",
        sampler=lambda n: DPMSolver(steps=n, rounding=AsPredicted()),
        colour="#CC79A7",
    ),
    Row(name="euler", label="Euler", sampler=lambda n: Euler(steps=n, rounding=AsPredicted()), colour="#8A6D00"),
    Row(
        name="renoised-mbr",
        label=f"Re-noised, best of {CANDIDATES} (MBR)",
        sampler=lambda n: MinimumBayesRisk(sampler=Renoised(steps=n // CANDIDATES), candidates=CANDIDATES),
        colour="#332288",
    ),
)


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
            places = _paths(trial.folder, weights, windows.digest, trial.scale.timesteps, trial.scale.samples)
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


def sampler_of(row: str, evaluations: int) -> Sampler:
    """Return the sampler of a row of `SAMPLERS` at a number of evaluations."""
    return next(one.sampler for one in SAMPLERS if one.name == row)(evaluations)


def measure(task: Task) -> str:
    """Draw the samples, hold them against the held-out split, write what was found; return a line about it."""
    import numpy as np
    import torch

    from eval.floors import MEAN
    from eval.music import read
    from eval.stages import Workbench
    from replication.data import open_windows

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
    distances, panel = judge.compare(music)
    values = panel.set_index("measure")["value"]
    found = {
        "distance": float(distances.loc[MEAN, "ratio"]),
        "c2st": float(values["c2st"]),
        "validity": float(music.valid.mean()),
        "entropy": float(values["token_entropy"]),
        "seconds": seconds,
    }
    write_json(task.path, {"sampler": task.row, "evaluations": task.evaluations, **found})
    worth = f"{found['distance']:.2f} floors, {found['validity']:.0%} valid"
    return f"{drawn.name}, {task.row} at {task.evaluations}: {worth}, {seconds:.0f} s"


@functools.lru_cache(maxsize=1)
def _judge(windows: Path, encoding: str, grid: Grid, scale: Scale, comparison: Path) -> Judge:
    """Return the judge of a comparison, once per process."""
    from eval.judge import Judge
    from replication.data import open_windows
    from replication.encodings import encoding_on

    return Judge.of(open_windows(windows), encoding_on(encoding, grid), scale, comparison=comparison)


def _paths(folder: Path, weights: str, data: str, timesteps: int, samples: int) -> dict[tuple[str, int], Path]:
    """Return where the results of a trial lie, by row and evaluations: other weights or samplers have other names."""
    made_of = (EDITION, scoring(), weights, data, samples)
    keys = [(row.name, n) for row in SAMPLERS for n in EVALUATIONS if n <= timesteps] + [(REFERENCE, timesteps)]
    return {
        (row, n): folder / "samplers" / f"{row}-{n}-{digest(*made_of, sampler_of(row, n))[:16]}.json"
        for row, n in dict.fromkeys(keys)
    }


def sampler_rows(folder: Path) -> pd.DataFrame | None:
    """Return what the study found of the weights that a trial's scores name: the columns of FOUND; None if nothing."""
    import pandas as pd

    if not (folder / "samplers").exists():
        return None
    config: dict[str, Any] = read_json(folder / "trial.json")["config"]
    scale = config["scale"]
    weights = read_json(folder / "scores.json").get("weights", "")  # by name: a report needs none of them
    paths = _paths(folder, weights, config["data"], scale["timesteps"], scale["samples"]).values()
    rows = [read_json(path) for path in paths if path.exists()]
    return pd.DataFrame(rows, columns=list(FOUND)) if rows else None

"""Compare samplers: draw from the weights of finished trials with every sampler at several costs.

A sampler needs no training, so one set of weights tells samplers apart: sample i starts from the same noise for all of
them. Each result is a file in the trial's folder, named by everything that it depends on. Existing results are kept,
and none replaces the trial's own samples.
"""

from __future__ import annotations

import functools
import time
from concurrent.futures import as_completed
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from etude.runner.comparison import at_chosen
from etude.runner.executors import PRELOADED, threads_per_worker
from etude.runner.plan import windows
from etude.runner.tuning import TUNED
from eval.results.sampler_study import EVALUATIONS, sampler_of, sampler_paths
from replication.diffusion.samplers import Ancestral
from replication.util.errors import UserError
from replication.util.files import sha256, write_json
from replication.util.processes import process_pool
from replication.util.program import command

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.plan import Plan
    from etude.trial.trial import Trial
    from eval.scoring.reference import ReferenceSet
    from replication.midi.piece import TimeGrid
    from replication.training.scales import Scale


class Measurement(NamedTuple):
    """A result to compute: samples of a trial by one sampler.

    Attributes:
        trial: Finished trial whose weights are used.
        row: Name of the sampler in `SAMPLERS`.
        evaluations: Number of evaluations of the network per sample.
        windows: Folder of the trial's prepared windows.
        grid: Time grid of the corpus.
        path: File that the result is written to.
        threads: Number of threads to compute with.
    """

    trial: Trial
    row: str
    evaluations: int
    windows: Path
    grid: TimeGrid
    path: Path
    threads: int


def study(plan: Plan, *, workers: int) -> None:
    """Compute the missing results of every finished trial of the embedding arms, `workers` at a time.

    Raises:
        UserError: If no such trial is finished, or one was made with another configuration.
    """
    datasets = {name: windows(plan, name) for name in plan.encodings}
    trials, tasks = [], []
    for trial in at_chosen(plan):
        if trial.experiment.name not in TUNED or not trial.exists():
            continue
        dataset = datasets[trial.experiment.encoding]
        if trial.check(dataset):
            trials.append(trial)
            weights = sha256(trial.weights)
            places = sampler_paths(trial.folder, weights, dataset.digest, trial.scale.timesteps, trial.scale.samples)
            tasks += [
                Measurement(trial, *key, dataset.folder, plan.corpus.reading.grid, path, threads_per_worker(workers))
                for key, path in places.items()
                if not path.exists()
            ]
    if not trials:
        raise UserError(
            f"{plan.comparison} has no finished trial of {', '.join(TUNED)}: run"
            f" `{command('run', root=plan.root)}` first"
        )
    # The reference first, then the cheap ones, so that the results of an interrupted study can be compared.
    tasks.sort(key=lambda task: (task.evaluations <= max(EVALUATIONS), task.evaluations))
    with process_pool(workers, preload=PRELOADED) as pool:
        futures = [pool.schedule(measure, args=[task]) for task in tasks]
        for number, done in enumerate(as_completed(futures), 1):
            print(f"[{number}/{len(tasks)}] {done.result()}", flush=True)


def measure(task: Measurement) -> str:
    """Draw the samples, compare them with the held-out split, write the result; return a line for the terminal."""
    import numpy as np
    import torch

    from etude.trial.workbench import Workbench
    from eval.scoring.measures import DISTANCE
    from eval.scoring.sample_set import read
    from replication.windows.prepared import open_windows

    torch.set_num_threads(task.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sampler = sampler_of(task.row, task.evaluations)
    # Only the sampler changes: folder, weights and data are those of the trial.
    drawn = replace(task.trial, scale=replace(task.trial.scale, sampler=sampler))
    bench = Workbench(trial=drawn, dataset=open_windows(task.windows), grid=task.grid, device=device)
    model = bench.trained()
    # Compile first, so that the measured time is that of sampling alone.
    quick = replace(drawn, scale=replace(drawn.scale, sampler=Ancestral(steps=1)))
    replace(bench, trial=quick).trained().sample(range(1), seed=drawn.seed)
    since = time.perf_counter()
    tokens = model.sample(range(drawn.scale.samples), seed=drawn.seed).numpy().astype(np.uint16)
    seconds = time.perf_counter() - since
    music = read(tokens, bench.encoding)
    reference = _reference_set(task.windows, drawn.experiment.encoding, task.grid, task.trial.scale, drawn.comparison)
    measures = reference.compare(music)[1].set_index("measure")
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
def _reference_set(windows: Path, encoding: str, grid: TimeGrid, scale: Scale, comparison: Path) -> ReferenceSet:
    """Return the reference set of a comparison; each process builds it once."""
    from eval.scoring.reference import ReferenceSet
    from replication.tokens.encodings import encoding_on
    from replication.windows.prepared import open_windows

    return ReferenceSet.of(open_windows(windows), encoding_on(encoding, grid), scale, comparison=comparison)

"""What comes before a comparison: the teacher, which judges the samples, and the tuning of every arm's embeddings."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from baselines import TEACHER
from etude.runner.scheduler import announce, run
from etude.runner.tuning import FOLLOWS, TUNED, choose, grid_experiments, tuned
from eval.distances.noise_floor import LEAST_WINDOWS, MIN_SONGS
from eval.results.schema import as_written
from eval.results.tuning import CHOSEN, chosen_points, tuning_folder
from eval.scoring.experiments import EXPERIMENTS
from eval.scoring.measures import DISTANCE
from replication.training.scales import tuning_scale
from replication.util.files import read_json, write_json
from replication.util.text import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from etude.runner.executors import Executor
    from etude.runner.plan import Plan
    from etude.trial.trial import Trial
    from eval.tracking.logger import Tracker
    from replication.windows.prepared import Dataset


def compare(plan: Plan, datasets: Mapping[str, Dataset], tracker: Tracker, *, executor: Executor) -> list[Trial]:
    """Run what the comparison needs, settle its arms and run it; return the trials that failed."""
    grid = plan.corpus.reading.grid
    announce(plan, datasets)
    first, failed = trials(plan, datasets), []
    if first:
        print(f"first, {len(first)} trials of the teacher and of the grid on which every arm is tuned", flush=True)
        failed = run(first, datasets, grid, tracker, executor=executor)
        plan = settled(plan, first)
        print(f"the comparison, {len(plan.trials)} trials", flush=True)
    return failed + run(plan.trials, datasets, grid, tracker, executor=executor)


def tuning(plan: Plan) -> Plan:
    """Return the plan of the grid: each arm at each point, briefly, judged on the validation split."""
    names = dict.fromkeys(FOLLOWS.get(row.name, row.name) for row in plan.experiments)
    rows = grid_experiments([EXPERIMENTS[name] for name in names if name in TUNED], plan.scale)
    needed = {name: EXPERIMENTS[name] for row in rows for name in row.model.needs}
    return replace(plan, scale=tuning_scale(plan.scale), experiments=(*needed.values(), *rows))


def at_chosen(plan: Plan) -> Plan:
    """Return the plan with every arm at the point that was chosen for it before, if there is one."""
    return replace(plan, experiments=tuned(plan.experiments, chosen_points(plan.comparison), plan.scale))


def trials(plan: Plan, datasets: Mapping[str, Dataset]) -> list[Trial]:
    """Return the trials that must be done before those of the plan: of the teacher first, then those of the grid.

    Where the validation split is too small to judge by, the arms are not tuned, which is said.
    """
    first = [trial for trial in plan.trials if trial.experiment.name == TEACHER.name]
    grid = tuning(plan).trials
    if not grid:
        return first
    dataset = datasets[grid[0].experiment.encoding]
    songs, windows = dataset.songs["validation"], len(dataset.splits["validation"].tokens)
    if songs >= MIN_SONGS and windows >= LEAST_WINDOWS:
        return first + grid
    print(
        f"embeddings are not tuned: the validation split has {songs} songs and {windows} windows, and judging takes"
        f" {MIN_SONGS} and {LEAST_WINDOWS}",
        flush=True,
    )
    return first


def settled(plan: Plan, first: Sequence[Trial]) -> Plan:
    """Return the plan with every arm at the best point of its grid, whose trials are among the first.

    What is chosen is kept in the comparison's tuning.json, and stays: the trials of an arm are all at one point. A
    point whose trial failed counts as the worst.
    """
    with as_written(tuning_folder(plan.comparison)):
        scores = {
            trial.experiment.name: float(number(read_json(trial.folder / "scores.json")["measures"][DISTANCE]["ratio"]))
            if trial.is_done()
            else math.nan
            for trial in first
            if trial.kind == "tuning"
        }
    chosen = choose(scores, plan.scale) | chosen_points(plan.comparison)
    for arm in TUNED:
        if arm not in chosen and any(name.startswith(f"{arm}-d") for name in scores):
            print(f"{arm} is compared as it is: none of the trials of its grid was done", flush=True)
    write_json(plan.comparison / CHOSEN, {arm: asdict(point) for arm, point in chosen.items()})
    return replace(plan, experiments=tuned(plan.experiments, chosen, plan.scale))

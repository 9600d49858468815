"""What comes before a comparison: the teacher, which judges the samples, and the tuning of every arm's embeddings."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from baselines import TEACHER
from eval import suite
from eval.collected import number
from eval.engine import announce, run
from eval.floors import LEAST_WINDOWS, MIN_SONGS
from eval.shape import as_written, read_trial
from eval.tuning import FOLLOWS, TUNED, choose, grid_experiments, tuned, tuning_name, tuning_scale
from replication.files import read_json, write_json
from replication.scales import Point

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from eval.engines import Engine
    from eval.live import Tracker
    from eval.suite import Plan
    from eval.trial import Trial
    from replication.data import Dataset


CHOSEN = "tuning.json"
MOST = 1_000  # that dimensions and scales may be multiplied by


def compare(plan: Plan, datasets: Mapping[str, Dataset], tracker: Tracker, *, engine: Engine) -> list[Trial]:
    """Run what the comparison needs, settle its arms and run it; return the trials that failed."""
    grid = plan.corpus.reading.grid
    announce(plan, datasets)
    first, failed = trials(plan, datasets), []
    if first:
        print(f"first, {len(first)} trials of the teacher and of the grid on which every arm is tuned", flush=True)
        failed = run(first, datasets, grid, tracker, engine=engine)
        plan = settled(plan, first)
        print(f"the comparison, {len(plan.trials)} trials", flush=True)
    return failed + run(plan.trials, datasets, grid, tracker, engine=engine)


def tuning(plan: Plan) -> Plan:
    """Return the plan of the grid: each arm at each point, briefly, judged on the validation split."""
    names = dict.fromkeys(FOLLOWS.get(row.name, row.name) for row in plan.experiments)
    rows = grid_experiments([suite.EXPERIMENTS[name] for name in names if name in TUNED], plan.scale)
    needed = {name: suite.EXPERIMENTS[name] for row in rows for name in row.model.needs}
    return replace(plan, scale=tuning_scale(plan.scale), experiments=(*needed.values(), *rows))


def _chosen(comparison: Path) -> dict[str, Point]:
    """Return the points that were chosen before."""
    path = comparison / CHOSEN
    with as_written(path):
        return {arm: _point(**point) for arm, point in (read_json(path) if path.exists() else {}).items()}


def _point(*, dimension: int, scale: float) -> Point:
    if not (0 < int(dimension) <= MOST and 0 < float(scale) <= MOST):
        raise ValueError(f"a point of dimension {dimension} and scale {scale}")
    return Point(dimension=int(dimension), scale=float(scale))


def at_chosen(plan: Plan) -> Plan:
    """Return the plan with every arm at the point that was chosen for it before, if there is one."""
    return replace(plan, experiments=tuned(plan.experiments, _chosen(plan.comparison), plan.scale))


def tuning_folder(comparison: Path) -> Path:
    """Return the folder of the tuning trials of a comparison, which is that of its scale and corpus."""
    return comparison.parent.with_name(tuning_name(comparison.parent.name)) / comparison.name


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


def grid_rows(comparison: Path) -> pd.DataFrame:
    """Return what every arm scored at every point of its grid: arm, dimension, scale, distance, nll, chosen.

    Points whose trial failed have NaN. Without tuning there are no rows.
    """
    import pandas as pd

    chosen, rows = _chosen(comparison), []
    for place in sorted(tuning_folder(comparison).glob("*/*/trial.json")):
        about = read_trial(place.parent)
        arm, model = about["experiment"].partition("-d")[0], about["config"]["model"]
        if arm not in chosen or model["type"] != "Diffusion":
            continue
        base = about["config"]["scale"]["dimension"]
        point = Point(dimension=model["dimension"] // base, scale=model["embedding"]["scale"])
        path = place.with_name("scores.json")
        scores = read_json(path) if path.exists() and about["status"] == "FINISHED" else {}
        found = (number(scores.get(key)) for key in ("eval/floor_ratio", "nll/nats_per_token"))
        rows.append((arm, model["dimension"], point.scale, *found, point == chosen[arm]))
    return pd.DataFrame(rows, columns=["arm", "dimension", "scale", "distance", "nll", "chosen"])


def settled(plan: Plan, first: Sequence[Trial]) -> Plan:
    """Return the plan with every arm at the best point of its grid, whose trials are among the first.

    What is chosen is kept in the comparison's tuning.json, and stays: the trials of an arm are all at one point. A
    point whose trial failed counts as the worst.
    """
    with as_written(tuning_folder(plan.comparison)):
        scores = {
            trial.experiment.name: float(number(read_json(trial.folder / "scores.json")["eval/floor_ratio"]))
            if trial.is_done()
            else math.nan
            for trial in first
            if trial.kind == "tuning"
        }
    chosen = choose(scores, plan.scale) | _chosen(plan.comparison)
    for arm in TUNED:
        if arm not in chosen and any(name.startswith(f"{arm}-d") for name in scores):
            print(f"{arm} is compared as it is: none of the trials of its grid was done", flush=True)
    write_json(plan.comparison / CHOSEN, {arm: asdict(point) for arm, point in chosen.items()})
    return replace(plan, experiments=tuned(plan.experiments, chosen, plan.scale))

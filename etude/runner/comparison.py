"""Run a comparison: the teacher, the tuning of the arms, then every experiment with every seed.

The teacher is trained first because it judges the samples of all others. Then every arm is tuned: see
`etude.runner.tuning`. The comparison itself is the plan with every arm at its chosen point.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from etude.runner.scheduler import announce, run
from etude.runner.tuning import choose, tuned, tuning_experiments
from eval.distances.noise_floor import LEAST_WINDOWS, MIN_SONGS
from eval.results.environment import commit
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

SHORT = 7  # characters of a commit that are shown


def compare(plan: Plan, datasets: Mapping[str, Dataset], tracker: Tracker, *, executor: Executor) -> list[Trial]:
    """Run the teacher, tune the arms, run the comparison; return the trials that failed."""
    grid = plan.corpus.reading.grid  # the time grid
    announce(plan, datasets)
    first, failed = first_trials(plan, datasets), []
    note_commits([*first, *at_chosen(plan).trials], datasets)
    if first:
        print(f"before the comparison: {len(first)} trials, to train the teacher and to tune the arms", flush=True)
        failed = run(first, datasets, grid, tracker, executor=executor)
        plan = choose_points(plan, first)
        print(f"comparison: {len(plan.trials)} trials", flush=True)
    return failed + run(plan.trials, datasets, grid, tracker, executor=executor)


def tuning(plan: Plan) -> Plan:
    """Return the plan of the tuning trials, after the experiments whose weights they need."""
    arms = dict.fromkeys(row.arm for row in plan.experiments if row.arm is not None)
    rows = tuning_experiments([EXPERIMENTS[arm] for arm in arms], plan.scale)
    needed = {name: replace(EXPERIMENTS[name], kind="tuning") for row in rows for name in row.model.needs}
    return replace(plan, scale=tuning_scale(plan.scale), experiments=(*needed.values(), *rows))


def first_trials(plan: Plan, datasets: Mapping[str, Dataset]) -> list[Trial]:
    """Return the trials that are run before those of the plan: the teacher's, then the tuning trials.

    If the validation split is too small to judge by, say so and leave the tuning trials out.
    """
    first = [trial for trial in plan.trials if trial.kind == "teacher"]
    tuning_trials = tuning(plan).trials
    if not tuning_trials:
        return first
    dataset = datasets[tuning_trials[0].experiment.encoding]
    songs, windows = dataset.songs["validation"], len(dataset.splits["validation"].tokens)
    if songs >= MIN_SONGS and windows >= LEAST_WINDOWS:
        return first + tuning_trials
    print(
        f"embeddings are not tuned: the validation split has {songs} songs and {windows} windows, and tuning needs at"
        f" least {MIN_SONGS} songs and {LEAST_WINDOWS} windows",
        flush=True,
    )
    return first


def choose_points(plan: Plan, first: Sequence[Trial]) -> Plan:
    """Choose the best point of every arm from its tuning trials; return the plan with every arm at its point.

    The choice is written to the comparison's tuning.json and then stays, so that all trials of an arm are at one point.
    A point whose trial failed counts as the worst.

    Args:
        plan: the plan of the comparison.
        first: the trials that were run before it; others than tuning trials are ignored.
    """
    with as_written(tuning_folder(plan.comparison)):
        scores = {
            (trial.experiment.arm, trial.experiment.point): float(
                number(read_json(trial.folder / "scores.json")["measures"][DISTANCE]["ratio"])
            )
            if trial.is_done()
            else math.nan
            for trial in first
            if trial.experiment.arm is not None and trial.experiment.point is not None
        }
    chosen = choose(scores, plan.scale) | chosen_points(plan.comparison)
    for arm in dict.fromkeys(arm for arm, _ in scores):
        if arm not in chosen:
            print(f"{arm} is compared without tuning: none of its tuning trials is done", flush=True)
    write_json(plan.comparison / CHOSEN, {arm: asdict(point) for arm, point in chosen.items()})
    return at_chosen(plan)


def at_chosen(plan: Plan) -> Plan:
    """Return the plan with every arm at the point that was chosen for it, if one was."""
    return replace(plan, experiments=tuned(plan.experiments, chosen_points(plan.comparison), plan.scale))


def note_commits(trials: Sequence[Trial], datasets: Mapping[str, Dataset]) -> None:
    """Print how many of the trials were made at other commits than the current one, if their source is the same.

    A trial whose source differs is not counted: `run` refuses it.
    """
    here, counts, different = commit(), Counter[str](), dict.fromkeys(trials)
    for trial in different:
        if trial.is_done() and not trial.difference(trial.about()["config"], datasets[trial.experiment.encoding]):
            counts.update(trial.commits() - {here})
    if counts:
        (first, count), *others = sorted(counts.items())
        made = f"{count} of {len(different)} trials were made at commit {_short(first)}"
        made += "".join(f", {count} at commit {_short(name)}" for name, count in others)
        print(f"note: {made}; the source that computes them is the same", flush=True)


def _short(name: str) -> str:
    """Return a commit as it is shown to people: seven characters, and whether files were changed."""
    name, _, changes = name.partition("+")
    return f"{name[:SHORT]}{' with changes' if changes else ''}"

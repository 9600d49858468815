"""Run a comparison: the teacher, then for every seed the tuning of the arms and every experiment.

The teacher is trained first because it judges the samples of all others. Then every arm is tuned with the first seed
(see `etude.runner.tuning`), and the experiments are run with that seed, every arm at its chosen point; then the same
with the next seed. So an interrupted run leaves complete comparisons of fewer seeds.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from etude.runner.scheduler import announce, run
from etude.runner.tuning import choose, tuned, tuning_experiments
from etude.trial.trial import deciding
from eval.claims.declaration import declaration, declare
from eval.claims.number import COUNTERFACTUAL
from eval.distances.noise_floor import LEAST_WINDOWS, MIN_SONGS
from eval.results.environment import commit
from eval.results.schema import as_written
from eval.results.tuning import chosen_points, tuning_folder, write_chosen
from eval.scoring.experiments import EXPERIMENTS, is_audited
from eval.scoring.measures import DISTANCE
from replication.training.scales import tuning_scale
from replication.util.files import describe, read_json
from replication.util.text import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from etude.runner.executors import Executor
    from etude.runner.plan import Plan
    from etude.trial.trial import Trial
    from eval.tracking.logger import Tracker
    from replication.windows.prepared import Dataset

SHORT = 7  # characters of a commit that are shown


def compare(plan: Plan, datasets: Mapping[str, Dataset], tracker: Tracker, *, executor: Executor) -> list[Trial]:
    """Run the teacher, tune the arms and run the experiments, seed by seed; return the trials that failed."""
    announce(plan, datasets)
    declare_claims(plan, datasets)
    tried, failed = tuning_trials(plan, datasets), []
    refuse_others(plan, tried, datasets)
    note_commits([*tried, *at_chosen(plan)], datasets)
    for batch in batches(plan, tried):
        kinds = Counter(trial.kind for trial in batch)
        print(f"next: {len(batch)} trials ({', '.join(f'{n} {kind}' for kind, n in kinds.items())})", flush=True)
        failed += run(batch, datasets, plan.corpus.reading.grid, tracker, executor=executor)
    return failed


def declare_claims(plan: Plan, datasets: Mapping[str, Dataset]) -> None:
    """Write the declaration of the claims before the first trial; later calls keep it."""
    declare(
        plan.comparison,
        declaration(
            scale=plan.scale.name,
            settings=describe(deciding(plan.scale)),
            corpus=plan.corpus.name,
            data={name: dataset.digest for name, dataset in datasets.items()},
            models=[row.name for row in plan.experiments if is_audited(row) and row.name != COUNTERFACTUAL],
            seeds=plan.scale.seeds,
            demonstration=plan.scale.demonstration,
        ),
        commit=commit(),
    )


def batches(plan: Plan, tried: Sequence[Trial]) -> Iterator[list[Trial]]:
    """Yield the trials of a comparison in batches, each of which is to be run before the next one is requested.

    The first batch has the teacher and the tuning trials of the first seed. Each of the others has the trials of one
    seed, with every arm at the point that was chosen for it, and the tuning trials of the next seed; the two are run
    together because workers are idle at the end of a batch. Trials with seeds of their own, such as controls, are run
    with the first seed. Without tuning trials, the second batch has everything but the teacher.

    Args:
        plan: the plan of the comparison.
        tried: its tuning trials.
    """
    seeds = list(dict.fromkeys(trial.seed for trial in tried))
    searches = [[trial for trial in tried if trial.seed == seed] for seed in seeds] or [[]]
    if first := [trial for trial in plan.trials if trial.kind == "teacher"] + searches[0]:
        yield first
    for place, following in enumerate([*searches[1:], []]):
        choose_points(plan, searches[place])
        compared = [
            trial
            for trial in at_chosen(plan)
            if trial.kind != "teacher" and (trial.seed == seeds[place] if place else trial.seed not in seeds[1:])
        ]
        if batch := compared + following:
            yield batch


def tuning(plan: Plan) -> Plan:
    """Return the plan of the tuning trials, after the experiments whose weights they need."""
    arms = dict.fromkeys(row.arm for row in plan.experiments if row.arm is not None)
    rows = tuning_experiments([EXPERIMENTS[arm] for arm in arms], plan.scale)
    needed = {name: replace(EXPERIMENTS[name], kind="tuning") for row in rows for name in row.model.needs}
    return replace(plan, scale=tuning_scale(plan.scale), experiments=(*needed.values(), *rows))


def tuning_trials(plan: Plan, datasets: Mapping[str, Dataset]) -> list[Trial]:
    """Return the tuning trials of a plan, ordered by seed.

    If the validation split is too small to judge by, say so and return none.
    """
    trials = tuning(plan).trials
    if not trials:
        return []
    dataset = datasets[trials[0].experiment.encoding]
    songs, windows = dataset.songs["validation"], len(dataset.splits["validation"].tokens)
    if songs >= MIN_SONGS and windows >= LEAST_WINDOWS:
        return trials
    print(
        f"embeddings are not tuned: the validation split has {songs} songs and {windows} windows, and tuning needs at"
        f" least {MIN_SONGS} songs and {LEAST_WINDOWS} windows",
        flush=True,
    )
    return []


def choose_points(plan: Plan, tried: Sequence[Trial]) -> None:
    """Choose the best point of every arm with every seed from the tuning trials, and write it to tuning.json.

    A choice then stays, so that it does not change under trials that were run at it. A point whose trial failed counts
    as the worst.

    Args:
        plan: the plan of the comparison.
        tried: the tuning trials, all those of a seed or none.
    """
    if not tried:
        return
    chosen = chosen_points(plan.comparison)
    for seed in dict.fromkeys(trial.seed for trial in tried):
        with as_written(tuning_folder(plan.comparison)):
            scores = {
                (trial.experiment.arm, trial.experiment.point): float(
                    number(read_json(trial.folder / "scores.json")["measures"][DISTANCE]["ratio"])
                )
                if trial.is_done()
                else math.nan
                for trial in tried
                if trial.seed == seed and trial.experiment.arm is not None and trial.experiment.point is not None
            }
        chosen[seed] = choose(scores, plan.scale) | chosen.get(seed, {})
        for arm in dict.fromkeys(arm for arm, _ in scores):
            if arm not in chosen[seed]:
                print(f"{arm} seed {seed} is compared without tuning: none of its tuning trials is done", flush=True)
    write_chosen(plan.comparison, chosen)


def at_chosen(plan: Plan) -> list[Trial]:
    """Return the trials of the plan, each at the point that was chosen for its arm with its seed, if one was."""
    chosen = chosen_points(plan.comparison) if plan.scale.tuning_grid else {}
    return [
        replace(trial, experiment=tuned(trial.experiment, chosen.get(trial.seed, {}), plan.scale))
        for trial in plan.trials
    ]


def refuse_others(plan: Plan, tried: Sequence[Trial], datasets: Mapping[str, Dataset]) -> None:
    """Refuse a plan if a trial that it would reach later was made with another configuration.

    Trials whose tuning point is still to be chosen are left out, since their configuration is not known.

    Raises:
        UserError: if there is such a trial.
    """
    chosen = chosen_points(plan.comparison)
    for trial in (*tried, *at_chosen(plan)):
        settled = trial.kind == "tuning" or trial.experiment.arm is None or trial.seed in chosen or not tried
        if settled and trial.exists():
            trial.check_configuration(datasets[trial.experiment.encoding])


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

"""`etude fit`: train on several devices, as in `torchrun --nproc-per-node 8 -m etude fit --scale paper --only e2e`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from etude.cli.options import Accepted, CorpusName, Only, Root, Scale, Seeds  # noqa: TC001 - tyro reads the annotations
from etude.runner.plan import make_plan, prepare, windows
from replication.util.errors import UserError
from replication.util.program import command

if TYPE_CHECKING:
    import torch

    from etude.runner.plan import Plan
    from etude.trial.trial import Trial
    from replication.windows.prepared import Dataset


def fit(
    scale: Scale = "auto",
    corpus: CorpusName = None,
    only: Only = (),
    seeds: Seeds = None,
    *,
    accept_licence: Accepted = (),
    root: Root = Path(),
) -> int:
    """Train networks one after the other, each on all the processes that torchrun started.

    Each process takes its part of each batch, so the losses equal those of one process except for rounding and dropout.
    All machines share --root. Run the same command again to resume, on any number of processes. Afterwards `etude run`
    draws the samples and scores them.
    """
    from replication.training.distributed import joined_processes, process_group

    plan = make_plan(scale=scale, corpus=corpus, only=only, seeds=seeds, root=root, accepted=accept_licence)
    # Before the processes join, since they time out when they wait for each other; the first one makes the windows.
    datasets = {name: windows(plan, name) for name in plan.encodings}
    with joined_processes() as device:
        if process_group().first:
            prepare(plan)
        failed = [trial for trial in _trials(plan, datasets) if not _fit(trial, datasets, plan, device)]
        first = process_group().first
    if first:
        print("All networks are trained." if not failed else f"failed: {', '.join(trial.name for trial in failed)}")
    return 1 if failed else 0


def _trials(plan: Plan, datasets: dict[str, Dataset]) -> list[Trial]:
    """Return the trials of the plan as `etude run` would run them.

    Raises:
        UserError: If arms are still to be tuned.
    """
    from etude.runner.comparison import at_chosen, tuning_trials
    from eval.results.tuning import chosen_points

    if {trial.seed for trial in tuning_trials(plan, datasets)} - chosen_points(plan.comparison).keys():
        raise UserError(
            f"the embeddings of scale {plan.scale.name} are not tuned yet: run `{command('run', root=plan.root)}` with"
            " the same options until the last seed is tuned"
        )
    return at_chosen(plan)


def _fit(trial: Trial, datasets: dict[str, Dataset], plan: Plan, device: torch.device) -> bool:
    """Train a trial's network unless it has none or is trained; return False if that failed."""
    from etude.trial import stages
    from etude.trial.workbench import Workbench
    from replication.training.distributed import process_group
    from replication.training.loop import DivergedError
    from replication.training.neural_model import NeuralModel
    from replication.util.locks import lease

    processes, dataset = process_group(), datasets[trial.experiment.encoding]
    bench = Workbench(trial=trial, dataset=dataset, grid=plan.corpus.reading.grid, device=device)
    if not stages.of(trial.experiment, bare=True) or not isinstance(bench.untrained(), NeuralModel):
        return True
    if trial.missing:  # a trial that it needs failed
        if processes.first:
            print(f"{trial.name}: skipped because it needs {', '.join(trial.missing)}", file=sys.stderr)
        return False
    with lease(trial.folder / ".lock") if processes.first else nullcontext():
        if processes.first:
            trial.open(dataset)
        processes.wait()
        try:
            stages.FIT(bench)
        except DivergedError as error:  # in all processes alike
            if processes.first:
                trial.close(error=str(error))
                print(f"{trial.name}: {error}", file=sys.stderr)
            return False
        except UserError as error:  # maybe in this process alone; torchrun ends the others
            if processes.first:
                trial.close(error=str(error))
            raise
        processes.wait()  # for the weights, which other trials may need
        return True

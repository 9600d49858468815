"""`etude run`: train, sample, score and report every experiment of a plan."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from etude.cli.options import (  # noqa: TC001 - tyro reads the annotations
    Accepted,
    Address,
    CorpusName,
    EngineName,
    Minutes,
    Only,
    Root,
    Scale,
    Seeds,
    Workers,
)
from etude.cli.report import write_report
from etude.runner.plan import plan as make_plan
from etude.runner.plan import prepare
from eval.results.tuning import tuning_folder
from replication.util.program import INTERRUPTED


def run(
    scale: Scale = "auto",
    corpus: CorpusName = None,
    only: Only = (),
    seeds: Seeds = None,
    *,
    workers: Workers = None,
    engine: EngineName = "process",
    address: Address = None,
    accept_licence: Accepted = (),
    root: Root = Path(),
    minutes: Minutes = None,
    dry_run: Annotated[
        bool, tyro.conf.arg(help="show the trials, done and pending, and the time, memory and disk they may take")
    ] = False,
) -> int:
    """Run every trial that is not done yet, then write the report; the same command continues after an interruption."""
    plan = make_plan(scale=scale, corpus=corpus, only=only, seeds=seeds, root=root, accepted=accept_licence)
    from etude.runner import comparison as preliminaries
    from etude.runner import dry_run as estimate
    from etude.runner import executors as engines
    from eval.tracking.logger import Tracker
    from replication.util.deadline import UNFINISHED, TimeUpError, at_most

    place = engines.chosen(engine, workers=workers, address=address)
    if dry_run:
        estimate.show(plan, workers=place.workers)
        return 0
    if isinstance(place, engines.Process):  # of other machines nothing is known here
        estimate.check_memory(plan, workers=place.workers)
    try:
        with at_most(minutes):
            # First, so that a corpus that will not do is known before anything is made.
            datasets = prepare(plan, batches=place.read)
            with Tracker(plan.root) as tracker:
                failed = preliminaries.compare(plan, datasets, tracker, engine=place)
                tracker.sync_all([plan.comparison, tuning_folder(plan.comparison)])
    except TimeUpError:
        print(f"\nThe {minutes:g} minutes are over; the same command goes on.", file=sys.stderr)
        return UNFINISHED
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from the last checkpoint.", file=sys.stderr)
        return INTERRUPTED
    if failed:
        print(
            f"failed: {', '.join(dict.fromkeys(trial.name for trial in failed))}; all others are done", file=sys.stderr
        )
    write_report(plan.comparison, plan.root / "reports" / "output")
    return 1 if failed else 0

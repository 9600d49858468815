"""`etude run`: train, sample and score every trial of a plan, then write the report."""

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
from etude.runner.plan import make_plan, prepare
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
        bool, tyro.conf.arg(help="show which trials are done and pending, and estimate their time, memory and disk")
    ] = False,
) -> int:
    """Train, sample and score every pending trial, then write the report.

    After an interruption, run the same command again to resume.
    """
    plan = make_plan(scale=scale, corpus=corpus, only=only, seeds=seeds, root=root, accepted=accept_licence)
    from etude.runner.comparison import compare
    from etude.runner.dry_run import check_memory, show
    from etude.runner.executors import ProcessExecutor, make_executor
    from eval.tracking.logger import Tracker
    from replication.util.deadline import UNFINISHED, TimeUpError, time_limit

    executor = make_executor(engine, workers=workers, address=address)
    if dry_run:
        show(plan, workers=executor.workers)
        return 0
    if isinstance(executor, ProcessExecutor):  # the memory of other machines is not known here
        check_memory(plan, workers=executor.workers)
    try:
        with time_limit(minutes):
            # First, so that an unsuitable corpus is refused before anything else is written.
            datasets = prepare(plan, batches=executor.read)
            with Tracker(plan.root) as tracker:
                failed = compare(plan, datasets, tracker, executor=executor)
                tracker.sync_all([plan.comparison, tuning_folder(plan.comparison)])
    except TimeUpError:
        print(f"\nThe {minutes:g} minutes are up; run the same command again to resume.", file=sys.stderr)
        return UNFINISHED
    except KeyboardInterrupt:
        print("\nInterrupted; run the same command again to resume from the last checkpoint.", file=sys.stderr)
        return INTERRUPTED
    if failed:
        print(
            f"failed: {', '.join(dict.fromkeys(trial.name for trial in failed))}; all others are done", file=sys.stderr
        )
    write_report(plan.comparison, plan.root / "reports" / "output")
    return 1 if failed else 0

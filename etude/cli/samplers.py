"""`etude samplers`: every sampler on the weights of finished trials, at several costs."""

from __future__ import annotations

import sys
from pathlib import Path

from etude.cli.options import (  # noqa: TC001 - tyro reads the annotations
    Accepted,
    CorpusName,
    Root,
    Scale,
    Seeds,
    Workers,
)
from etude.cli.report import write_report
from etude.runner.plan import plan as make_plan
from etude.runner.tuning import TUNED
from replication.util.program import INTERRUPTED


def samplers(
    scale: Scale = "auto",
    corpus: CorpusName = None,
    seeds: Seeds = None,
    *,
    workers: Workers = None,
    accept_licence: Accepted = (),
    root: Root = Path(),
) -> int:
    """Draw from the trials of the embedding arms by every sampler, at several costs, then write the report."""
    from etude.runner import executors as engines
    from etude.runner import sampler_study as sampling
    from eval.results.tuning import tuning_folder
    from eval.tracking.logger import Tracker

    place = engines.chosen("process", workers=workers, address=None)
    plan = make_plan(scale=scale, corpus=corpus, only=TUNED, seeds=seeds, root=root, accepted=accept_licence)
    try:
        sampling.study(plan, workers=place.workers)
        with Tracker(plan.root) as tracker:
            tracker.sync_all([plan.comparison, tuning_folder(plan.comparison)])
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on with what is missing.", file=sys.stderr)
        return INTERRUPTED
    write_report(plan.comparison, plan.root / "reports" / "output")
    return 0

"""`etude samplers`: compare samplers on the weights of finished trials."""

from __future__ import annotations

import sys
from pathlib import Path

from etude.cli.options import Accepted, CorpusName, Root, Scale, Seeds, Workers  # noqa: TC001 - tyro reads them
from etude.cli.report import write_report
from etude.runner.plan import make_plan
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
    """Draw from the finished Diffusion-LM trials with every sampler at several costs, then write the report."""
    from etude.runner.executors import make_executor
    from etude.runner.sampler_study import study
    from eval.results.tuning import tuning_folder
    from eval.tracking.logger import Tracker

    executor = make_executor("process", workers=workers, address=None)
    plan = make_plan(scale=scale, corpus=corpus, only=TUNED, seeds=seeds, root=root, accepted=accept_licence)
    try:
        study(plan, workers=executor.workers)
        with Tracker(plan.root) as tracker:
            tracker.sync_all([plan.comparison, tuning_folder(plan.comparison)])
    except KeyboardInterrupt:
        print("\nInterrupted; run the same command again to compute the missing results.", file=sys.stderr)
        return INTERRUPTED
    write_report(plan.comparison, plan.root / "reports" / "output")
    return 0

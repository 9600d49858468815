"""The commands for machines that are lent: `etude export` and `etude import`; see `etude.remote.bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from etude.cli.options import Accepted, CorpusName, Only, Root, Scale, Seeds  # noqa: TC001 - tyro reads the annotations
from etude.runner import plan as suite
from etude.runner.executors import default_workers
from replication.util.paths import folder_at

File = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]


def export(
    file: File,
    scale: Scale = "auto",
    corpus: CorpusName = None,
    only: Only = (),
    seeds: Seeds = None,
    *,
    accept_licence: Accepted = (),
    root: Root = Path(),
) -> None:
    """Write one file with all that training elsewhere needs; there, run `python -m etude.remote.train FILE`.

    Where the arms are tuned, the grid for it comes first. When it is back, the next export scores it, settles the arms
    and has the rest of the comparison.
    """
    from etude.remote import bundle
    from etude.runner import executors
    from eval.tracking.logger import Tracker

    folder_at(file.parent)
    plan = suite.plan(scale=scale, corpus=corpus, only=only, seeds=seeds, root=root, accepted=accept_licence)
    executor = executors.ProcessExecutor(workers=default_workers())
    datasets = suite.prepare(plan)
    with Tracker(plan.root) as tracker:
        trials = bundle.export(plan, datasets, tracker, file, executor=executor)
    print(
        f"{file}: {len(trials)} trials, {file.stat().st_size / 1e6:.1f} MB; on the other machine run"
        f" `python -m etude.remote.train {file.name}`"
    )


def import_(file: File, root: Root = Path()) -> None:
    """Put the trials of a file that came back where they belong, if they are further there than here."""
    from etude.remote import bundle

    counts = bundle.import_trials(file, folder_at(root))
    print(f"{counts['taken']} trials taken, {counts['kept']} kept as they are here; `etude run` scores them")

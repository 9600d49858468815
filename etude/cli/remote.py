"""`etude export` and `etude import`: train on another machine; see `etude.remote.bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from etude.cli.options import Accepted, CorpusName, Only, Root, Scale, Seeds  # noqa: TC001 - tyro reads the annotations
from etude.runner.plan import make_plan, prepare
from replication.util.paths import folder_at
from replication.util.program import command

File = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE", help="a bundle of trials")]


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
    """Write a file with everything needed to train on another machine.

    On the other machine, run `python -m etude.remote.train FILE`. At scales that tune their embeddings, the first file
    has the tuning trials. After they are imported, the next export scores them and writes the rest of the comparison.
    """
    from etude.remote import bundle
    from etude.runner.executors import ProcessExecutor, default_workers
    from eval.tracking.logger import Tracker

    folder_at(file.parent)
    plan = make_plan(scale=scale, corpus=corpus, only=only, seeds=seeds, root=root, accepted=accept_licence)
    executor = ProcessExecutor(workers=default_workers())
    datasets = prepare(plan)
    with Tracker(plan.root) as tracker:
        trials = bundle.export(plan, datasets, tracker, file, executor=executor)
    print(
        f"{file}: {len(trials)} trials, {file.stat().st_size / 1e6:.1f} MB; on the other machine, run"
        f" `python -m etude.remote.train {file.name}`"
    )


def import_(file: File, root: Root = Path()) -> None:
    """Take over the trials of a file that came back from another machine, if they are more advanced than here."""
    from etude.remote import bundle

    counts, score = bundle.import_trials(file, folder_at(root)), command("run", root=root)
    print(f"{counts['taken']} trials taken, {counts['kept']} kept as they are here; run `{score}` to score them")

"""The command line: `etude list | run | verify | samplers | score | report | export | import | corpus | ...`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from eval import bundle_commands, corpus_commands, suite, together, wav
from eval.options import (  # noqa: TC001 - tyro reads the annotations
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
from eval.program import INTERRUPTED, end_with
from eval.tuning import TUNED
from eval.verify import verify
from replication.corpora import CORPORA
from replication.places import folder_at
from replication.scales import SCALES

if TYPE_CHECKING:
    from collections.abc import Callable


def list_() -> None:
    """Show the experiments, scales and corpora."""
    print("Experiments")
    for experiment in suite.EXPERIMENTS.values():
        print(f"  {experiment.name:22} {experiment.note}")
    print("\nScales")
    for scale in SCALES.values():
        print(f"  {scale.name:22} {scale.about}")
    print("\nCorpora")
    for corpus in CORPORA.values():
        print(f"  {corpus.name:22} {corpus.title}")
    print(f"  {'PATH':22} any folder or .zip/.tar.* of MIDI files")


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
    plan = suite.plan(scale=scale, corpus=corpus, only=only, seeds=seeds, root=root, accepted=accept_licence)
    from eval import engines, estimate, preliminaries
    from eval.deadline import UNFINISHED, TimeUpError, at_most
    from eval.live import Tracker

    place = engines.chosen(engine, workers=workers, address=address)
    if dry_run:
        estimate.show(plan, workers=place.workers)
        return 0
    if isinstance(place, engines.Process):  # of other machines nothing is known here
        estimate.check_memory(plan, workers=place.workers)
    try:
        with at_most(minutes):
            # First, so that a corpus that will not do is known before anything is made.
            datasets = suite.prepare(plan, batches=place.read)
            with Tracker(plan.root) as tracker:
                failed = preliminaries.compare(plan, datasets, tracker, engine=place)
                tracker.level([plan.comparison, preliminaries.tuning_folder(plan.comparison)])
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
    return _report(plan.comparison, None, plan.root) or (1 if failed else 0)


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
    from eval import engines, sampling
    from eval.live import Tracker
    from eval.preliminaries import tuning_folder

    place = engines.chosen("process", workers=workers, address=None)
    plan = suite.plan(scale=scale, corpus=corpus, only=TUNED, seeds=seeds, root=root, accepted=accept_licence)
    try:
        sampling.study(plan, workers=place.workers)
        with Tracker(plan.root) as tracker:
            tracker.level([plan.comparison, tuning_folder(plan.comparison)])
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on with what is missing.", file=sys.stderr)
        return INTERRUPTED
    return _report(plan.comparison, None, plan.root)


def score(
    path: Annotated[
        Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH", help="a folder or archive of MIDI files")
    ],
    scale: Scale = "auto",
    corpus: CorpusName = None,
    *,
    accept_licence: Accepted = (),
    root: Root = Path(),
) -> None:
    """Score MIDI files of any origin against the test split of a corpus, in windows of the scale's length."""
    from eval.newcomer import score_files

    plan = suite.plan(scale=scale, corpus=corpus, root=root, accepted=accept_licence)
    print(score_files(path, plan))


def report(
    scale: Scale = "auto",
    corpus: CorpusName = None,
    output: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help="where to; reports/output if not given")] = None,
    root: Root = Path(),
    *,
    from_mlflow: Annotated[
        bool, tyro.conf.arg(help="from the tracking store alone: that of MLFLOW_TRACKING_URI, or the one in --root")
    ] = False,
) -> int:
    """Write the tables and figures from what the trials have left."""
    if not from_mlflow:
        return _report(suite.plan(scale=scale, corpus=corpus, root=root).comparison, output, root)
    from eval.fetch import fetch
    from eval.tracking import Store

    chosen = suite.find_scale(scale)
    name = Path(corpus or chosen.corpus).resolve().name  # of a folder, which need not be here
    with tempfile.TemporaryDirectory() as scratch:
        comparison = fetch(Store(root), scale=chosen.name, corpus=name, root=Path(scratch))
        return _report(comparison, output, root)


def sync(root: Root = Path()) -> None:
    """Bring MLflow level with the run folders, each result exactly once."""
    from eval.references import level
    from eval.tracking import open_store

    store = open_store(folder_at(root))
    count = level(store, sorted({path.parents[2] for path in store.root.glob("runs/*/*/*/*/trial.json")}))
    print(f"MLflow is level with {count} trials")


def ui(port: int = 5000, root: Root = Path()) -> int:
    """Open MLflow on the trials."""
    from eval.ui import serve

    return serve(folder_at(root), port)


def _report(comparison: Path, output: Path | None, root: Path) -> int:
    """Run the next package of the chain as the program it is: nothing here imports from reports."""
    import subprocess

    output = folder_at(output or root / "reports" / "output")
    words = ["--comparison", str(comparison), "--output", str(output)]
    return subprocess.run([sys.executable, "-m", "reports", *words], check=False).returncode  # noqa: S603 - ourselves


def main() -> None:
    """Run a subcommand."""
    commands: dict[str, Callable[..., int | None]] = {
        "list": list_,
        "run": run,
        "fit": together.fit,
        "verify": verify,
        "samplers": samplers,
        "score": score,
        "report": report,
        "export": bundle_commands.export,
        "import": bundle_commands.import_,
        "wav": wav.wav,
        "corpus": corpus_commands.corpus,
        "sync": sync,
        "ui": ui,
    }
    end_with(
        lambda: tyro.extras.subcommand_cli_from_dict(
            commands, prog="etude", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)
        ),
        name="etude",
    )


if __name__ == "__main__":
    main()

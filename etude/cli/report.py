"""`etude report`: write the tables, figures and page from the results of the trials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from etude.cli.options import CorpusName, Root, Scale  # noqa: TC001 - tyro reads the annotations
from etude.runner.plan import make_plan
from replication.util.paths import folder_at
from replication.util.program import command


def report(
    scale: Scale = "auto",
    corpus: CorpusName = None,
    output: Annotated[
        Path | None,
        tyro.conf.arg(metavar="PATH", help="folder to write to", help_behavior_hint="(default: reports/output)"),
    ] = None,
    root: Root = Path(),
) -> None:
    """Write the report from the results of the trials that are done."""
    write_report(make_plan(scale=scale, corpus=corpus, root=root).comparison, output or root / "reports" / "output")


def write_report(comparison: Path, output: Path) -> None:
    """Write the report of a comparison's folder; print its main table, which files are lost, and what to run next.

    Raises:
        UserError: If no trial is finished, a file is damaged, or `output` cannot be a folder.
    """
    from etude.trial.trial import note_lost_files
    from reports.page.render import make_report

    for path in sorted(comparison.glob("*/*/trial.json")):
        note_lost_files(path.parent)
    make_report(comparison, folder_at(output))
    root = comparison.parents[2]
    print(f"MLflow:  {command('ui', root=root)}")
    print(f"Bigger:  {command('run', '--scale', 'gpu', '--seeds', '5', root=root)}")

"""`etude report`: the tables and figures of what the trials have left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from etude.cli.options import (  # noqa: TC001 - tyro reads the annotations
    CorpusName,
    Root,
    Scale,
)
from etude.runner.plan import plan as make_plan
from replication.util.paths import folder_at


def report(
    scale: Scale = "auto",
    corpus: CorpusName = None,
    output: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help="where to; reports/output if not given")] = None,
    root: Root = Path(),
) -> None:
    """Write the tables and figures from what the trials have left."""
    write_report(make_plan(scale=scale, corpus=corpus, root=root).comparison, output or root / "reports" / "output")


def write_report(comparison: Path, output: Path) -> None:
    """Write the report of a comparison's folder and print its main table.

    Raises:
        UserError: if there are no finished trials, or a file is damaged, or `output` cannot be a folder.
    """
    from reports.page.render import make_report

    make_report(comparison, folder_at(output))

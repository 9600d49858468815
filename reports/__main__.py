"""The command line of the report: `python -m reports --comparison runs/cpu/bach --output reports/output`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from replication.errors import UserError


def report(
    comparison: Annotated[Path, tyro.conf.arg(metavar="PATH", help="the folder of a scale and a corpus under runs/")],
    output: Annotated[Path, tyro.conf.arg(metavar="PATH", help="where tables and figures go")] = Path("reports/output"),
) -> None:
    """Write the tables, the figures, the page that shows them and the data card, and print the main table."""
    from eval.results import gather
    from reports.render import render
    from reports.terminal import show

    results = gather(comparison)
    render(results, output)
    show(results, output)


def main() -> None:
    """Run; a user's mistake is one sentence and exit code 2."""
    try:
        tyro.cli(report, prog="python -m reports", description=__doc__)
    except UserError as error:
        print(f"etude: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

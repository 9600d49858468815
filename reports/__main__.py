"""Write a report, `python -m reports --comparison runs/cpu/bach`, or check one, `--check reports/output`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from replication.util.errors import UserError
from replication.util.program import end_with


def report(
    comparison: Annotated[
        Path | None, tyro.conf.arg(metavar="PATH", help="folder of a scale and a corpus under runs/, or of a report")
    ] = None,
    output: Annotated[Path, tyro.conf.arg(metavar="PATH", help="folder to write to")] = Path("reports/output"),
    check: Annotated[
        Path | None, tyro.conf.arg(metavar="PATH", help="render the report in this folder again and compare")
    ] = None,
) -> int:
    """Write the tables, figures, pages and data card of a comparison, and print the main table."""
    from reports.page.check import differences
    from reports.page.render import make_report

    if (comparison is None) == (check is None):
        raise UserError("give either --comparison or --check")
    if check:
        found = differences(check)
        print("\n".join(f"{check}: {line}" for line in found) or f"{check}: every file is what its results give")
        return 1 if found else 0
    assert comparison
    make_report(comparison, output)
    return 0


def main() -> None:
    """Run the command line."""
    end_with(lambda: tyro.cli(report, prog="python -m reports", description=__doc__), name="etude")


if __name__ == "__main__":
    main()

"""The command line of the report: `python -m reports --comparison runs/cpu/bach`, or `--check reports/output`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from eval.program import end_with
from replication.errors import UserError


def report(
    comparison: Annotated[
        Path | None, tyro.conf.arg(metavar="PATH", help="the folder of a scale and a corpus under runs/, or a report")
    ] = None,
    output: Annotated[Path, tyro.conf.arg(metavar="PATH", help="where tables and figures go")] = Path("reports/output"),
    check: Annotated[
        Path | None, tyro.conf.arg(metavar="PATH", help="instead: make the report in this folder anew, and compare")
    ] = None,
) -> int:
    """Write the tables, the figures, the pages that show them and the data card, and print the main table."""
    from eval.results import gather
    from eval.results_file import read_results
    from reports.check import differences
    from reports.render import RESULTS, render
    from reports.terminal import show

    if (comparison is None) == (check is None):
        raise UserError("give --comparison or --check, one of the two")
    if check:
        found = differences(check)
        print("\n".join(f"{check}: {line}" for line in found) or f"{check}: every file is as its results make it")
        return 1 if found else 0
    assert comparison
    kept = comparison / RESULTS
    results = read_results(kept) if kept.exists() else gather(comparison)
    render(results, output)
    show(results, output)
    return 0


def main() -> None:
    """Run; a user's mistake is one sentence and exit code 2."""
    end_with(lambda: tyro.cli(report, prog="python -m reports", description=__doc__), name="etude")


if __name__ == "__main__":
    main()

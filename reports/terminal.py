"""The end of a run on the terminal: one compact table, and where to look next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from reports.facts import setting
from reports.tables import TABLES

if TYPE_CHECKING:
    from pathlib import Path

    from eval.results import Results


def show(results: Results, output: Path) -> None:
    """Print the main table's first columns and the addresses of the rest."""
    main = TABLES["main"](results)
    console = Console()
    table = Table(title=setting(results))
    columns = list(main.frame.columns)
    shown = [columns[0], columns[2], *columns[4:6]]  # what fits into 80 columns: model, valid, distance, likelihood
    for column in shown:
        table.add_column(column, overflow="fold")
    for row in main.frame[shown].itertuples(index=False):
        table.add_row(*row)
    console.print(table)
    console.print(f"Report:  {output / 'report.md'}", markup=False, highlight=False)
    console.print("MLflow:  nox -s ui", markup=False)
    console.print("Bigger:  nox -s replicate -- --scale gpu --seeds 5", markup=False)

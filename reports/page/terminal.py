"""The end of a run on the terminal: what the models are worth, what becomes of the claims, and where to look next."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from eval.claims.claims import verdicts_on
from eval.results.anomalies import EXCLUDED
from reports.format.facts import SOME_CONTROLS, controls, labels, models, setting
from reports.format.table import DAGGER, PLUS_MINUS
from reports.sections.anomalies import by_trial
from reports.sections.tables import TABLES

if TYPE_CHECKING:
    from pathlib import Path

    from eval.results.frames import Results

WIDTH = 80
# Titles in short of what fits into the width; the tables of the report have all.
COLUMNS = {
    "Valid %": "Valid",
    "Distance": "Distance [95 %]",
    "Classifier": "AUC",
    "8-note": "Copies",
    "NLL": "NLL",
}

LEGEND = (
    "Distance: multiples of how far real music is from itself; AUC: of a classifier that looks for the real windows, "
    f"0.5 is best; Copies: runs of 8 notes from training, as a multiple of real music's; {DAGGER}: cannot be told from "
    "real music by this measure."
)


def show(results: Results, output: Path) -> None:
    """Print the main table in short, the verdicts and the addresses of the rest."""
    console = Console(width=WIDTH, highlight=False, markup=False)
    console.print(setting(results), soft_wrap=False)
    console.print(_main(results))
    console.print(_filled(LEGEND), end="\n\n")
    for line in _wrong(results):
        console.print(_filled(line), end="\n\n")
    for verdict in verdicts_on(results):
        console.print(_filled(f"{verdict.name} {verdict.statement}"))
        console.print(_filled(f"   {verdict.sentence}"))
    console.print()
    console.print(f"Report:  {output / 'index.html'}", soft_wrap=True)
    console.print("MLflow:  nox -s ui")
    console.print("Bigger:  nox -s replicate -- --scale gpu --seeds 5")


def _wrong(results: Results) -> list[str]:
    """Return a line for each model with trials in which something went wrong, and for all else that failed."""
    found, names = results.anomalies, labels(results)
    told = found[found["experiment"].isin(models(results)) | found["anomaly"].isin(EXCLUDED)]
    return [
        f"Went wrong: {names.get(name, name)}: {'; '.join(by_trial(results, name))}."
        for name in dict.fromkeys(told["experiment"])
    ]


def _filled(text: str) -> str:
    """Return lines that fit, all but the first indented."""
    return textwrap.fill(text, WIDTH, subsequent_indent="   ", break_on_hyphens=False)


def _main(results: Results) -> Table:
    """Return the main table's most telling columns without the intervals of all but one."""
    frame = TABLES["main"](results).frame
    hidden = {label for name, label in controls(results).items() if name not in SOME_CONTROLS}
    titles = {title: short for start, short in COLUMNS.items() for title in frame.columns if title.startswith(start)}
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    table.add_column("Model")
    for short in titles.values():
        table.add_column(short, justify="right", no_wrap=True)
    for row in frame[~frame["Model"].isin(hidden)].to_dict("records"):
        table.add_row(row["Model"], *(row[title].partition(f" {PLUS_MINUS}")[0] for title in titles))
    return table

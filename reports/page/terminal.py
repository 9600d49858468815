"""The summary of a run on the terminal: the main table in short, anomalies, verdicts, and where the report is."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from eval.claims.declaration import status
from eval.claims.judgement import judged_on
from eval.results.anomalies import EXCLUDED
from reports.format.captions import setting
from reports.format.interval_picture import text_picture
from reports.format.queries import SOME_CONTROLS, controls, labels, models
from reports.format.table import DAGGER, PLUS_MINUS
from reports.sections.claims import anomalies_by_trial, main_table

if TYPE_CHECKING:
    from pathlib import Path

    from eval.results.frames import Results

WIDTH = 80
# The columns that fit the width: the start of a title in the main table, and its short form.
COLUMNS = {
    "Valid %": "Valid",
    "Distance": "Distance [95 %]",
    "Classifier": "AUC",
    "8-note": "Copies",
    "NLL": "NLL",
}

LEGEND = (
    "Distance: to real music, in multiples of the noise floor. AUC: classifier of samples and real windows, 0.5 is "
    f"ideal. Copies: runs of 8 notes from training, as a multiple of real music's. {DAGGER}: this measure cannot tell "
    "the model from real music."
)


def show(results: Results, output: Path) -> None:
    """Print the main table in short, the verdicts and where the full results are."""
    console = Console(width=WIDTH, highlight=False, markup=False)
    console.print(setting(results), soft_wrap=False)
    console.print(_short_main_table(results))
    console.print(_wrapped(LEGEND), end="\n\n")
    for line in _anomalies(results):
        console.print(_wrapped(line), end="\n\n")
    overall = status(results)
    console.print(_wrapped(f"{overall.standing.capitalize()} verdicts. {overall.reason}"), end="\n\n")
    for verdict, own in judged_on(results):
        console.print(_wrapped(f"{verdict.name} {verdict.statement}"))
        prefix = "" if own.standing is overall.standing else f"{own.standing.capitalize()} ({own.reason}) "
        console.print(_wrapped(f"   {prefix}{verdict.sentence}"))
        if verdict.evidence and (picture := text_picture(verdict.evidence)):
            console.print(f"   {picture}")
    console.print()
    console.print(f"Report:  {output / 'index.html'}", soft_wrap=True)


def _anomalies(results: Results) -> list[str]:
    """Return a line for each model with anomalies, and for each other experiment with trials that were lost."""
    found, names = results.anomalies, labels(results)
    listed = found[found["experiment"].isin(models(results)) | found["anomaly"].isin(EXCLUDED)]
    return [
        f"Anomalies: {names.get(name, name)}: {'; '.join(anomalies_by_trial(results, name))}."
        for name in dict.fromkeys(listed["experiment"])
    ]


def _wrapped(text: str) -> str:
    """Wrap a text to the width; all lines but the first are indented."""
    return textwrap.fill(text, WIDTH, subsequent_indent="   ", break_on_hyphens=False)


def _short_main_table(results: Results) -> Table:
    """Return some columns of the main table; only the distance keeps its interval."""
    frame = main_table(results).frame
    hidden = {label for name, label in controls(results).items() if name not in SOME_CONTROLS}
    titles = {title: short for start, short in COLUMNS.items() for title in frame.columns if title.startswith(start)}
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    table.add_column("Model")
    for short in titles.values():
        table.add_column(short, justify="right", no_wrap=True)
    for row in frame[~frame["Model"].isin(hidden)].to_dict("records"):
        table.add_row(row["Model"], *(_short(title, row[title]) for title in titles))
    return table


def _short(title: str, cell: str) -> str:
    """Return a cell of the main table without its interval, except that of the distance."""
    return cell if title.startswith("Distance") else cell.partition(f" {PLUS_MINUS}")[0].partition(" [")[0]

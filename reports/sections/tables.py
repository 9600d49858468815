"""The tables of the report: pure functions of the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.sections.anomalies import events
from reports.sections.appendix import raw
from reports.sections.claims import claims, contrasts
from reports.sections.embeddings import table as geometry
from reports.sections.evidence import controls, metrics, metrics_of_controls
from reports.sections.headline import cost, main, panel
from reports.sections.likelihood import audit, grid, likelihood
from reports.sections.memorisation import memorisation
from reports.sections.samplers import samplers

if TYPE_CHECKING:
    from collections.abc import Callable

    from eval.results.frames import Results
    from reports.format.table import Table

TABLES: dict[str, Callable[[Results], Table]] = {
    "claims": claims,
    "contrasts": contrasts,
    "main": main,
    "events": events,
    "panel": panel,
    "controls": controls,
    "likelihood": likelihood,
    "audit": audit,
    "grid": grid,
    "geometry": geometry,
    "memorisation": memorisation,
    "metrics": metrics,
    "metrics_of_controls": metrics_of_controls,
    "cost": cost,
    "samplers": samplers,
    "raw": raw,
}
APPENDIX = ("raw",)  # for comparison with other papers: no part of any conclusion

"""The tables of the report: pure functions of the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.embeddings import table as geometry
from reports.events import events
from reports.evidence import controls, metrics, metrics_of_controls
from reports.headline import cost, main, panel
from reports.likelihood import audit, grid, likelihood
from reports.memory import memorisation
from reports.others import overlap, raw
from reports.samplers import samplers
from reports.verdicts import claims, contrasts

if TYPE_CHECKING:
    from collections.abc import Callable

    from eval.results import Results
    from reports.table import Table

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
    "overlap": overlap,
}
APPENDIX = ("raw", "overlap")  # for comparison with other papers: no part of any conclusion

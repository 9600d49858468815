"""Appendix: muspy's own numbers, for comparison with papers that report them; no conclusion uses them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from eval.metrics.table import METRICS
from reports.format.captions import changed_shares, setting
from reports.format.queries import labels, real_labels, real_scores, rows_of
from reports.format.section import Section, TablePart
from reports.format.table import Cell, Table, number, text_cell

if TYPE_CHECKING:
    import pandas as pd

    from eval.results.frames import Results

# muspy's metric, and the metric here that computes what muspy's name says.
_CORRECTED = {"pitch_in_scale_rate": "pitch_in_c_major_rate", "polyphony_rate": "polyphony_rate_ge2"}


def raw_table(results: Results) -> Table:
    """Build the table of muspy's own numbers, with the corrected metrics in brackets."""
    names = list(dict.fromkeys(results.raw["metric"]))
    rows = []
    for encoding, label in real_labels(results).items():
        own = results.experiments[results.experiments["encoding"] == encoding]["name"]
        values = results.raw[results.raw["experiment"].isin(own)].groupby("metric")["real"].mean()
        rows.append({"Model": text_cell("model", label), **_pairs(names, values, real_scores(results, encoding))})
    for name, label in labels(results).items():
        values = rows_of(results.raw, name).groupby("metric")["value"].mean()
        rows.append({"Model": text_cell("model", label), **_pairs(names, values, rows_of(results.scores, name))})
    caption = (
        "muspy's metrics of the same pieces; in brackets, the metric that computes what the name says. "
        f"{setting(results)} Means over pieces and seeds; undefined values are excluded. muspy adds an empty bar or "
        "beat to pieces that end on a bar line, counts a note's end as part of the next beat, and requires three "
        "pitches at once for polyphony, where two are usual. Its numbers on other time grids than sixteenths differ "
        "again. Not for conclusions."
    )
    return Table.of("raw", rows=rows, caption=caption, notes=changed_shares(results))


def _pairs(names: list[str], values: pd.Series[float], scores: pd.DataFrame) -> dict[str, Cell]:
    """Return the cells of a row: muspy's value and, if there is one, the mean of the corrected metric."""
    row = {}
    for name in names:
        metric = _CORRECTED.get(name, name)
        value = float(values.get(name, math.nan))
        mean = float(scores[metric].mean()) if metric in scores else math.nan
        text = number(value, 3) + ("" if math.isnan(mean) else f" ({number(mean, 3)})")
        title = METRICS[metric].label if metric in METRICS else name
        row[title] = Cell(text, {name: value, f"{name}_corrected": mean})
    return row


SECTION = Section(
    title="Appendix: what other papers report",
    parts=(TablePart(name="raw", build=raw_table),),
)

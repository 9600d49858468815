"""The tables for comparison with other papers: what others report, beside what can be said against it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from eval.metrics.table import METRICS
from reports.format.facts import (
    changed,
    labels,
    of,
    real,
    real_labels,
    setting,
)
from reports.format.table import Cell, Table, number, plain

if TYPE_CHECKING:
    import pandas as pd

    from eval.results.frames import Results

# muspy's name and that of the metric here which is what the name says.
_CORRECTED = {"pitch_in_scale_rate": "pitch_in_c_major_rate", "polyphony_rate": "polyphony_rate_ge2"}


def raw(results: Results) -> Table:
    """Return muspy's own numbers beside the corrected ones."""
    names = list(dict.fromkeys(results.raw["metric"]))
    rows = []
    for encoding, label in real_labels(results).items():
        own = results.experiments[results.experiments["encoding"] == encoding]["name"]
        values = results.raw[results.raw["experiment"].isin(own)].groupby("metric")["real"].mean()
        rows.append({"Model": plain("model", label), **_pairs(names, values, real(results, encoding))})
    for name, label in labels(results).items():
        values = of(results.raw, name).groupby("metric")["value"].mean()
        rows.append({"Model": plain("model", label), **_pairs(names, values, of(results.scores, name))})
    caption = (
        f"What muspy computes of the same pieces, and in brackets what the name promises. {setting(results)} "
        "Means over pieces and seeds without those that are not defined. muspy adds an empty bar or beat to pieces "
        "that end on a bar line, takes a note's end for part of the next beat and asks for three pitches at once "
        "where polyphony means two; numbers of another grid than sixteenths differ again. Not for a conclusion."
    )
    return Table.of("raw", rows=rows, caption=caption, notes=changed(results))


def _pairs(names: list[str], values: pd.Series[float], scores: pd.DataFrame) -> dict[str, Cell]:
    """Return the cells of a row: muspy's value, and the mean of the corrected metric, where there is one."""
    row = {}
    for name in names:
        metric = _CORRECTED.get(name, name)
        value = float(values.get(name, math.nan))
        mean = float(scores[metric].mean()) if metric in scores else math.nan
        text = number(value, 3) + ("" if math.isnan(mean) else f" ({number(mean, 3)})")
        title = METRICS[metric].label if metric in METRICS else name
        row[title] = Cell(text, {name: value, f"{name}_corrected": mean})
    return row

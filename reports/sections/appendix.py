"""The tables for comparison with other papers: what others report, beside what can be said against it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from eval.metrics.table import METRICS
from eval.scoring.measures import MEASURES
from reports.format.facts import (
    between,
    changed,
    controls,
    floor_of,
    labels,
    measures_of,
    of,
    over_seeds,
    panel_of,
    real,
    real_labels,
    setting,
)
from reports.format.table import Cell, Table, cell, number, plain

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


def overlap(results: Results) -> Table:
    """Return measures that others report although they cannot tell music from noise."""
    shown = [name for name in measures_of(results) if MEASURES[name].appendix]
    rows = []
    for encoding, label in real_labels(results).items():
        floors = {name: floor_of(results, encoding, name) for name in shown}
        rows.append(
            {
                "Model": plain("model", f"{label} (floor)"),
                **{MEASURES[name].label: cell(name, value, 3) for name, value in floors.items()},
            }
        )
    found = {
        (name, measure): over_seeds(panel_of(results, name, measure)["value"]).mean
        for name in labels(results)
        for measure in shown
    }
    for name, label in labels(results).items():
        values = {MEASURES[measure].label: cell(measure, found[name, measure], 3) for measure in shown}
        rows.append({"Model": plain("model", label), **values})
    caption = (
        f"Overlapping areas and the like, means over seeds. {setting(results)} They are here for comparison with "
        f"papers that report them, and are no part of any conclusion. {_fooled(results, found)}"
    )
    return Table.of("overlap", rows=rows, caption=caption, notes=changed(results))


def _fooled(results: Results, found: dict[tuple[str, str], float]) -> str:
    """Return the sentence that names the controls which score at least as well as real music."""
    names, firsts = controls(results), real_labels(results)
    better = {}
    for measure in dict.fromkeys(measure for _, measure in found):
        ideal = MEASURES[measure].ideal or 0.0
        floor = abs(floor_of(results, next(iter(firsts)), measure) - ideal)
        better[measure] = [label for name, label in names.items() if abs(found[name, measure] - ideal) <= floor]
    sentences = [f"{MEASURES[measure].label}: {between(fooled)}." for measure, fooled in better.items() if fooled]
    return "Controls that score as well as real music or better: " + " ".join(sentences) if sentences else ""

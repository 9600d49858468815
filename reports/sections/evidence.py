"""The tables of what is measured, and the evidence of what each measure can see: the controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.metrics.table import METRICS
from eval.scoring.measures import IN_FLOORS, MEASURES
from reports.format.facts import (
    changed,
    features,
    floor_of,
    measures_of,
    metrics_of,
    models,
    near,
    of,
    over_seeds,
    panel_of,
    real,
    real_labels,
    setting,
    several,
)
from reports.format.facts import controls as controls_of
from reports.format.table import CLIFF, DAGGER, MINUS, MISSING, TIMES, Cell, Table, cell, number, plain
from reports.sections.headline import DAGGERS

if TYPE_CHECKING:
    import pandas as pd

    from eval.results.frames import Results

_DIGITS = {"longest_run": 0, "mmd": 3, "mmd_p": 3}


def metrics(results: Results) -> Table:
    """Return every metric of every model: the mean over pieces, and the distance to real music."""
    rows = []
    for metric in metrics_of(results):
        about = METRICS[metric]
        row = {
            "Metric": plain("metric", about.label),
            "Unit": plain("unit", MISSING if about.unit == "1" else about.unit),
        }
        for encoding, label in real_labels(results).items():
            key = f"test/{encoding}/mean" if several(results) else "test/mean"
            row[label] = cell(key, real(results, encoding)[metric].mean())
        for name, label in models(results).items():
            row[label] = _metric(results, name, metric)
        rows.append(row)
    outside = [METRICS[name].label for name in metrics_of(results) if name not in features(results)]
    caption = (
        f"Every metric: mean over the pieces of all seeds, and ({TIMES}) the Wasserstein distance to the test split "
        f"as a multiple of that metric's own noise floor, and {CLIFF}, Cliff's delta, mean over seeds: how much more "
        f"often a sample has more than a test window than less, from {MINUS}1 to 1. {setting(results)} Pieces for "
        "which a metric is not defined are left out of all three; NaN gives their share where there are any."
        + (f" No part of the mean distance: {'; '.join(outside)}." if outside else "")
    )
    refused = results.about["refused"]
    notes = [f"{METRICS[name].label}: not measured, since {reason}" for name, reason in refused.items()]
    return Table.of("metrics", rows=rows, caption=caption, notes=notes)


def _metric(results: Results, name: str, metric: str) -> Cell:
    """Return the cell of one metric of one experiment."""
    values = of(results.scores, name)[metric]
    ratio, cliff = (_distance(results, name, metric, column) for column in ("ratio", "cliff"))
    mean, missing = float(values.mean()), float(values.isna().mean())
    text = f"{number(mean)} ({number(ratio, 1)}{TIMES}, {CLIFF} {number(cliff, sign='+')})"
    text += f", NaN {100 * missing:.1f} %" if missing > 0 else ""
    numbers = {"mean": mean, "ratio": ratio, "cliff": cliff, "nan_rate": missing}
    return Cell(text, {f"{name}/{key}": value for key, value in numbers.items()})


def controls(results: Results) -> Table:
    """Return every measure of every control: the evidence of what each measure can see."""
    shown = list(measures_of(results))
    rows = []
    for encoding, label in real_labels(results).items():
        row = {"Control": plain("control", f"{label} (floor)")}
        for name in shown:
            floor = 1.0 if name in IN_FLOORS else floor_of(results, encoding, name)
            row[_title(name)] = cell(name, floor, 0 if name in IN_FLOORS else _DIGITS.get(name, 2))
        rows.append(row)
    for name, label in controls_of(results).items():
        row = {"Control": plain("control", label)}
        for measure in shown:
            found = panel_of(results, name, measure)
            mark = DAGGER if near(measure, found) else ""
            inside = measure in IN_FLOORS
            value = over_seeds(found["ratio" if inside else "value"]).mean
            row[_title(measure)] = cell(measure, value, 1 if inside else _DIGITS.get(measure, 2), mark=mark)
        rows.append(row)
    caption = (
        f"What each measure can see: music that is real, copied, spoilt or not music at all. {setting(results)} "
        f"({TIMES}): as a multiple of the noise floor; others are values, whose reference is the first row. A measure "
        f"is blind to a control that stands near the first row. {DAGGERS}"
    )
    return Table.of("controls", rows=rows, caption=caption, notes=changed(results))


def metrics_of_controls(results: Results) -> Table:
    """Return every metric of every control, as a multiple of the floor."""
    rows = []
    for metric in metrics_of(results):
        row = {"Metric": plain("metric", METRICS[metric].label)}
        for name, label in controls_of(results).items():
            row[label] = cell(name, _distance(results, name, metric, "ratio"), 1)
        rows.append(row)
    caption = (
        "What each metric can see: Wasserstein distance of the controls to the test split, as a multiple of the "
        f"metric's own noise floor. {setting(results)} Near 1, the metric cannot tell the control from real music. "
        "Pieces for which a metric is not defined are left out."
    )
    return Table.of("metrics_of_controls", rows=rows, caption=caption, notes=changed(results))


def _distance(results: Results, name: str, metric: str, column: str) -> float:
    """Return the mean over seeds of a column of a metric's distances."""
    distances = of(results.distances, name)
    values: pd.Series[float] = distances[distances["metric"] == metric][column]
    return over_seeds(values).mean


def _title(measure: str) -> str:
    label = MEASURES[measure].label
    title = label if label.startswith("p ") else f"{label[0].upper()}{label[1:]}"  # a p value stays small
    return title + (f" ({TIMES})" if measure in IN_FLOORS else "")

"""Controls: known music and noise, which show what each measure and each metric can detect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.metrics.table import METRICS
from eval.scoring.measures import IN_FLOORS, MEASURES
from reports.format.captions import DAGGERS, changed_shares, setting
from reports.format.queries import (
    controls,
    floor_of,
    indistinguishable,
    measure_rows,
    measures_of,
    metric_distance,
    metrics_of,
    over_seeds,
    real_labels,
    undefined_share,
)
from reports.format.section import Section, TablePart
from reports.format.table import DAGGER, TIMES, Table, number_cell, text_cell

if TYPE_CHECKING:
    from eval.results.frames import Results

_DIGITS = {"longest_run": 0, "mmd": 3, "mmd_p": 3}


def controls_table(results: Results) -> Table:
    """Build the table of all measures of all controls."""
    shown = measures_of(results)
    rows = []
    for encoding, label in real_labels(results).items():
        row = {"Control": text_cell("control", f"{label} (floor)")}
        for name in shown:
            floor = 1.0 if name in IN_FLOORS else floor_of(results, encoding, name)
            floor = undefined_share(results, encoding) if name == "nan_rate" else floor  # not compared with a floor
            row[_title(name)] = number_cell(name, floor, 0 if name in IN_FLOORS else _DIGITS.get(name, 2))
        rows.append(row)
    for name, label in controls(results).items():
        row = {"Control": text_cell("control", label)}
        for measure in shown:
            found = measure_rows(results, name, measure)
            mark = DAGGER if indistinguishable(measure, found) else ""
            inside = measure in IN_FLOORS
            value = over_seeds(found["ratio" if inside else "value"]).mean
            row[_title(measure)] = number_cell(measure, value, 1 if inside else _DIGITS.get(measure, 2), mark=mark)
        rows.append(row)
    caption = (
        "What each measure can detect: the controls are real music, copies, distorted music and noise. "
        f"{setting(results)} ({TIMES}): multiples of the noise floor. Other columns are values; the first row is their "
        f"reference. A measure cannot detect what a control changes where the control is close to the first row. "
        f"{DAGGERS}"
    )
    return Table.of("controls", rows=rows, caption=caption, notes=changed_shares(results))


def metrics_of_controls_table(results: Results) -> Table:
    """Build the table of the distances of all controls by metric, as multiples of the noise floor."""
    rows = []
    for metric in metrics_of(results):
        row = {"Metric": text_cell("metric", METRICS[metric].label)}
        for name, label in controls(results).items():
            row[label] = number_cell(name, metric_distance(results, name, metric, "ratio"), 1)
        rows.append(row)
    caption = (
        "What each metric can detect: Wasserstein distance of the controls to the test split, as a multiple of the "
        f"metric's own noise floor. {setting(results)} Near 1, the metric cannot tell the control from real music. "
        "Pieces without a defined value are excluded."
    )
    return Table.of("metrics_of_controls", rows=rows, caption=caption, notes=changed_shares(results))


def _title(measure: str) -> str:
    label = MEASURES[measure].label
    title = label if label.startswith("p ") else f"{label[0].upper()}{label[1:]}"  # p stays lower case
    return title + (f" ({TIMES})" if measure in IN_FLOORS else "")


SECTION = Section(
    title="Controls",
    parts=(
        TablePart(name="controls", build=controls_table),
        TablePart(name="metrics_of_controls", build=metrics_of_controls_table),
    ),
)

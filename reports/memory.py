"""The table of what samples have from training, and from one another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from eval.memorisation import COPYING
from eval.panel import MEASURES
from reports.facts import changed, floor_of, labels, measures_of, over_seeds, panel_of, real_labels, setting
from reports.table import TIMES, Cell, Table, number, plain

if TYPE_CHECKING:
    from eval.results import Results


def memorisation(results: Results) -> Table:
    """Return copies of training and diversity, beside those of the test split."""
    shown = [name for name in measures_of(results) if name in COPYING]
    rows = []
    for encoding, label in real_labels(results).items():
        values = {name: floor_of(results, encoding, name) for name in shown}
        rows.append(
            {
                "Model": plain("model", label),
                **{_title(name): Cell(_text(name, value), {name: value}) for name, value in values.items()},
            }
        )
    for name, label in labels(results).items():
        row = {"Model": plain("model", label)}
        for measure in shown:
            found = panel_of(results, name, measure)
            value, ratio = (over_seeds(found[key]).mean for key in ("value", "ratio"))
            text = _text(measure, value)
            if measure.startswith("copy_") and not math.isnan(ratio):
                text = f"{text} ({number(ratio, 1)}{TIMES})"
            row[_title(measure)] = Cell(text, {measure: value, f"{measure}_ratio": ratio})
        rows.append(row)
    caption = (
        f"What is copied from training, and how varied samples are. {setting(results)} Runs of successive notes or "
        "onsets are the same whatever their key and starting time. Shares in percent of all runs, means over seeds; "
        f"({TIMES}): as a multiple of the share that the test split, of other songs, has in common with training: "
        "above 1 a model repeats its training, below 1 it is more original than real music, or no music. Distinct: "
        "different runs out of all, small where the same is played over and over. A set without a run of that length "
        "has no share."
    )
    return Table.of("memorisation", rows=rows, caption=caption, notes=changed(results))


def _title(measure: str) -> str:
    label = MEASURES[measure].label
    unit = "" if MEASURES[measure].unit != "1" else " (%)"
    return f"{label[0].upper()}{label[1:]}{unit}"


def _text(measure: str, value: float) -> str:
    return number(100 * value, 1) if MEASURES[measure].unit == "1" else number(value, 0)

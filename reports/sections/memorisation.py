"""What samples have from training, and from one another, as a table and sample by sample."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from eval.distances.copying import COPYING
from eval.scoring.measures import MEASURES
from reports.format.facts import (
    TEST,
    changed,
    colours,
    encoding_of,
    floor_of,
    labels,
    measures_of,
    models,
    of,
    over_seeds,
    panel_of,
    real_labels,
    setting,
)
from reports.format.picture import REAL, Picture, look, nothing, sheet
from reports.format.table import TIMES, Cell, Table, number, plain

if TYPE_CHECKING:
    from eval.results.frames import Results


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


@look
def copies(results: Results) -> Picture:
    """Draw how much of single samples is copied from training, beside how much of single test windows is."""
    names, searched = models(results), results.trials["searched"].astype(float).min()
    rates = results.scores[["experiment", "encoding", "copied"]].dropna(subset="copied")
    names = {name: label for name, label in names.items() if name in set(rates["experiment"])}
    caption = (
        "How much of each sample is copied: the share of its runs of 8 notes that the training split has too, whatever "
        f"their key and starting time. {setting(results)} Bars: samples of all seeds; line: windows of the test split, "
        "whose songs the training split does not have; both as a share of their own number, in steps of 5 %. Dotted: "
        "means. Samples of fewer than 8 notes are left out."
        + (
            f" Of the training windows, {number(100 * searched, 1)} % were searched: what is copied from others is not "
            "seen."
            if searched < 1
            else ""
        )
    )
    if not names:
        return nothing("No model has samples of 8 notes.", caption)
    across = min(len(names), 4)
    down = -(-len(names) // across)
    figure = sheet(2.5 * across + 0.4, 1.75 * down + 0.4)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    edges = np.linspace(0, 100, 21)
    for axes, (name, label) in zip(grid.flat, names.items(), strict=False):
        music = of(rates, TEST)
        sets = [of(rates, name), music[music["encoding"] == encoding_of(results, name)]]
        for own, (colour, filled) in zip(sets, ((colours(results)[name], True), (REAL, False)), strict=True):
            shares = 100 * own["copied"].astype(float)
            counts = 100 * np.histogram(shares, edges)[0] / max(1, len(shares))
            axes.stairs(counts, edges, color=colour, fill=filled, alpha=0.5 if filled else 1, lw=1.2)
            axes.axvline(shares.mean(), color=colour, lw=1, ls=":")
        axes.set_title(label, color=colours(results)[name], fontsize=8.5)
    grid[0, 0].set_xlim(0, 100)
    figure.supxlabel("Runs of 8 notes that training has (%)", fontsize=9)
    figure.supylabel("Windows (%)", fontsize=9)
    return Picture(figure, caption)


def _title(measure: str) -> str:
    label = MEASURES[measure].label
    unit = "" if MEASURES[measure].unit != "1" else " (%)"
    return f"{label[0].upper()}{label[1:]}{unit}"


def _text(measure: str, value: float) -> str:
    return number(100 * value, 1) if MEASURES[measure].unit == "1" else number(value, 0)

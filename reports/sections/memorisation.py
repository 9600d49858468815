"""Memorisation: what samples share with training and with one another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from eval.distances.copying import COPYING
from eval.scoring.measures import MEASURES
from reports.format.captions import changed_shares, setting
from reports.format.figure import REAL, CaptionedFigure, new_figure, placeholder, styled
from reports.format.piano_roll import draw_roll
from reports.format.queries import (
    TEST,
    colours,
    encoding_of,
    floor_of,
    labels,
    measure_rows,
    measures_of,
    models,
    over_seeds,
    real_labels,
    rows_of,
)
from reports.format.section import FigurePart, Section, TablePart
from reports.format.table import TIMES, Cell, Table, number, text_cell

if TYPE_CHECKING:
    from eval.results.frames import Results


@styled
def copies(results: Results) -> CaptionedFigure:
    """Draw the distribution of copied shares over samples, and over test windows."""
    names, searched = models(results), results.trials["searched"].astype(float).min()
    rates = results.scores[["experiment", "encoding", "copied"]].dropna(subset="copied")
    names = {name: label for name, label in names.items() if name in set(rates["experiment"])}
    caption = (
        "Copied share of each sample: the share of its runs of 8 notes that also occur in the training split, in any "
        f"key and at any starting time. {setting(results)} Bars: samples of all seeds. Line: windows of the test "
        "split, whose songs are not in the training split. Both in percent of their number, in bins of 5 %. Dotted: "
        "means. Samples of fewer than 8 notes are excluded."
        + (
            f" Only {number(100 * searched, 1)} % of the training windows were searched; copies of the others are not "
            "counted."
            if searched < 1
            else ""
        )
    )
    if not names:
        return placeholder("No model has samples of 8 notes.", caption)
    across = min(len(names), 4)
    down = -(-len(names) // across)
    figure = new_figure(2.5 * across + 0.4, 1.75 * down + 0.4)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    edges = np.linspace(0, 100, 21)
    for axes, (name, label) in zip(grid.flat, names.items(), strict=False):
        music = rows_of(rates, TEST)
        sets = [rows_of(rates, name), music[music["encoding"] == encoding_of(results, name)]]
        for own, (colour, filled) in zip(sets, ((colours(results)[name], True), (REAL, False)), strict=True):
            shares = 100 * own["copied"].astype(float)
            counts = 100 * np.histogram(shares, edges)[0] / max(1, len(shares))
            axes.stairs(counts, edges, color=colour, fill=filled, alpha=0.5 if filled else 1, lw=1.2)
            axes.axvline(shares.mean(), color=colour, lw=1, ls=":")
        axes.set_title(label, color=colours(results)[name], fontsize=8.5)
    grid[0, 0].set_xlim(0, 100)
    figure.supxlabel("Runs of 8 notes that training has (%)", fontsize=9)
    figure.supylabel("Windows (%)", fontsize=9)
    return CaptionedFigure(figure, caption)


@styled
def nearest_pairs(results: Results) -> CaptionedFigure:
    """Draw the samples that share most with one training window, next to that window."""
    pairs = results.pairs
    unit = results.about["unit"]
    caption = (
        "The samples of each model's first seed that share most runs of 8 notes with one training window, next to that "
        f"window. These are the worst cases, selected on purpose. {setting(results)} Percent: shared runs as a share "
        "of the sample's runs, compared in any key and at any starting time. Pitch over time in "
        f"{unit}s, with a grey line every 4 {unit}s."
    )
    if pairs.empty:
        return placeholder("There are no pairs to show.", caption)
    names, paint = labels(results), colours(results)
    lines = list(pairs.groupby(["experiment", "pair"], sort=False))
    figure = new_figure(9.2, 0.5 + 1.15 * len(lines))
    grid = figure.subplots(len(lines), 2, squeeze=False)
    for row, ((name, _), notes) in zip(grid, lines, strict=True):
        share = number(100 * notes["share"].iloc[0], 0)
        row[0].set_title(f"{names[name]}: {share} % of runs", color=paint[name], fontsize=8.5, pad=3)
        row[1].set_title("Nearest training window", color=REAL, fontsize=8.5, pad=3)
        for axes, (side, colour) in zip(row, (("sample", paint[name]), ("train", REAL)), strict=True):
            played = notes[notes["side"] == side]
            played = played.assign(
                onset=played["onset"] - played["onset"].min(),
                stop=played["onset"] - played["onset"].min() + played["duration"],
            )
            draw_roll(axes, played, colour, played["stop"].max())
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.supxlabel(f"{unit}s".capitalize(), fontsize=9)
    figure.supylabel("MIDI pitch", fontsize=9)
    return CaptionedFigure(figure, caption)


def memorisation_table(results: Results) -> Table:
    """Build the table of copying and diversity, for each experiment and for the test split."""
    shown = [name for name in measures_of(results) if name in COPYING]
    rows = []
    for encoding, label in real_labels(results).items():
        values = {name: floor_of(results, encoding, name) for name in shown}
        rows.append(
            {
                "Model": text_cell("model", label),
                **{_title(name): Cell(_value_text(name, value), {name: value}) for name, value in values.items()},
            }
        )
    for name, label in labels(results).items():
        row = {"Model": text_cell("model", label)}
        for measure in shown:
            found = measure_rows(results, name, measure)
            value, ratio = (over_seeds(found[key]).mean for key in ("value", "ratio"))
            text = _value_text(measure, value)
            if measure.startswith("copy_") and not math.isnan(ratio):
                text = f"{text} ({number(ratio, 1)}{TIMES})"
            row[_title(measure)] = Cell(text, {measure: value, f"{measure}_ratio": ratio})
        rows.append(row)
    caption = (
        f"Copying from training, and diversity. {setting(results)} Runs of successive notes or onsets are compared in "
        f"any key and at any starting time. Shares are in percent of all runs, means over seeds. ({TIMES}): multiple "
        "of the share that the test split, which has other songs, has in common with training. Above 1 a model repeats "
        "its training data; below 1 it is more original than real music, or not music. Distinct: number of different "
        "runs divided by the number of all runs; small where samples repeat. A set without runs of that "
        "length has no share."
    )
    return Table.of("memorisation", rows=rows, caption=caption, notes=changed_shares(results))


def _title(measure: str) -> str:
    label = MEASURES[measure].label
    unit = "" if MEASURES[measure].unit != "1" else " (%)"
    return f"{label[0].upper()}{label[1:]}{unit}"


def _value_text(measure: str, value: float) -> str:
    return number(100 * value, 1) if MEASURES[measure].unit == "1" else number(value, 0)


SECTION = Section(
    title="Memorisation",
    parts=(
        FigurePart(name="copies", draw=copies),
        FigurePart(name="nearest_pairs", draw=nearest_pairs),
        TablePart(name="memorisation", build=memorisation_table),
    ),
)

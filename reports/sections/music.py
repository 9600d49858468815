"""The figures that show music itself: what was generated, and what it is nearest to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator, MultipleLocator

from reports.format.facts import TEST, colours, labels, models, of, real_labels, setting
from reports.format.picture import FAINT, GREY, REAL, Picture, look, nothing, sheet
from reports.format.table import number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from eval.results.frames import Results

_SAMPLES = 5


@look
def piano_rolls(results: Results) -> Picture:
    """Draw the first samples of each model below the first windows of the test split."""
    notes = results.notes[results.notes["sample"] < _SAMPLES]
    notes = notes.assign(stop=notes["onset"] + notes["duration"])
    music, paint = of(notes, TEST), colours(results)
    lines = [(label, REAL, music[music["encoding"] == name]) for name, label in real_labels(results).items()]
    lines += [(label, paint[name], of(notes, name)) for name, label in models(results).items()]
    unit = results.about["unit"]
    end = horizon(notes, music)
    caption = (
        f"The first {_SAMPLES} samples of each model's first seed, not picked, below the first windows of distinct "
        f"test songs. {setting(results)} Pitch over time in {unit}s, a grey line every 4 {unit}s; all panels have the "
        "same axes."
    )
    if not len(notes):
        return nothing("No sample has notes.", caption)
    if notes["stop"].max() > end:
        caption += f" Cut after {number(end, 0)} {unit}s."

    figure = sheet(10.5, 0.4 + 0.95 * len(lines))
    grid = figure.subplots(len(lines), _SAMPLES, sharex=True, sharey=True, squeeze=False)
    frame(grid[0, 0], notes, end)
    for row, (label, colour, played) in zip(grid, lines, strict=True):
        row[0].set_title(label, color=colour, fontsize=8.5, pad=3)
        for sample, axes in enumerate(row):
            roll(axes, played[played["sample"] == sample], colour, end)
    figure.supxlabel(f"{unit}s".capitalize(), fontsize=9)
    figure.supylabel("MIDI pitch", fontsize=9)
    return Picture(figure, caption)


def horizon(notes: pd.DataFrame, music: pd.DataFrame) -> float:
    """Return where piano rolls end: with the last note, or after twice the longest real window.

    A model that waits for long would squeeze the others' notes.
    """
    ends = [part["onset"] + part["duration"] for part in (notes, music)]
    last, longest = (float(end.max()) if len(end) else math.inf for end in ends)
    return min(last, 2 * longest) if math.isfinite(min(last, longest)) else 1.0


def frame(axes: Axes, notes: pd.DataFrame, end: float) -> None:
    """Set the axes that piano rolls share so that they hold all pitches of notes up to an end."""
    axes.set_xlim(0, end)
    if len(notes):
        axes.set_ylim(notes["pitch"].min() - 2, notes["pitch"].max() + 2)
    axes.yaxis.set_major_locator(MultipleLocator(24))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 4, 8, 10]))


def roll(axes: Axes, notes: pd.DataFrame, colour: Any, end: float) -> None:  # noqa: ANN401 - matplotlib's
    """Draw one piece: its onsets, pitches and stops, up to an end."""
    for bar in np.arange(4, end, 4):
        axes.axvline(bar, color=FAINT, lw=0.6, zorder=0)
    axes.tick_params(length=2, labelsize=7)
    if notes.empty:
        axes.text(0.5, 0.5, "no notes", transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=8)
    # A gap lets repeated notes be told from a long one. One broken line is a fifth of the bytes of many.
    times = np.column_stack([notes["onset"], notes["stop"] - end / 300, np.full(len(notes), np.nan)])
    axes.plot(times.ravel(), np.repeat(notes["pitch"], 3), color=colour, lw=1.7, solid_capstyle="butt")


@look
def nearest_pairs(results: Results) -> Picture:
    """Draw the samples that have most in common with training beside the training windows that they have it from."""
    pairs = results.pairs
    unit = results.about["unit"]
    caption = (
        "The samples of each model's first seed that share most runs of 8 notes with one training window, beside that "
        f"window; picked for being the worst. {setting(results)} In percent: these runs as a share of the sample's. "
        f"Runs are compared whatever their key and starting time. Pitch over time in {unit}s, a grey line every 4 "
        f"{unit}s."
    )
    if pairs.empty:
        return nothing("There are no pairs to show.", caption)
    names, paint = labels(results), colours(results)
    lines = list(pairs.groupby(["experiment", "pair"], sort=False))
    figure = sheet(9.2, 0.5 + 1.15 * len(lines))
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
            roll(axes, played, colour, played["stop"].max())
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.supxlabel(f"{unit}s".capitalize(), fontsize=9)
    figure.supylabel("MIDI pitch", fontsize=9)
    return Picture(figure, caption)

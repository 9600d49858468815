"""The figures that show music itself: what was generated, and how models place the pitches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import hsv_to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator

from reports.facts import TEST, colours, labels, models, of, real_labels, setting
from reports.geometry import Geometry, geometry
from reports.picture import FAINT, GREY, REAL, Picture, look, nothing, sheet
from reports.table import number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from eval.results import Results

_SAMPLES = 5
_PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_WHEEL = [tuple(hsv_to_rgb((index / 12, 0.75, 0.82))) for index in range(12)]


@look
def piano_rolls(results: Results) -> Picture:
    """Draw the first samples of each model below the first windows of the test split."""
    notes = results.notes[results.notes["sample"] < _SAMPLES]
    notes = notes.assign(stop=notes["onset"] + notes["duration"])
    music, paint = of(notes, TEST), colours(results)
    lines = [(label, REAL, music[music["encoding"] == name]) for name, label in real_labels(results).items()]
    lines += [(label, paint[name], of(notes, name)) for name, label in models(results).items()]
    unit = results.about["unit"]
    # A model that waits for long would squeeze the others' notes: room for twice the longest real window.
    end = min(notes["stop"].max(), 2 * music["stop"].max()) if len(music) else notes["stop"].max()
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
    grid[0, 0].set_xlim(0, end)
    grid[0, 0].set_ylim(notes["pitch"].min() - 2, notes["pitch"].max() + 2)
    grid[0, 0].yaxis.set_major_locator(MultipleLocator(24))
    grid[0, 0].xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 4, 8, 10]))
    for row, (label, colour, played) in zip(grid, lines, strict=True):
        row[0].set_title(label, color=colour, fontsize=8.5, pad=3)
        for sample, axes in enumerate(row):
            _roll(axes, played[played["sample"] == sample], colour, end)
    figure.supxlabel(f"{unit}s".capitalize(), fontsize=9)
    figure.supylabel("MIDI pitch", fontsize=9)
    return Picture(figure, caption)


def _roll(axes: Axes, notes: pd.DataFrame, colour: Any, end: float) -> None:  # noqa: ANN401 - matplotlib's
    """Draw one piece."""
    for bar in np.arange(4, end, 4):
        axes.axvline(bar, color=FAINT, lw=0.6, zorder=0)
    axes.tick_params(length=2, labelsize=7)
    if notes.empty:
        axes.text(0.5, 0.5, "no notes", transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=8)
    # A gap lets repeated notes be told from a long one.
    axes.hlines(notes["pitch"], notes["onset"], notes["stop"] - end / 300, color=colour, lw=1.7)


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
            _roll(axes, played, colour, played["stop"].max())
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.supxlabel(f"{unit}s".capitalize(), fontsize=9)
    figure.supylabel("MIDI pitch", fontsize=9)
    return Picture(figure, caption)


@look
def embedding_geometry(results: Results) -> Picture:
    """Draw the pitch embeddings of each arm on their first two principal components."""
    seed = results.trials["seed"].min()
    pitches = results.embeddings[results.embeddings["seed"] == seed]
    pitches = pitches.dropna(subset="pitch")
    names = [name for name in models(results) if name in set(pitches["experiment"])]
    caption = (
        f"Embeddings of the pitches that the corpus has, of seed {seed}, on their first two principal components. "
        f"{setting(results)} Colour: pitch class; lines join the octaves of one pitch class from low (small dots) to "
        "high. In percent: share of the variance. Octave lift: mean cosine of pitches 12 semitones apart minus that of "
        "11 and 13; fifth lift: of 7 minus 6 and 8; without structure both are near 0."
    )
    if not names:
        return nothing("No model has embeddings.", caption)
    across = min(len(names), 4)
    down = -(-len(names) // across)
    figure = sheet(2.9 * across, 3.2 * down + 0.3)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        found = geometry(of(pitches, name))
        _constellation(axes, found)
        axes.set_title(labels(results)[name], color=colours(results)[name], pad=30)
        lifts = f"octave lift {number(found.octave_lift, sign='+')}\nfifth lift {number(found.fifth_lift, sign='+')}"
        axes.text(0, 1.02, lifts, transform=axes.transAxes, fontsize=8, va="bottom")
    figure.legend(
        handles=[Line2D([], [], color=colour, ls="", marker="o", ms=5) for colour in _WHEEL],
        labels=_PITCH_CLASSES,
        loc="outside lower center",
        ncols=12,
        frameon=False,
        handletextpad=0,
        columnspacing=0.9,
        fontsize=8,
    )
    return Picture(figure, caption)


def _constellation(axes: Axes, found: Geometry) -> None:
    """Draw the pitches of one model."""
    for index, colour in enumerate(_WHEEL):
        member = found.pitches % 12 == index
        points = found.points[member]
        axes.plot(points[:, 0], points[:, 1], color=colour, lw=0.8, alpha=0.45)
        sizes = 4 + 0.5 * (found.pitches[member] - found.pitches.min())
        axes.scatter(points[:, 0], points[:, 1], s=sizes, color=[colour], lw=0)
    first, second = (number(100 * share, 0) for share in found.shares)
    axes.set_xlabel(f"component 1 ({first} %)", fontsize=8)
    axes.set_ylabel(f"component 2 ({second} %)", fontsize=8)
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")

"""How models place the pitches: where they lie, how alike they are, and what of it chance would give as well."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import hsv_to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from eval.statistics.paired import holm
from reports.format.facts import INTERVALS, colours, models, of, over_seeds, setting
from reports.format.picture import GREY, INK, Picture, look, name_rows, nothing, sheet
from reports.format.table import Cell, Table, margin, number, plain
from reports.sections.geometry import SHUFFLES, STATISTICS, Geometry, Tested, against_chance, geometry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from eval.results.frames import Results

_PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_WHEEL = [tuple(hsv_to_rgb((index / 12, 0.75, 0.82))) for index in range(12)]
_CHANCE = "#d0d0d0"
_ACROSS = 4  # models side by side at most
_EXPLAINED = (
    "Pitch distance: Spearman's correlation of the semitones between two pitches with the distance of their "
    "embeddings. Octave lift: mean cosine of pitches 12 semitones apart minus that of 11 and 13; fifth lift: of 7 "
    "minus 6 and 8. Circles: power of the Fourier components of the mean directions of the pitch classes that lie "
    "in the order of semitones, or of fifths; 0.18 without structure."
)


@functools.lru_cache(maxsize=1)  # for the table and the figure of the same results
def _measured(results: Results) -> dict[str, list[Geometry]]:
    """Return the geometry of each seed of each model that has embeddings of two pitches or more."""
    pitches = results.embeddings.dropna(subset="pitch")
    found = {
        name: [
            geometry(own, np.random.default_rng(int(seed)))
            for seed, own in of(pitches, name).groupby("seed")
            if len(own) > 1
        ]
        for name in models(results)
    }
    return {name: seeds for name, seeds in found.items() if seeds}


def _adjusted(found: dict[str, list[Geometry]]) -> dict[str, dict[str, Tested]]:
    """Return the statistics of each model, with p values that are adjusted for the number of all of them."""
    every = {(name, key): one for name, seeds in found.items() for key, one in against_chance(seeds).items()}
    adjusted = holm([one.p for one in every.values()])
    result: dict[str, dict[str, Tested]] = {name: {} for name in found}
    for ((name, key), one), p in zip(every.items(), adjusted, strict=True):
        result[name][key] = replace(one, p=p)
    return result


def _tests(found: dict[str, list[Geometry]]) -> str:
    """Return the sentence about the p values."""
    return (
        f"p: of {SHUFFLES} shuffles of the pitches among the embeddings of each seed, two-sided, of the mean over "
        f"seeds, adjusted for all {len(found) * len(STATISTICS)} tests (Holm)."
    )


def table(results: Results) -> Table:
    """Return the statistics of the pitch embeddings of each model, beside chance."""
    found = _measured(results)
    against = _adjusted(found)
    rows = []
    for name, seeds in found.items():
        row = {"Model": plain("model", models(results)[name])}
        for key, label in STATISTICS.items():
            one = against[name][key]
            shown = margin(key, one.over, sign="" if key in {"semitones", "fifths"} else "+")
            numbers = {**shown.numbers, f"{key}_p": one.p, f"{key}_chance_low": one.low, f"{key}_chance_high": one.high}
            row[label.capitalize()] = Cell(f"{shown.text} (p {number(one.p, 3)})", numbers)
        row["Mean cosine"] = margin("mean_cosine", over_seeds([one.anisotropy for one in seeds]), sign="+")
        closest = [one.closest / results.about["sigma_0"] for one in seeds]
        row["Closest pair"] = margin("closest_pair", over_seeds(closest), 1)
        rows.append(row)
    caption = (
        f"Geometry of the pitch embeddings. {setting(results)} Means over seeds with half of their intervals. "
        f"{_EXPLAINED} {_tests(found)} Mean cosine: of two different pitches, 0 where no direction is preferred; "
        "closest pair: the smallest distance of two pitches in standard deviations of the noise at the first timestep; "
        "neither depends on which embedding is which pitch."
    )
    return Table.of("geometry", rows=rows, caption=caption)


@look
def embedding_geometry(results: Results) -> Picture:
    """Draw the pitch embeddings of each arm: their principal components, their cosines, and their statistics."""
    found = _measured(results)
    seed = results.trials["seed"].min()
    caption = (
        f"Embeddings of the pitches that the corpus has. {setting(results)} Top: the first two principal components, "
        f"of seed {seed}; colour: pitch class; lines join the octaves of one pitch class, from low (small dots) to "
        "high; in percent: share of the variance. Middle: cosine similarities of all pairs of pitches, of the same "
        f"seed. Bottom: what there is of it in numbers. Dots: means over seeds; lines: {INTERVALS}; small dots: seeds; "
        "grey bars: where 95 % of shuffles are, so that a dot on grey is no finding. "
        f"{_EXPLAINED} {_tests(found)}"
    )
    if not found:
        return nothing("No model has embeddings.", caption)
    down = -(-len(found) // _ACROSS)
    across = -(-len(found) // down)
    against = _adjusted(found)
    shown = [value for tests in against.values() for one in tests.values() for value in (*one.seeds, one.low, one.high)]
    limit = 1.1 * max(filter(math.isfinite, map(abs, shown)), default=1.0)
    figure = sheet(2.75 * across + 1.6, 6.9 * down + 0.3)
    grid = figure.subplots(3 * down, across, squeeze=False, height_ratios=[2.4, 2.4, 1.3] * down)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, (name, seeds) in enumerate(found.items()):
        row, column = divmod(place, across)
        constellation, matrix, chart = grid[3 * row : 3 * row + 3, column]
        for axes in (constellation, matrix, chart):
            axes.set_axis_on()
        constellation.set_title(models(results)[name], color=colours(results)[name])
        _constellation(constellation, seeds[0])
        image = _matrix(matrix, seeds[0])
        _chart(chart, against[name], colours(results)[name], limit=limit)
        if column:
            chart.tick_params(axis="y", labelleft=False)
        else:
            matrix.set_ylabel("MIDI pitch", fontsize=8)
            figure.colorbar(image, ax=grid[3 * row + 1].tolist(), label="cosine similarity", shrink=0.8, aspect=25)
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
    """Draw the pitches of one model on their principal components."""
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


def _matrix(axes: Axes, found: Geometry) -> AxesImage:
    """Draw how alike all pairs of pitches are, those that the corpus lacks left blank."""
    first, last = found.pitches[[0, -1]]
    cosines = np.full((last - first + 1, last - first + 1), np.nan)
    cosines[np.ix_(found.pitches - first, found.pitches - first)] = found.cosines
    image = axes.imshow(
        cosines,
        cmap="RdBu_r",
        vmin=-1,
        vmax=1,
        origin="lower",
        interpolation="none",
        extent=(first - 0.5, last + 0.5, first - 0.5, last + 0.5),
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(12))
    axes.tick_params(labelsize=7, length=2)
    axes.set_xlabel("MIDI pitch", fontsize=8)
    return image


def _chart(axes: Axes, tests: dict[str, Tested], colour: Any, *, limit: float) -> None:  # noqa: ANN401 - matplotlib's
    """Draw the statistics of one model beside what chance gives."""
    for row, one in enumerate(tests.values()):
        axes.plot([one.low, one.high], [row, row], color=_CHANCE, lw=7, solid_capstyle="butt")
        axes.plot(one.over[1:], [row, row], color=colour, lw=1.4)
        axes.plot(one.seeds, [row + 0.3] * len(one.seeds), ".", color=colour, alpha=0.5, ms=4, mew=0)
        axes.plot(one.over.mean, row, "o", color=colour, ms=4.5)
        text = f"p {number(one.p, 3)}"
        axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7, color=INK)
    axes.axvline(0, color=GREY, lw=0.6, zorder=0)
    axes.set_xlim(-limit, limit)
    name_rows(axes, [label.capitalize() for label in STATISTICS.values()], [INK] * len(tests))
    axes.tick_params(labelsize=7)

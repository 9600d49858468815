"""The figures of the report: pure functions of the results."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from eval.metrics.table import METRICS
from reports.format.facts import (
    INTERVALS,
    PER_NOTE,
    between,
    by_seed,
    colours,
    controls,
    distance_of,
    each,
    features,
    is_bound,
    labels,
    measured,
    models,
    muted,
    nats,
    of,
    over_seeds,
    real,
    setting,
    several,
    stretches,
)
from reports.format.picture import FAINT, GREY, INK, REAL, Picture, logarithmic, look, name_rows, nothing, sheet
from reports.format.table import LESS, number, span
from reports.sections.curves import audit, training_curves
from reports.sections.denoising import denoising
from reports.sections.embeddings import embedding_geometry
from reports.sections.form import form
from reports.sections.memorisation import copies
from reports.sections.music import nearest_pairs, piano_rolls
from reports.sections.samplers import quality
from reports.sections.tradeoffs import frontier, pareto

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.axes import Axes

    from eval.results.frames import Results

_LOG_FROM = 6  # the ratio of the largest to the smallest value from which a linear axis squeezes the small ones


@look
def floor_forest(results: Results) -> Picture:
    """Draw the distance to real music of each model with its interval and its seeds."""
    names, p95 = labels(results), results.encodings.set_index("name")["floor_p95"]
    paint = muted(results)
    seeds = {name: distance_of(results, name) for name in names}
    found = {name: over_seeds(values) for name, values in seeds.items()}
    shown = np.array([1.0, *p95, *(value for values in seeds.values() for value in values)])
    shown = shown[np.isfinite(shown)]
    # What is copied has distances of 0, for which a logarithmic axis has no room.
    left, right = 0.8 * shown[shown > 0].min(), 1.15 * shown.max()

    figure = sheet(7.4, 0.9 + 0.3 * len(names))
    axes = figure.subplots()
    for encoding, first, last in stretches(results, names):
        axes.fill_betweenx([first, last], left, p95[encoding], color=FAINT, lw=0)
        axes.plot([p95[encoding]] * 2, [first, last], color=REAL, lw=0.8, ls=(0, (4, 2)))
    axes.axvline(1, color=REAL, lw=1)
    for row, name in enumerate(names):
        mean, low, high = found[name]
        axes.plot(seeds[name], [row + 0.22] * len(seeds[name]), ".", color=paint[name], alpha=0.5, ms=5, mew=0)
        axes.plot([max(low, left), min(high, right)], [row, row], color=paint[name], lw=2.4, solid_capstyle="butt")
        axes.plot(max(mean, left), row, "D" if name in controls(results) else "o", color=paint[name], ms=5)
        axes.text(
            1.02,
            row,
            span("", found[name]).text,
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8,
            color=INK,
        )
    name_rows(axes, list(names.values()), list(paint.values()))
    axes.set_xlim(left, right)
    scale = ""
    if right / left > _LOG_FROM:
        axes.set_xscale("log")
        logarithmic(axes.xaxis)
        axes.set_xlim(left, right)
        scale = ", logarithmic"
    axes.set_xlabel(f"Distance to the test split (noise floors{scale})")
    axes.set_title("no further than real music from itself", fontsize=8, color=GREY, fontweight="normal")
    caption = (
        f"Distance to real music. {setting(results)} Large marks: means over seeds; bars, cut at the frame, and "
        f"brackets, in full: {INTERVALS}; small dots: single seeds. Line at 1: the mean distance of one half of the "
        f"test split from the other; band: up to its 95th percentile, {each(results, 'floor_p95', 2)}, dashed. Grey: "
        "controls, which show what a distance means; what is less than the frame stands at its edge."
    )
    return Picture(figure, caption)


@look
def nll_bars(results: Results) -> Picture:
    """Draw the likelihood, bounds apart from exact values: per token, or per note where encodings differ."""
    names, paint, (column, unit) = measured(results), colours(results), nats(results)
    found = {name: over_seeds(by_seed(results, name, column)) for name in names}
    finite = [name for name in names if math.isfinite(found[name].mean)]
    left_out = [names[name] for name in names if name not in finite]
    references = [] if several(results) else [("unigram entropy", "unigram_entropy"), ("ln V", "ln_vocabulary")]
    caption = (
        f"Negative log-likelihood of the test split. {setting(results)} Filled: exact; hatched ({LESS}): an upper "
        f"bound, which cannot be ranked against an exact value. Lines: {INTERVALS}, cut at the frame. "
        + ("Dashed: by the frequency of tokens alone; dotted: guessing evenly (ln V)." if references else PER_NOTE)
        + (f" Not finite, so not shown: {between(left_out)}." if left_out else "")
    )
    if not finite:
        return nothing("No model has a finite likelihood.", caption)

    marks = {text: float(results.encodings[key].iloc[0]) for text, key in references}
    figure = sheet(7.4, 1.1 + 0.36 * len(finite))
    axes = figure.subplots()
    axes.set_xlim(0, 1.22 * max([*(found[name].mean for name in finite), *marks.values()]))  # room for the numbers
    for row, name in enumerate(finite):
        bound, (mean, low, high) = is_bound(results, name), found[name]
        axes.barh(
            row,
            mean,
            height=0.62,
            facecolor="white" if bound else paint[name],
            edgecolor=paint[name],
            hatch="////" if bound else None,
        )
        axes.plot([low, high], [row, row], color=INK, lw=1.2)
        axes.text(
            0.995,
            row,
            f"{LESS if bound else '='} {number(mean)}",
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    for (text, value), style in zip(marks.items(), ((0, (4, 2)), ":"), strict=False):
        axes.axvline(value, color=GREY, lw=1, ls=style, zorder=0.5, label=f"{text} {number(value)}")
    if marks:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8, labelcolor=GREY)
    name_rows(axes, [names[name] for name in finite], [paint[name] for name in finite])
    axes.set_xlabel(f"Negative log-likelihood (nats per {unit})")
    return Picture(figure, caption)


@look
def metric_distributions(results: Results) -> Picture:
    """Draw how each metric of the mean distance is distributed over the pieces of each model, beside real music."""
    names, paint, metrics = models(results), colours(results), features(results)
    caption = (
        f"Metrics over pieces. {setting(results)} Violins: pieces of all seeds from the 1st to the 99th percentile, "
        "equally wide at their widest; dots: medians. Line and band: mean and standard deviation of the test split. "
        "Grey ticks: means of the controls, those within the frame. Pieces for which a metric is not defined are left "
        "out; the table of metrics counts them."
    )
    if not names:
        return nothing("No model was run.", caption)
    across = 4
    down = -(-len(metrics) // across)
    figure = sheet(10.5, down * (0.65 + 0.19 * (len(names) + 1)))
    grid = figure.subplots(down, across, squeeze=False)
    for axes, metric in zip(grid.flat, metrics, strict=False):
        for encoding, first, last in stretches(results, names):
            music = real(results, encoding)[metric].dropna()
            mean, sd = music.mean(), music.std()
            axes.fill_betweenx([first, last], mean - sd, mean + sd, color=FAINT, lw=0)
            axes.plot([mean, mean], [first, last], color=REAL, lw=1)
        for row, name in enumerate(names):
            _violin(axes, row, of(results.scores, name)[metric].dropna(), paint[name])
        axes.set_xlim(axes.get_xlim())  # as it is now: uniform noise would squeeze everything else
        means = [of(results.scores, name)[metric].mean() for name in controls(results)]
        axes.plot(means, [len(names)] * len(means), "|", color=GREY, ms=7)
        name_rows(axes, [*names.values(), "Controls"], [*(paint[name] for name in names), GREY])
        axes.tick_params(axis="y", labelleft=axes in grid[:, 0])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        unit = METRICS[metric].unit
        axes.set_title(METRICS[metric].label, fontsize=8.5)
        axes.set_xlabel("share" if unit == "1" else unit, fontsize=8)
    for axes in grid.flat[len(metrics) :]:
        axes.set_axis_off()
    return Picture(figure, caption)


def _violin(axes: Axes, row: int, values: pd.Series[float], colour: Any) -> None:  # noqa: ANN401 - matplotlib's
    """Draw one distribution; one without spread is its median alone."""
    if values.empty:
        return
    low, high = values.quantile([0.01, 0.99])
    inner = values[values.between(low, high)]
    if inner.min() < inner.max():
        # A quarter of the usual points is as smooth at this size, and half of the file.
        options: Any = {"orientation": "horizontal", "widths": 0.85, "showextrema": False, "points": 25}
        parts: Any = axes.violinplot([inner], [row], **options)
        parts["bodies"][0].set(facecolor=colour, edgecolor=colour, alpha=0.55, linewidth=0.6)
    axes.plot(values.median(), row, "o", color=colour, ms=3.5, mec="white", mew=0.6)


FIGURES: dict[str, Callable[[Results], Picture]] = {
    "floor_forest": floor_forest,
    "nll_bars": nll_bars,
    "metric_distributions": metric_distributions,
    "piano_rolls": piano_rolls,
    "denoising": denoising,
    "embedding_geometry": embedding_geometry,
    "form": form,
    "copies": copies,
    "nearest_pairs": nearest_pairs,
    "pareto": pareto,
    "frontier": frontier,
    "training_curves": training_curves,
    "audit": audit,
    "samplers": quality,
}

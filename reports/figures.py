"""The figures of the report: pure functions of the results."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from eval.metrics import FEATURES, METRICS
from reports.facts import (
    INTERVALS,
    PER_NOTE,
    between,
    by_seed,
    colours,
    each,
    is_bound,
    labels,
    nats,
    of,
    over_seeds,
    real,
    setting,
    several,
    stretches,
)
from reports.music import embedding_geometry, piano_rolls
from reports.picture import FAINT, GREY, INK, REAL, Picture, logarithmic, look, name_curves, name_rows, nothing, sheet
from reports.table import LESS, number, span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from eval.results import Results

_LOG_FROM = 6  # the ratio of the largest to the smallest value from which a linear axis squeezes the small ones


@look
def floor_forest(results: Results) -> Picture:
    """Draw the distance to real music of each model with its interval and its seeds."""
    names, paint, p95 = labels(results), colours(results), results.encodings.set_index("name")["floor_p95"]
    seeds = {name: by_seed(results, name, "floor_ratio") for name in names}
    found = {name: over_seeds(values) for name, values in seeds.items()}
    shown = np.array([1.0, *p95, *(value for values in seeds.values() for value in values)])
    shown = shown[np.isfinite(shown)]
    left, right = 0.8 * shown.min(), 1.15 * shown.max()

    figure = sheet(7.4, 0.9 + 0.36 * len(names))
    axes = figure.subplots()
    for encoding, first, last in stretches(results):
        axes.fill_betweenx([first, last], left, p95[encoding], color=FAINT, lw=0)
    axes.axvline(1, color=REAL, lw=1)
    for row, name in enumerate(names):
        mean, low, high = found[name]
        axes.plot(seeds[name], [row + 0.22] * len(seeds[name]), ".", color=paint[name], alpha=0.5, ms=5, mew=0)
        axes.plot([max(low, left), min(high, right)], [row, row], color=paint[name], lw=2.4, solid_capstyle="butt")
        axes.plot(mean, row, "o", color=paint[name], ms=5.5)
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
        f"Distance to real music. {setting(results)} Large dots: means over seeds; bars, cut at the frame, and "
        f"brackets, in full: {INTERVALS}; small dots: single seeds. Line at 1: the mean distance of one half of the "
        f"test split from the other; band: up to its 95th percentile, {each(results, 'floor_p95', 2)}; replay, made of "
        "real windows, shows what a perfect model would score."
    )
    return Picture(figure, caption)


@look
def nll_bars(results: Results) -> Picture:
    """Draw the likelihood, bounds apart from exact values: per token, or per note where encodings differ."""
    names, paint, (column, unit) = labels(results), colours(results), nats(results)
    found = {name: over_seeds(by_seed(results, name, column)) for name in names}
    finite = [name for name in names if math.isfinite(found[name].mean)]
    left_out = [names[name] for name in names if name not in finite]
    references = [] if several(results) else [("unigram entropy", "unigram_entropy"), ("ln V", "ln_vocabulary")]
    caption = (
        f"Negative log-likelihood of the test split. {setting(results)} Filled: exact; hatched ({LESS}): an upper "
        f"bound, which cannot be ranked against an exact value. Lines: {INTERVALS}. "
        + ("Dashed: guessing evenly (ln V), and by the frequency of tokens alone." if references else PER_NOTE)
        + (f" Not finite, so not shown: {between(left_out)}." if left_out else "")
    )
    if not finite:
        return nothing("No model has a finite likelihood.", caption)

    marks = {text: float(results.encodings[key].iloc[0]) for text, key in references}
    figure = sheet(7.4, 1.1 + 0.36 * len(finite))
    axes = figure.subplots()
    axes.set_xlim(0, 1.18 * max([*(found[name].mean for name in finite), *marks.values()]))
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
        end = max(mean, high) if math.isfinite(high) else mean
        mark = LESS if bound else "="
        axes.annotate(
            f"{mark} {number(mean)}",
            (end, row),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    for (text, value), side in zip(marks.items(), ("right", "left"), strict=False):
        axes.axvline(value, color=GREY, lw=1, ls=(0, (4, 2)), zorder=0.5)
        axes.annotate(
            f"{text} {number(value)}",
            (value, 1),
            (-3 if side == "right" else 3, 2),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            ha=side,
            va="bottom",
            fontsize=8,
            color=GREY,
        )
    name_rows(axes, [names[name] for name in finite], [paint[name] for name in finite])
    axes.set_xlabel(f"Negative log-likelihood (nats per {unit})")
    return Picture(figure, caption)


@look
def training_curves(results: Results) -> Picture:
    """Draw the validation loss of each seed and their mean, with a panel for each unit of the loss."""
    curves = results.curves[results.curves["key"] == "val/loss"].astype({"step": int, "value": float})
    trained = [name for name in labels(results) if name in set(curves["experiment"])]
    bounds = [name for name in trained if is_bound(results, name)]
    exact = [name for name in trained if name not in bounds]
    panels = [
        ("Diffusion: squared errors and rounding", "Validation loss (own unit)", bounds),
        ("Exact likelihood", "Validation loss (nats/token)", exact),
    ]
    panels = [panel for panel in panels if panel[2]]
    caption = (
        f"Validation loss during training. {setting(results)} Thin lines: seeds; thick lines: their mean. The "
        "diffusion loss is a sum of squared errors and the rounding term, no likelihood: the panels have different "
        "units and cannot be compared, nor can diffusion losses in embeddings of different scale"
        + (", nor losses in different encodings." if several(results) else ".")
    )
    if not panels:
        return nothing("No model has a validation loss.", caption)
    figure = sheet(4.6 * len(panels) + 0.4, 3.1)
    for axes, (title, unit, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _curves(axes, curves, names, results)
        axes.set_title(title)
        axes.set_ylabel(unit)
        axes.set_xlabel("Training step")
    return Picture(figure, caption)


def _curves(axes: Axes, curves: pd.DataFrame, names: Sequence[str], results: Results) -> None:
    """Draw the curves of some experiments, each with its name at its end."""
    text, paint, ends = labels(results), colours(results), {}
    for name in names:
        seeds = of(curves, name).pivot_table(index="step", columns="seed", values="value")
        axes.plot(seeds.index, seeds, color=paint[name], lw=0.7, alpha=0.45)
        mean = seeds.mean(axis="columns")
        axes.plot(mean.index, mean, color=paint[name], lw=2)
        ends[text[name]] = mean.iloc[-1]
    axes.set_xlim(0, curves["step"].max())
    axes.xaxis.set_major_locator(MaxNLocator(4))
    values = curves[curves["experiment"].isin(names)]["value"]
    if values.max() > _LOG_FROM * values.min() > 0:
        axes.set_yscale("log")
        logarithmic(axes.yaxis)
    axes.autoscale(enable=False)
    name_curves(axes, ends, {text[name]: paint[name] for name in names})


@look
def metric_distributions(results: Results) -> Picture:
    """Draw how each metric is distributed over the pieces of each model, beside real music."""
    names, paint = labels(results), colours(results)
    across = 4
    down = -(-len(FEATURES) // across)
    figure = sheet(10.5, down * (0.65 + 0.19 * len(names)))
    grid = figure.subplots(down, across)
    for axes, metric in zip(grid.flat, FEATURES, strict=False):
        for encoding, first, last in stretches(results):
            music = real(results, encoding)[metric].dropna()
            mean, sd = music.mean(), music.std()
            axes.fill_betweenx([first, last], mean - sd, mean + sd, color=FAINT, lw=0)
            axes.plot([mean, mean], [first, last], color=REAL, lw=1)
        for row, name in enumerate(names):
            _violin(axes, row, of(results.scores, name)[metric].dropna(), paint[name])
        name_rows(axes, list(names.values()), list(paint.values()))
        axes.tick_params(axis="y", labelleft=axes in grid[:, 0])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        unit = METRICS[metric].unit
        axes.set_title(METRICS[metric].label, fontsize=8.5)
        axes.set_xlabel("share" if unit == "1" else unit, fontsize=8)
    for axes in grid.flat[len(FEATURES) :]:
        axes.set_axis_off()
    caption = (
        f"Metrics over pieces. {setting(results)} Violins: pieces of all seeds from the 1st to the 99th percentile, "
        "equally wide at their widest; dots: medians. Line and band: mean and standard deviation of the test split. "
        "Pieces for which a metric is not defined are left out; the table of metrics counts them."
    )
    return Picture(figure, caption)


def _violin(axes: Axes, row: int, values: pd.Series[float], colour: Any) -> None:  # noqa: ANN401 - matplotlib's
    """Draw one distribution; one without spread is its median alone."""
    if values.empty:
        return
    low, high = values.quantile([0.01, 0.99])
    inner = values[values.between(low, high)]
    if inner.min() < inner.max():
        parts: Any = axes.violinplot([inner], [row], orientation="horizontal", widths=0.85, showextrema=False)
        parts["bodies"][0].set(facecolor=colour, edgecolor=colour, alpha=0.55, linewidth=0.6)
    axes.plot(values.median(), row, "o", color=colour, ms=3.5, mec="white", mew=0.6)


FIGURES: dict[str, Callable[[Results], Picture]] = {
    "floor_forest": floor_forest,
    "nll_bars": nll_bars,
    "metric_distributions": metric_distributions,
    "piano_rolls": piano_rolls,
    "embedding_geometry": embedding_geometry,
    "training_curves": training_curves,
}

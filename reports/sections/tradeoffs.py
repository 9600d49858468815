"""What is had at the cost of something else: nearness to music against seconds, likely tokens against varied ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reports.format.facts import (
    colours,
    controls,
    encoding_of,
    floor_of,
    labels,
    models,
    muted,
    of,
    panel_of,
    real_labels,
    setting,
)
from reports.format.picture import FAINT, GREY, REAL, Picture, apart, logarithmic, look, nothing, sheet

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes

    from eval.results.frames import Results


@look
def pareto(results: Results) -> Picture:
    """Draw the distance to real music against the seconds of training and of sampling."""
    names = models(results)
    trials = results.trials[results.trials["experiment"].isin(names)]
    pieces = results.scores.groupby(["experiment", "seed"]).size()
    each = [pieces.get(key, np.nan) for key in zip(trials["experiment"], trials["seed"], strict=True)]
    distances = results.measures[results.measures["measure"] == "distance"].set_index(["experiment", "seed"])["ratio"]
    trials = trials.join(distances.rename("distance"), on=["experiment", "seed"])
    trials = trials.assign(per_sample=trials["sample_seconds"] / each)
    trials = trials.dropna(subset=["fit_seconds", "per_sample", "distance"])
    panels = {"fit_seconds": "Seconds of training", "per_sample": "Seconds per sample"}
    caption = (
        f"Distance to real music against cost, on this machine. {setting(results)} Left: seconds of one training; "
        "right: of drawing one sample, many at a time; compiling included. Marks: means over seeds; small dots: seeds. "
        "Line: the frontier, of the models that none is both nearer and cheaper than. Line at 1 and grey band: real "
        "music, from the mean of the noise floor to its 95th percentile. All axes are logarithmic; what has no cost or "
        "no distance is left out."
    )
    if trials.empty:
        return nothing("No model has both a distance and a cost.", caption)
    figure = sheet(9.6, 4.2)
    grid = figure.subplots(1, 2, sharey=True)
    means = trials.groupby("experiment", sort=False)[[*panels, "distance"]].mean()
    for axes, (column, title) in zip(grid, panels.items(), strict=True):
        axes.axhspan(1, results.encodings["floor_p95"].max(), color=FAINT, lw=0, zorder=0)
        axes.axhline(1, color=REAL, lw=1)
        axes.plot(*_frontier(means[column], means["distance"]), color=GREY, lw=1, zorder=1)
        for name, mean in means.iterrows():
            seeds = of(trials, str(name))
            axes.plot(seeds[column], seeds["distance"], ".", color=colours(results)[name], alpha=0.5, ms=5, mew=0)
            axes.plot(mean[column], mean["distance"], "o", color=colours(results)[name], ms=6)
        axes.set_xscale("log")
        axes.set_yscale("log")
        logarithmic(axes.xaxis, subs=(1,) if means[column].max() > 100 * means[column].min() else (1, 2, 5))
        logarithmic(axes.yaxis)
        axes.margins(0.08)
        axes.set_xlabel(f"{title} (on this machine)")
    grid[0].set_ylabel("Distance to the test split (noise floors)")
    ends = {name: (mean["per_sample"], mean["distance"]) for name, mean in means.iterrows()}
    _name_points(grid[1], ends, {name: names[name] for name in ends}, colours(results))
    return Picture(figure, caption)


def _frontier(cost: pd.Series[float], distance: pd.Series[float]) -> tuple[list[float], list[float]]:
    """Return the corners of the steps below and left of which no point is."""
    order = sorted(zip(cost, distance, strict=True))
    across, down = [order[0][0]], [order[0][1]]
    for x, y in order[1:]:
        if y < down[-1]:
            across += [x, x]
            down += [down[-1], y]
    return [*across, order[-1][0]], [*down, down[-1]]


@look
def frontier(results: Results) -> Picture:
    """Draw how likely a teacher finds the tokens of each model against how varied they are."""
    points = {
        name: (panel_of(results, name, "token_entropy")["value"], panel_of(results, name, "teacher_nll")["value"])
        for name in labels(results)
    }
    points = {name: pair for name, pair in points.items() if np.isfinite([one.mean() for one in pair]).all()}
    caption = (
        "How likely tokens are to a teacher, another autoregressive model of the same data, against how varied they "
        f"are. {setting(results)} Both in nats; of the tokens of samples. Cross: real music, which is the point to "
        "hit: what is below it is likelier than music because it is simpler, and what is left of it is less varied. "
        "Marks: means over seeds; small dots: seeds; grey: controls."
    )
    if not points:
        return nothing("No model was judged by the teacher.", caption)
    figure = sheet(7.6, 0.8 + max(3.4, 0.22 * len(points)))
    axes = figure.subplots()
    paint = muted(results)
    for encoding in dict.fromkeys(encoding_of(results, name) for name in points):
        x, y = (floor_of(results, encoding, measure) for measure in ("token_entropy", "teacher_nll"))
        axes.axvline(x, color=FAINT, lw=1, zorder=0)
        axes.axhline(y, color=FAINT, lw=1, zorder=0)
        axes.plot(x, y, "P", color=REAL, ms=10, mec="white", zorder=3)
        axes.annotate(real_labels(results)[encoding], (x, y), (7, 7), textcoords="offset points", fontsize=8)
    for name, (entropy, nll) in points.items():
        axes.plot(entropy, nll, ".", color=paint[name], alpha=0.5, ms=5, mew=0)
        axes.plot(entropy.mean(), nll.mean(), "D" if name in controls(results) else "o", color=paint[name], ms=5)
    axes.margins(0.06)
    axes.set_yscale("log")
    logarithmic(axes.yaxis)
    axes.set_xlabel("Entropy of single tokens (nats)")
    axes.set_ylabel("Negative log-likelihood by the teacher (nats/token), logarithmic")
    means = {name: (entropy.mean(), nll.mean()) for name, (entropy, nll) in points.items()}
    _name_points(axes, means, labels(results), paint)
    return Picture(figure, caption)


def _name_points(
    axes: Axes, points: Mapping[Any, tuple[float, float]], names: Mapping[Any, str], colours: Mapping[Any, Any]
) -> None:
    """Write names at the right of the axes, in the order of the heights of points, each joined to its own by a line."""
    axes.autoscale_view()
    axes.autoscale(enable=False)
    to_axes = axes.transData + axes.transAxes.inverted()
    order = sorted(points, key=lambda name: points[name][1])
    at = {name: to_axes.transform(points[name]) for name in order}
    gap = min(0.055, 1 / len(order))
    for name, height in zip(order, apart([float(at[name][1]) for name in order], gap=gap), strict=True):
        x, y = at[name]
        axes.plot(
            [x, 1.03],
            [y, height],
            transform=axes.transAxes,
            color=colours[name],
            lw=0.5,
            alpha=0.5,
            clip_on=False,
            zorder=0.5,
        )
        axes.text(1.04, height, names[name], transform=axes.transAxes, va="center", color=colours[name], fontsize=8)

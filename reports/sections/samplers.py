"""The study of samplers: what the same weights are worth by each of them, and at what cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.results.sampler_study import REFERENCE, SAMPLERS
from reports.format.facts import count, distance_of, encoding_of, labels, of, over_seeds, plural, setting
from reports.format.picture import FAINT, GREY, REAL, Picture, logarithmic, look, nothing, sheet
from reports.format.table import DAGGER, Cell, Table, cell, margin, number, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from eval.results.frames import Results

FEW = 50  # evaluations: as many as a sampler may take to be called fast
BASELINE = "autoregressive"  # whose distance is drawn beside


def samplers(results: Results) -> Table:
    """Return the distance of every sampler at every cost, by arm, with what else there is to say of it at `FEW`."""
    costs = sorted(results.samplers["evaluations"].unique())
    rows, marked = [], False
    for experiment, label in _arms(results).items():
        found = of(results.samplers, experiment)
        most = _as_near_as(results, experiment)
        for sampler in SAMPLERS:
            own = found[found["sampler"] == sampler.name]
            row = {"Model": plain("model", label), "Sampler": plain("sampler", sampler.label)}
            for n in costs:
                over = over_seeds(own[own["evaluations"] == n]["distance"])
                near = n <= FEW and len(own[own["evaluations"] == n]) > 0 and over.mean <= most
                marked |= near
                row[f"{n}"] = margin(f"distance_{n}", over, mark=DAGGER if near else "")
            at = own[own["evaluations"] == FEW][["classifier_auc", "validity", "entropy", "seconds"]].astype(float)
            at = at.mean(skipna=False)
            row[f"C2ST at {FEW}"] = cell("classifier_auc", at["classifier_auc"])
            row["Valid (%)"] = Cell(number(100 * at["validity"], 0), {"validity": at["validity"]})
            row["Entropy"] = cell("entropy", at["entropy"])
            row["Seconds"] = cell("seconds", at["seconds"], 1)
            rows.append(row)
    caption = (
        f"Samplers, on the same weights. {setting(results)} {_seeds(results)} Distance to the test split in noise "
        "floors by network evaluations per sample, mean over seeds with half of its interval. C2ST: AUC of a "
        f"classifier, 0.5 is best; valid: windows without any repair; entropy: of single tokens, nats; seconds: of "
        f"drawing all samples of a seed; all four at {FEW} evaluations."
        + (
            f" {DAGGER}: with at most {FEW} evaluations no further than the published sampler at all timesteps, within "
            "the noise of real music (from its mean to its 95th percentile)."
            if marked
            else ""
        )
    )
    return Table.of("samplers", rows=rows, caption=caption)


@look
def quality(results: Results) -> Picture:
    """Draw the distance to real music against network evaluations, a panel for each arm and a line for each sampler."""
    arms = _arms(results)
    caption = (
        f"Distance to real music against the cost of sampling. {setting(results)} {_seeds(results)} Same weights and "
        "starting noise (of the first candidate) for all; both axes logarithmic. Lines: means over seeds; bands: from "
        "the nearest seed to the furthest. Upper axis: seconds of drawing all samples of a seed, at the median cost of "
        "an evaluation. Line at 1 and grey band: real music, from the mean of the noise floor to its 95th percentile; "
        "dashed: the autoregressive baseline, if it was run."
    )
    if not arms:
        return nothing("The samplers have not been compared.", caption)
    figure = sheet(3.4 * len(arms) + 0.4, 5.2)
    panels = figure.subplots(1, len(arms), squeeze=False, sharey=True)[0]
    for axes, (experiment, label) in zip(panels, arms.items(), strict=True):
        _panel(axes, results, experiment)
        axes.set_title(label)
        axes.set_xlabel("Network evaluations per sample")
    panels[0].set_ylabel("Distance to the test split (noise floors)")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return Picture(figure, caption)


def _panel(axes: Axes, results: Results, experiment: str) -> None:
    """Draw one arm."""
    found = of(results.samplers, experiment).astype({"distance": float, "seconds": float, "evaluations": int})
    for sampler in SAMPLERS:
        own = found[found["sampler"] == sampler.name].groupby("evaluations")["distance"]
        mean = own.mean()
        axes.fill_between(mean.index, own.min(), own.max(), color=sampler.colour, alpha=0.12, lw=0)
        axes.plot(mean.index, mean, ".", ls=sampler.dashes, color=sampler.colour, lw=1.4, ms=4, label=sampler.label)
    axes.axhspan(1, _floor_p95(results, experiment), color=FAINT, lw=0)
    axes.axhline(1, color=REAL, lw=1)
    if len(baseline := distance_of(results, BASELINE)):
        axes.axhline(baseline.mean(), color=GREY, lw=1, ls=(0, (4, 2)))
    axes.set_xscale("log")
    axes.set_yscale("log")
    each = (found["seconds"] / found["evaluations"]).median()
    above = axes.secondary_xaxis("top", functions=(lambda n: n * each, lambda seconds: seconds / each))
    above.set_xlabel("Seconds", fontsize=8, color=GREY)
    logarithmic(axes.xaxis)
    logarithmic(above.xaxis)
    logarithmic(axes.yaxis, subs=(1, 1.5, 2, 3, 5, 7))


def _arms(results: Results) -> dict[str, str]:
    """Return the names for people of the experiments that were studied."""
    studied = set(results.samplers["experiment"])
    return {name: label for name, label in labels(results).items() if name in studied}


def _as_near_as(results: Results, experiment: str) -> float:
    """Return the distance up to which a sampler is as good as the published one at all timesteps, within the noise."""
    found = of(results.samplers, experiment)
    at_all = found["evaluations"] == results.about["configuration"]["timesteps"]
    full = found[(found["sampler"] == REFERENCE) & at_all]["distance"].astype(float).mean(skipna=False)
    return float(full + _floor_p95(results, experiment) - 1)  # NaN, which nothing is less than, if it was not run


def _floor_p95(results: Results, experiment: str) -> float:
    return float(results.encodings.set_index("name")["floor_p95"][encoding_of(results, experiment)])


def _seeds(results: Results) -> str:
    seeds: pd.Series[int] = results.samplers.groupby("experiment")["seed"].nunique()
    return f"Drawn from the weights of {plural(count(seeds), 'seed')} each."

"""Steps and compute: distance against cost, samplers, training curves, and the cost of each model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from eval.results.sampler_study import REFERENCE, SAMPLERS
from eval.statistics.intervals import positive_interval
from reports.format.captions import INTERVALS, count, plural, setting
from reports.format.figure import (
    FAINT,
    GREY,
    LOG_FROM,
    REAL,
    CaptionedFigure,
    draw_seeds,
    label_curves,
    label_logarithmic,
    label_points,
    new_figure,
    placeholder,
    styled,
)
from reports.format.queries import (
    colours,
    distance_of,
    encoding_of,
    has_several_encodings,
    is_bound,
    labels,
    models,
    over_seeds,
    rows_of,
)
from reports.format.section import FigurePart, Section, TablePart
from reports.format.table import (
    DAGGER,
    MISSING,
    Cell,
    Table,
    interval_cell,
    number,
    number_cell,
    text_cell,
    thousands,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from eval.results.frames import Results

FEW = 50  # the most network evaluations of a fast sampler
BASELINE = "autoregressive"  # the baseline whose distance is drawn next to the samplers


@styled
def pareto(results: Results) -> CaptionedFigure:
    """Draw the distance to real music against the seconds of training and sampling."""
    names = models(results)
    trials = results.trials[results.trials["experiment"].isin(names)]
    pieces = results.scores.groupby(["experiment", "seed"]).size()
    sizes = [pieces.get(key, np.nan) for key in zip(trials["experiment"], trials["seed"], strict=True)]
    distances = results.measures[results.measures["measure"] == "distance"].set_index(["experiment", "seed"])["ratio"]
    trials = trials.join(distances.rename("distance"), on=["experiment", "seed"])
    trials = trials.assign(per_sample=trials["sample_seconds"] / sizes)
    trials = trials.dropna(subset=["fit_seconds", "per_sample", "distance"])
    panels = {"fit_seconds": "Seconds of training", "per_sample": "Seconds per sample"}
    caption = (
        f"Distance to real music against cost, on this machine. {setting(results)} Left: seconds of one training run. "
        "Right: seconds per sample, drawn in batches. Both include compilation. Marks: means over seeds. Small dots: "
        "seeds. Grey steps: the frontier of models that no other model beats in both distance and cost. Line at 1 and "
        "grey band: real music, from the mean of the noise floor to its 95th percentile. All axes are logarithmic. "
        "Models without a distance or a cost are not shown."
    )
    if trials.empty:
        return placeholder("No model has both a distance and a cost.", caption)
    figure = new_figure(9.6, 4.2)
    grid = figure.subplots(1, 2, sharey=True)
    means = trials.groupby("experiment", sort=False)[[*panels, "distance"]].mean()
    for axes, (column, title) in zip(grid, panels.items(), strict=True):
        axes.axhspan(1, results.encodings["floor_p95"].max(), color=FAINT, lw=0, zorder=0)
        axes.axhline(1, color=REAL, lw=1)
        axes.plot(*_frontier(means[column], means["distance"]), color=GREY, lw=1, zorder=1)
        for name, mean in means.iterrows():
            seeds = rows_of(trials, str(name))
            axes.plot(seeds[column], seeds["distance"], ".", color=colours(results)[name], alpha=0.5, ms=5, mew=0)
            axes.plot(mean[column], mean["distance"], "o", color=colours(results)[name], ms=6)
        axes.set_xscale("log")
        axes.set_yscale("log")
        label_logarithmic(axes.xaxis, subs=(1,) if means[column].max() > 100 * means[column].min() else (1, 2, 5))
        label_logarithmic(axes.yaxis)
        axes.margins(0.08)
        axes.set_xlabel(f"{title} (on this machine)")
    grid[0].set_ylabel("Distance to the test split (noise floors)")
    ends = {name: (mean["per_sample"], mean["distance"]) for name, mean in means.iterrows()}
    label_points(grid[1], ends, {name: names[name] for name in ends}, colours(results))
    return CaptionedFigure(figure, caption)


def _frontier(cost: pd.Series[float], distance: pd.Series[float]) -> tuple[list[float], list[float]]:
    """Return the corners of the staircase that no point lies below and left of."""
    order = sorted(zip(cost, distance, strict=True))
    across, down = [order[0][0]], [order[0][1]]
    for x, y in order[1:]:
        if y < down[-1]:
            across += [x, x]
            down += [down[-1], y]
    return [*across, order[-1][0]], [*down, down[-1]]


@styled
def samplers_figure(results: Results) -> CaptionedFigure:
    """Draw the distance to real music against network evaluations: one panel per arm, one line per sampler."""
    arms = _studied_arms(results)
    caption = (
        f"Distance to real music against the cost of sampling. {setting(results)} {_seeds_sentence(results)} All "
        "samplers use the same weights and the same starting noise (of the first candidate). Both axes are "
        "logarithmic. Lines: means over seeds. Bands: smallest to largest over seeds. Upper axis: seconds for all "
        "samples of a seed, at the median cost of an evaluation. Line at 1 and grey band: real music, from the mean of "
        "the noise floor to its 95th percentile. Dashed: the autoregressive baseline, if it was run."
    )
    if not arms:
        return placeholder("The samplers were not compared.", caption)
    figure = new_figure(3.4 * len(arms) + 0.4, 5.2)
    panels = figure.subplots(1, len(arms), squeeze=False, sharey=True)[0]
    for axes, (experiment, label) in zip(panels, arms.items(), strict=True):
        _samplers_panel(axes, results, experiment)
        axes.set_title(label)
        axes.set_xlabel("Network evaluations per sample")
    panels[0].set_ylabel("Distance to the test split (noise floors)")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return CaptionedFigure(figure, caption)


def _samplers_panel(axes: Axes, results: Results, experiment: str) -> None:
    """Draw one arm."""
    found = rows_of(results.samplers, experiment).astype({"distance": float, "seconds": float, "evaluations": int})
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
    seconds_each = (found["seconds"] / found["evaluations"]).median()
    above = axes.secondary_xaxis("top", functions=(lambda n: n * seconds_each, lambda seconds: seconds / seconds_each))
    above.set_xlabel("Seconds", fontsize=8, color=GREY)
    label_logarithmic(axes.xaxis)
    label_logarithmic(above.xaxis)
    label_logarithmic(axes.yaxis, subs=(1, 1.5, 2, 3, 5, 7))


def samplers_table(results: Results) -> Table:
    """Build the table of the distance of each sampler by arm and cost, with further numbers at `FEW` evaluations."""
    costs = sorted(results.samplers["evaluations"].unique())
    rows, marked = [], False
    for experiment, label in _studied_arms(results).items():
        found = rows_of(results.samplers, experiment)
        limit = _reference_limit(results, experiment)
        for sampler in SAMPLERS:
            own = found[found["sampler"] == sampler.name]
            row = {"Model": text_cell("model", label), "Sampler": text_cell("sampler", sampler.label)}
            for n in costs:
                over = over_seeds(own[own["evaluations"] == n]["distance"], positive_interval)
                fast = n <= FEW and len(own[own["evaluations"] == n]) > 0 and over.mean <= limit
                marked |= fast
                row[f"{n}"] = interval_cell(f"distance_{n}", over, mark=DAGGER if fast else "")
            at = own[own["evaluations"] == FEW][["classifier_auc", "validity", "entropy", "seconds"]].astype(float)
            at = at.mean(skipna=False)
            row[f"C2ST at {FEW}"] = number_cell("classifier_auc", at["classifier_auc"])
            row["Valid (%)"] = Cell(number(100 * at["validity"], 0), {"validity": at["validity"]})
            row["Entropy"] = number_cell("entropy", at["entropy"])
            row["Seconds"] = number_cell("seconds", at["seconds"], 1)
            rows.append(row)
    caption = (
        f"Samplers on the same weights. {setting(results)} {_seeds_sentence(results)} Distance to the test split in "
        "noise floors by network evaluations per sample: mean over seeds. Brackets: "
        f"{INTERVALS}, on the logarithmic scale. C2ST: "
        "AUC of a classifier, 0.5 is ideal. Valid: windows that decode without repair. Entropy: of single tokens, in "
        f"nats. Seconds: for all samples of a seed. These four are at {FEW} evaluations."
        + (
            f" {DAGGER}: at most {FEW} evaluations, and no further from real music than the published sampler with all "
            "timesteps, within the noise of real music (from its mean to its 95th percentile)."
            if marked
            else ""
        )
    )
    return Table.of("samplers", rows=rows, caption=caption)


def _studied_arms(results: Results) -> dict[str, str]:
    """Return the labels of the experiments in the study of samplers, by name."""
    studied = set(results.samplers["experiment"])
    return {name: label for name, label in labels(results).items() if name in studied}


def _reference_limit(results: Results, experiment: str) -> float:
    """Return the largest distance that equals the published sampler with all timesteps, within the noise floor."""
    found = rows_of(results.samplers, experiment)
    at_all = found["evaluations"] == results.about["configuration"]["timesteps"]
    full = found[(found["sampler"] == REFERENCE) & at_all]["distance"].astype(float).mean(skipna=False)
    return float(full + _floor_p95(results, experiment) - 1)  # NaN if it was not run: every comparison is then false


def _floor_p95(results: Results, experiment: str) -> float:
    return float(results.encodings.set_index("name")["floor_p95"][encoding_of(results, experiment)])


def _seeds_sentence(results: Results) -> str:
    seeds: pd.Series[int] = results.samplers.groupby("experiment")["seed"].nunique()
    return f"Drawn from the weights of {plural(count(seeds), 'seed')} each."


@styled
def training_curves(results: Results) -> CaptionedFigure:
    """Draw the validation loss of each seed and their mean: one panel per unit of the loss."""
    curves = results.curves[results.curves["key"] == "val/loss"].astype({"step": int, "value": float})
    trained = [name for name in models(results) if name in set(curves["experiment"])]
    bounds = [name for name in trained if is_bound(results, name)]
    exact = [name for name in trained if name not in bounds]
    panels = [
        ("Diffusion: squared errors and rounding", "Validation loss (own unit)", bounds),
        ("Exact likelihood", "Validation loss (nats/token)", exact),
    ]
    panels = [panel for panel in panels if panel[2]]
    caption = (
        f"Validation loss during training. {setting(results)} Thin lines: seeds. Thick lines: their mean. The "
        "diffusion loss is a sum of squared errors and the rounding term, not a likelihood. The panels have different "
        "units and cannot be compared, nor can diffusion losses of embeddings of different scale"
        + (", nor losses in different encodings." if has_several_encodings(results) else ".")
    )
    if not panels:
        return placeholder("No model has a validation loss.", caption)
    figure = new_figure(4.6 * len(panels) + 0.4, 3.1)
    for axes, (title, unit, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _training_curves(axes, curves, names, results)
        axes.set_title(title)
        axes.set_ylabel(unit)
        axes.set_xlabel("Training step")
    return CaptionedFigure(figure, caption)


def _training_curves(axes: Axes, curves: pd.DataFrame, names: Sequence[str], results: Results) -> None:
    """Draw the curves of some experiments with their labels."""
    text, paint, ends = labels(results), colours(results), {}
    for name in names:
        seeds = rows_of(curves, name).pivot_table(index="step", columns="seed", values="value")
        ends[text[name]] = draw_seeds(axes, seeds, paint[name]).iloc[-1]
    axes.set_xlim(0, curves["step"].max())
    axes.xaxis.set_major_locator(MaxNLocator(4))
    values = curves[curves["experiment"].isin(names)]["value"]
    if values.max() > LOG_FROM * values.min() > 0:
        axes.set_yscale("log")
        label_logarithmic(axes.yaxis)
    axes.autoscale(enable=False)
    label_curves(axes, ends, {text[name]: paint[name] for name in names})


def cost_table(results: Results) -> Table:
    """Build the table of parameters, training operations, tokens and seconds of each model."""
    rows = []
    kept = results.curves[results.curves["key"] == "val/best_step"].astype({"step": int, "value": float})
    kept = kept.sort_values("step").groupby(["experiment", "seed"])["value"].last()
    for name, label in models(results).items():
        trials = rows_of(results.trials, name)
        pieces = rows_of(results.scores, name).groupby("seed").size().mean()
        parameters, seconds = trials["parameters"].mean(), trials["sample_seconds"].mean()
        tokens, flop = trials["tokens_seen"].mean(), trials["flop"].mean()
        best = kept[kept.index.get_level_values("experiment") == name].mean()
        rows.append(
            {
                "Model": text_cell("model", label),
                "Parameters": Cell(thousands(parameters), {"parameters": parameters}),
                "Tokens seen": Cell(thousands(tokens), {"tokens_seen": tokens}),
                "Training TFLOP": Cell(MISSING if np.isnan(flop) else f"{flop / 1e12:.3g}", {"flop": flop}),
                **({"Best step": Cell(thousands(best), {"best_step": best})} if len(kept) else {}),
                "Fit (s)": number_cell("fit_seconds", trials["fit_seconds"].mean(), 0),
                "Sampling (s)": number_cell("sample_seconds", seconds, 0),
                "Seconds per sample": number_cell("seconds_per_sample", seconds / pieces, 3),
            }
        )
    caption = (
        f"Cost of each model. {setting(results)} All numbers are for one trial, mean over seeds. Tokens seen: in all "
        "batches of training, padding included. Training TFLOP: 10^12 floating-point operations of the matrix products "
        "of training, forward and backward. "
        + (
            "Best step: the step whose weights are kept, for models that are stopped early; tokens and operations are "
            "of the whole run that finds it. "
            if len(kept)
            else ""
        )
        + "Seconds are on the same machine. "
        f"Diffusion takes {results.about['evaluations']} network evaluations per sample."
    )
    return Table.of("cost", rows=rows, caption=caption)


def _has_samplers(results: Results) -> bool:
    """Return whether the study of samplers was run; most comparisons have none."""
    return not results.samplers.empty


SECTION = Section(
    title="Steps and compute",
    parts=(
        FigurePart(name="pareto", draw=pareto),
        FigurePart(name="samplers", draw=samplers_figure, present=_has_samplers),
        TablePart(name="samplers", build=samplers_table, present=_has_samplers),
        FigurePart(name="training_curves", draw=training_curves),
        TablePart(name="cost", build=cost_table),
    ),
)

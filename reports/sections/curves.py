"""The figures of training: its curves, and what the published number says on the way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from reports.format.facts import colours, is_bound, labels, models, of, place, setting, several
from reports.format.picture import GREY, INK, Picture, draw_seeds, logarithmic, look, name_curves, nothing, sheet
from reports.format.table import LESS
from reports.sections.likelihood import AUDITED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from eval.results.frames import Results

_LOG_FROM = 6  # the ratio of the largest to the smallest value from which a linear axis squeezes the small ones


@look
def training_curves(results: Results) -> Picture:
    """Draw the validation loss of each seed and their mean, with a panel for each unit of the loss."""
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
        ends[text[name]] = draw_seeds(axes, seeds, paint[name]).iloc[-1]
    axes.set_xlim(0, curves["step"].max())
    axes.xaxis.set_major_locator(MaxNLocator(4))
    values = curves[curves["experiment"].isin(names)]["value"]
    if values.max() > _LOG_FROM * values.min() > 0:
        axes.set_yscale("log")
        logarithmic(axes.yaxis)
    axes.autoscale(enable=False)
    name_curves(axes, ends, {text[name]: paint[name] for name in names})


@look
def audit(results: Results) -> Picture:
    """Draw the published bits per word over training, beside a likelihood, and against the distance to real music."""
    found = results.audits[["seed", "step", "bits_per_word", "nll", "distance"]].astype(float)
    found["bound"] = found["nll"] / math.log(2)
    caption = (
        f"What the published bits per word measure. {place(results)} Training by the report's own recipe, at every "
        "milestone of it. Left: the bits per word, a loss of reading words back from their own embeddings, and a bound "
        "on the likelihood, in bits too. Right: the bits per word against the distance of samples to real music at the "
        f"same steps; a number that measured quality would rise to the right. {AUDITED} Thin lines: seeds; thick lines "
        "and dots: their mean."
    )
    if found.empty:
        return nothing("The report's recipe has not been run.", caption)
    figure = sheet(9.2, 3.2)
    left, right = figure.subplots(1, 2)
    for column, colour in (("bits_per_word", INK), ("bound", GREY)):
        draw_seeds(left, found.pivot_table(index="step", columns="seed", values=column), colour)
    for axes in (left, right):
        axes.set_yscale("log")
        logarithmic(axes.yaxis, subs=(1,))
    last = found[found["step"] == found["step"].max()].mean()
    name_curves(
        left,
        {"bits per word": last["bits_per_word"], f"NLL {LESS}": last["bound"]},
        {"bits per word": INK, f"NLL {LESS}": GREY},
    )
    left.set_xlabel("Training step")
    left.set_ylabel("Bits, logarithmic")
    for _, seed in found.groupby("seed"):
        right.plot(seed["distance"], seed["bits_per_word"], color=INK, lw=0.7, alpha=0.45)
    mean = found.groupby("step").mean()
    right.plot(mean["distance"], mean["bits_per_word"], "o", color=INK, ms=4)
    for step, row in mean.iterrows():
        right.annotate(
            f"{step:.0f}",
            (row["distance"], row["bits_per_word"]),
            (4, 3),
            textcoords="offset points",
            fontsize=7,
            color=GREY,
        )
    right.set_xlabel("Distance to the test split (noise floors)")
    right.set_ylabel("Bits per word, logarithmic")
    return Picture(figure, caption)

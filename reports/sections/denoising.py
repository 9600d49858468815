"""From noise to music: what diffusion models take for the sample on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eval.scoring.trajectory import LEVELS, WINDOWS
from reports.format.facts import TEST, colours, encoding_of, models, of, real, setting
from reports.format.picture import REAL, Picture, look, nothing, sheet
from reports.format.table import number
from reports.sections.music import frame, horizon, roll

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from eval.results.frames import Results

_CURVES = {
    "flips": "Tokens that change (%)",
    "margin": "Rounding margin",
    "entropy": "Pitch-class entropy (bits)",
    "validity": "Valid samples (%)",
}
_PERCENT = ("flips", "validity")


@look
def denoising(results: Results) -> Picture:
    """Draw the first sample of each diffusion model as it becomes clear, and what becomes of all on the way."""
    names = [name for name in models(results) if name in set(results.trajectory["experiment"])]
    unit = results.about["unit"]
    caption = (
        "From noise to music, by each model's own sampler. Piano rolls: the first sample of the first seed, not "
        "picked, as the estimate of the clean embeddings has it when t of T timesteps are left, rounded to the nearest "
        "words; the last is the sample, and what lies beyond the longest of them is cut. Pitch over time in "
        f"{unit}s, a grey line every 4 {unit}s. {setting(results)} Curves: the first {WINDOWS} samples of each seed, "
        "or all if they are fewer (thin lines), and the mean over seeds (thick). Tokens that change: from one "
        "evaluation of the network to the next. Rounding margin (Li et al. 2022, section 4.2): how much nearer the "
        "nearest embedding is to the network's prediction than the second nearest, mean over tokens, in mean distances "
        "between two embeddings; near 0 the choice of the word is a toss. Dashed: mean of the test split."
    )
    if not names:
        return nothing("No diffusion model was followed.", caption)
    figure = sheet(10.5, 2.9 + 0.95 * len(names))
    halves: Any = figure.subfigures(2, 1, height_ratios=[0.4 + 0.95 * len(names), 2.5])
    above, below = halves
    _rolls(above, results, names)
    for axes, (column, title) in zip(below.subplots(1, len(_CURVES)), _CURVES.items(), strict=True):
        _curves(axes, results, names, column)
        axes.set_title(title, fontsize=8.5)
    below.supxlabel("Share t / T of the timesteps left: from noise to music", fontsize=9)
    return Picture(figure, caption)


def _rolls(figure: SubFigure, results: Results, names: Sequence[str]) -> None:
    """Draw a row of piano rolls for each model."""
    notes = results.trajectory_notes[results.trajectory_notes["experiment"].isin(names)]
    notes = notes.assign(stop=notes["onset"] + notes["duration"])
    end = horizon(notes[notes["level"] == min(LEVELS)], of(results.notes, TEST))  # of the samples: noise may be long
    grid = figure.subplots(len(names), len(LEVELS), sharex=True, sharey=True, squeeze=False)
    frame(grid[0, 0], notes, end)
    for row, name in zip(grid, names, strict=True):
        for axes, level in zip(row, LEVELS, strict=True):
            own = of(notes, name)
            roll(axes, own[own["level"] == level], colours(results)[name], end)
        row[0].set_ylabel(models(results)[name].replace(", ", ",\n"), color=colours(results)[name], fontsize=7.5)
    for axes, level in zip(grid[0], LEVELS, strict=True):
        axes.set_title({1.0: "t = T", 0.0: "t = 0"}.get(level, f"t = {number(level, 1)} T"), fontsize=8.5)
    figure.supxlabel(f"{results.about['unit']}s".capitalize(), fontsize=9)


def _curves(axes: Axes, results: Results, names: Sequence[str], column: str) -> None:
    """Draw one number of every model against what is left of the timesteps."""
    factor = 100 if column in _PERCENT else 1
    for name in names:
        own = of(results.trajectory, name).astype({"t": float, column: float})
        seeds = factor * own.pivot_table(index="t", columns="seed", values=column)
        axes.plot(seeds.index, seeds, color=colours(results)[name], lw=0.6, alpha=0.4)
        axes.plot(seeds.index, seeds.mean(axis="columns"), color=colours(results)[name], lw=1.8)
    if column == "entropy":
        for encoding in {encoding_of(results, name): None for name in names}:
            axes.axhline(real(results, encoding)["pitch_class_entropy"].mean(), color=REAL, lw=1, ls=(0, (4, 2)))
    axes.set_xlim(1, 0)
    axes.set_ylim(0, 102 if column == "validity" else None)

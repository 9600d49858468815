"""The figures of a corpus: what its notes are like, and what was left out of it and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from replication.windows.data_card import MAX_CHORD as CROWD
from replication.windows.data_card import MAX_STEPS as LONGEST
from replication.windows.duplicates import RUN_LENGTH as RUN
from reports.format.picture import GREY, INK, REAL, Picture, look, name_rows, sheet
from reports.format.table import number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    Facts = Mapping[str, Any]  # what `replication.windows.data_card.facts` returns

# What the splits share is measured three times: these are the keys of the leaks, in words.
STAGES = {
    "pieces": "piece by piece",
    "families": "by family",
    "cleaned": "by family without copies",
}
_OCTAVE = 12
_PALE = "#b4b4b4"
_ROWS = 4  # that a chart has room for at least: fewer bars would be thicker


def account(facts: Facts) -> dict[str, int]:
    """Return how many files went where, by what became of them; together they are all files."""
    counts, reasons = facts["counts"], facts["dropped"]["counts"]
    return {
        "pieces in windows": counts["pieces"],
        **dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        "duplicate": counts["duplicates"],
        "too short for a window": counts["short"],
    }


def step(grid: Mapping[str, Any]) -> str:
    """Return the unit of time of a grid, as `replication.util.files.describe` has it."""
    if grid["type"] == "Beats":
        return f"steps of 1/{grid['steps_per_beat']} beat"
    return f"steps of {1000 / grid['steps_per_second']:g} ms"


@look
def notes(facts: Facts) -> Picture:
    """Draw how the notes of a corpus are distributed."""
    counts, unit = facts["histograms"], step(facts["reading"]["grid"])
    figure = sheet(8.4, 4.6)
    (pitch, duration, velocity), (length, onset, wait) = figure.subplots(2, 3)
    _bars(pitch, counts["pitch"], "Notes (%)")
    pitch.xaxis.set_major_locator(FixedLocator(range(0, 128, 2 * _OCTAVE)))
    pitch.set_xlim(-1, 128)
    pitch.set_title("Pitch")
    pitch.set_xlabel("MIDI number (60 is middle C)")
    _bars(velocity, counts["velocity"], "Notes (%)")
    velocity.xaxis.set_major_locator(FixedLocator(range(0, 129, 32)))
    velocity.set_xlim(-1, 128)
    velocity.set_title("Velocity")
    velocity.set_xlabel("MIDI velocity")
    for axes, key, title in ((duration, "duration", "Duration"), (wait, "inter_onset", "From onset to onset")):
        _bars(axes, counts[key][:-1], "Notes (%)" if key == "duration" else "Pairs of onsets (%)", rest=counts[key][-1])
        axes.set_title(title)
        axes.set_xlabel(unit.capitalize())
    _bars(onset, counts["notes_per_onset"][:-1], "Onsets (%)", rest=counts["notes_per_onset"][-1])
    onset.set_title("Notes per onset")
    onset.set_xlabel("Notes that start together")
    _lengths(length, counts["notes_per_piece"])
    read = facts["read"]
    caption = (
        f"The music of corpus {facts['name']}: {read['notes']:,} notes of {read['pieces']:,} pieces, all that were"
        f" read, duplicates included. Pale bars: all that is over {LONGEST} steps or {CROWD} notes. Pieces are counted"
        " in eight bins to a factor of ten."
    )
    return Picture(figure, caption)


def _bars(axes: Axes, counts: Sequence[int], unit: str, *, rest: int | None = None) -> None:
    """Draw the shares of values: 0 and up, or with a `rest`, which is all that are larger, 1 and up."""
    total = max(1, sum(counts) + (rest or 0))
    first = 0 if rest is None else 1
    axes.bar(range(first, first + len(counts)), 100 * np.array(counts) / total, width=1, color=REAL, lw=0)
    if rest is not None:
        axes.bar(len(counts) + 2, 100 * rest / total, width=1, color=_PALE, lw=0)
        axes.set_xlim(0, len(counts) + 3)
        ticks = np.linspace(0, len(counts), 5).astype(int).tolist()
        axes.set_xticks([1, *ticks[1:]])
    axes.set_ylabel(unit)
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _lengths(axes: Axes, histogram: Mapping[str, Sequence[int]]) -> None:
    counts, edges = np.array(histogram["counts"]), np.array(histogram["edges"])
    axes.stairs(100 * counts / max(1, counts.sum()), edges, fill=True, color=REAL)
    some = np.flatnonzero(counts)
    axes.set_xlim(min([10, *edges[some]]), max([10_000, *edges[some + 1]]))
    axes.set_xscale("log")
    _powers(axes.xaxis)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_title("Notes per piece")
    axes.set_xlabel("Notes (logarithmic)")
    axes.set_ylabel("Pieces (%)")


def _powers(axis: Axis) -> None:
    """Mark a logarithmic axis at the powers of ten, by whole numbers."""
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


@look
def left_out(facts: Facts) -> Picture:
    """Draw which files gave no windows, how many are related, and what the test split has in common with training."""
    figure = sheet(8.4, 2.9)
    reasons, families, leaks = figure.subplots(1, 3)
    _reasons(reasons, facts)
    _families(families, facts["families"])
    _leaks(leaks, facts["leaks"])
    figure.legend(loc="outside lower right", ncols=2, fontsize=8, frameon=False)
    caption = (
        f"What was left out of corpus {facts['name']} and why. Left: files that gave no window, of"
        f" {facts['counts']['files']:,}. Middle: families by their number of pieces, duplicates not counted; a family"
        f" is in one split. Right: what the test split has that training has too, of its runs of {RUN} onsets with all"
        f" their notes and of its runs of {RUN} notes, in any key."
    )
    return Picture(figure, caption)


def _reasons(axes: Axes, facts: Facts) -> None:
    rows = {text: count for text, count in list(account(facts).items())[1:] if count}
    axes.set_title("Files left out")
    if not rows:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "none", ha="center", va="center", color=GREY, transform=axes.transAxes)
        return
    axes.barh(range(len(rows)), list(rows.values()), height=0.62, color=REAL)
    for row, count in enumerate(rows.values()):
        axes.annotate(f"{count:,}", (count, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
    name_rows(axes, list(rows), [INK] * len(rows))
    axes.set_ylim(max(_ROWS, len(rows)) - 0.5, -0.5)
    axes.set_xlim(0, 1.25 * max(rows.values()))
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.set_xlabel("Files")


def _families(axes: Axes, families: Mapping[str, Any]) -> None:
    sizes = {int(size): count for size, count in families["sizes"].items()}
    axes.bar(list(sizes), list(sizes.values()), width=0.8, color=REAL)
    axes.set_yscale("log")
    axes.set_xlim(0.4, max(_ROWS, *sizes) + 0.6)
    axes.set_ylim(0.7, None)
    _powers(axes.yaxis)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_title("Families")
    axes.set_xlabel("Pieces in the family")
    axes.set_ylabel("Families (logarithmic)")


def _leaks(axes: Axes, leaks: Mapping[str, Any]) -> None:
    kinds = {"onsets": REAL, "notes": _PALE}
    for place, (kind, colour) in enumerate(kinds.items()):
        rows = np.arange(len(STAGES)) + 0.4 * place - 0.2
        shares = [100 * leaks[stage][kind] for stage in STAGES]
        axes.barh(rows, shares, height=0.38, color=colour, label=f"runs of {RUN} {kind}")
        for row, share in zip(rows, shares, strict=True):
            axes.annotate(number(share), (share, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
    name_rows(axes, list(STAGES.values()), [INK] * len(STAGES))
    axes.margins(x=0.2)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_title("Shared with training")
    axes.set_xlabel("Share of the test split (%)")


FIGURES: dict[str, Callable[[Facts], Picture]] = {"notes": notes, "left_out": left_out}

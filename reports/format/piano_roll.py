"""Piano rolls: notes drawn as lines of pitch over time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator, MultipleLocator

from reports.format.figure import FAINT, GREY

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def end_of_rolls(notes: pd.DataFrame, music: pd.DataFrame) -> float:
    """Return the time at which piano rolls end: that of the last note, or twice the longest real window.

    A model that pauses for long would otherwise squeeze the notes of all others.
    """
    ends = [part["onset"] + part["duration"] for part in (notes, music)]
    last, longest = (float(end.max()) if len(end) else math.inf for end in ends)
    return min(last, 2 * longest) if math.isfinite(min(last, longest)) else 1.0


def set_limits(axes: Axes, notes: pd.DataFrame, end: float) -> None:
    """Set the limits that piano rolls share: all pitches of the notes, and times from 0 to `end`."""
    axes.set_xlim(0, end)
    if len(notes):
        axes.set_ylim(notes["pitch"].min() - 2, notes["pitch"].max() + 2)
    axes.yaxis.set_major_locator(MultipleLocator(24))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 4, 8, 10]))


def draw_roll(axes: Axes, notes: pd.DataFrame, colour: Any, end: float) -> None:  # noqa: ANN401 - matplotlib's
    """Draw one piece from its onsets, pitches and stops, with a line every 4 beats or seconds up to `end`."""
    for bar in np.arange(4, end, 4):
        axes.axvline(bar, color=FAINT, lw=0.6, zorder=0)
    axes.tick_params(length=2, labelsize=7)
    if notes.empty:
        axes.text(0.5, 0.5, "no notes", transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=8)
    # The gap tells repeated notes from a long one. One broken line takes a fifth of the bytes of many lines.
    times = np.column_stack([notes["onset"], notes["stop"] - end / 300, np.full(len(notes), np.nan)])
    axes.plot(times.ravel(), np.repeat(notes["pitch"], 3), color=colour, lw=1.7, solid_capstyle="butt")

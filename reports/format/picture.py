"""A figure with its caption, one look for all figures, and files whose bytes depend on the results only."""

from __future__ import annotations

import functools
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from replication.util.files import atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

Shown = TypeVar("Shown")  # what a figure is drawn of

INK, GREY, FAINT = "#202020", "#707070", "#e6e6e6"
REAL = "#404040"  # the test split, everywhere
LOOK: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "text.parse_math": False,  # labels may hold a dollar sign
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "hatch.linewidth": 0.8,
    "figure.facecolor": "white",
    "savefig.dpi": 160,
    "svg.hashsalt": "etude",  # names of elements are random otherwise
}
_METADATA: Mapping[str, Mapping[str, None]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
_PATH = re.compile(rb' d="[^"]*"')
_FINER = re.compile(rb"(\.\d\d)\d+")  # than a hundredth of a point, which nobody sees and which is half of the bytes


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure and the sentences below it."""

    figure: Figure
    caption: str

    @functools.cached_property
    def svg(self) -> bytes:
        """The figure as SVG."""
        return _PATH.sub(lambda path: _FINER.sub(rb"\1", path[0]), self._drawn("svg"))

    def save(self, path: Path) -> None:
        """Write the figure as its suffix says, .svg or .png."""
        with atomic(path) as draft:
            draft.write_bytes(self.svg if path.suffix == ".svg" else self._drawn("png"))

    def _drawn(self, kind: str) -> bytes:
        content = io.BytesIO()
        with mpl.rc_context(LOOK):
            self.figure.savefig(content, format=kind, metadata=_METADATA[kind])
        return content.getvalue()


def look(draw: Callable[[Shown], Picture]) -> Callable[[Shown], Picture]:
    """Let a function draw in the common look, whatever the settings of the process."""

    @functools.wraps(draw)
    def drawn(shown: Shown) -> Picture:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(LOOK)
            picture = draw(shown)
            # Laid out once: it takes long, and each resolution would come to another layout.
            picture.figure.draw_without_rendering()
            picture.figure.set_layout_engine("none")
            return picture

    return drawn


def sheet(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def nothing(text: str, caption: str) -> Picture:
    """Return a figure that says why there is nothing to see."""
    figure = sheet(6, 1)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY)
    return Picture(figure, caption)


def logarithmic(axis: Axis, subs: Sequence[float] = (1, 2, 5)) -> None:
    """Mark a logarithmic axis by plain numbers: 0.5, 1, 2, 5, or others of each power of ten."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def name_rows(axes: Axes, names: Sequence[str], colours: Sequence[Any]) -> None:
    """Name the rows 0, 1, ... of a chart from top to bottom, each in its colour."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for label, colour in zip(axes.get_yticklabels(), colours, strict=True):
        label.set_color(colour)


def draw_seeds(axes: Axes, seeds: pd.DataFrame, colour: Any) -> pd.Series[float]:  # noqa: ANN401 - matplotlib's
    """Draw a thin curve for each seed, a column over the index, and a thick one for their mean; return the mean."""
    mean = seeds.mean(axis="columns")
    axes.plot(seeds.index, seeds, color=colour, lw=0.7, alpha=0.45)
    axes.plot(mean.index, mean, color=colour, lw=2)
    return mean


def name_curves(axes: Axes, ends: Mapping[str, float], colours: Mapping[str, Any]) -> None:
    """Write names at the right of the axes at the heights where their curves end, moved apart where they would overlap.

    The limits of the axes must be final.
    """
    names = sorted(ends, key=lambda name: ends[name])
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = [float(to_axes.transform((0, ends[name]))[1]) for name in names]
    for name, height in zip(names, apart(heights, gap=0.075), strict=True):
        axes.text(1.02, height, name, transform=axes.transAxes, va="center", color=colours[name], fontsize=8)


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights moved by the least squares that put neighbours `gap` apart, in 0 to 1 if they fit."""
    from scipy.optimize import isotonic_regression

    steps = gap * np.arange(len(heights))
    lowest = isotonic_regression(np.asarray(heights, dtype=float) - steps).x
    return [float(height) for height in np.clip(lowest, 0, max(0.0, 1 - steps[-1])) + steps]

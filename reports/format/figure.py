"""Figures with captions: one style, shared drawing helpers, and files whose bytes depend only on the results."""

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

Source = TypeVar("Source")  # what a figure is drawn from: results, or the facts of a corpus

INK, GREY, FAINT = "#202020", "#707070", "#e6e6e6"
REAL = "#404040"  # the test split, in every figure
LOG_FROM = 6  # ratio of the largest to the smallest value from which an axis is logarithmic
STYLE: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs on every machine
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
    "text.parse_math": False,  # labels may contain a dollar sign
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "hatch.linewidth": 0.8,
    "figure.facecolor": "white",
    "savefig.dpi": 160,
    "svg.hashsalt": "etude",  # element ids are random otherwise
}
_METADATA: Mapping[str, Mapping[str, None]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
_PATH = re.compile(rb' d="[^"]*"')
_FINER = re.compile(rb"(\.\d\d)\d+")  # digits beyond a hundredth of a point: invisible, and half of the bytes


@dataclass(frozen=True, eq=False)
class CaptionedFigure:
    """A figure and its caption.

    Attributes:
        figure: The matplotlib figure, laid out by `styled`.
        caption: The text below the figure.
    """

    figure: Figure
    caption: str

    @functools.cached_property
    def svg(self) -> bytes:
        """The figure as SVG."""
        return _PATH.sub(lambda path: _FINER.sub(rb"\1", path[0]), self._drawn("svg"))

    def save(self, path: Path) -> None:
        """Write the figure in the format of the suffix, .svg or .png."""
        with atomic(path) as draft:
            draft.write_bytes(self.svg if path.suffix == ".svg" else self._drawn("png"))

    def _drawn(self, kind: str) -> bytes:
        content = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(content, format=kind, metadata=_METADATA[kind])
        return content.getvalue()


def styled(draw: Callable[[Source], CaptionedFigure]) -> Callable[[Source], CaptionedFigure]:
    """Decorate a function so that it draws in the common style, whatever matplotlib settings the process has."""

    @functools.wraps(draw)
    def draw_styled(source: Source) -> CaptionedFigure:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(STYLE)
            captioned = draw(source)
            # The layout is computed once: it is slow, and each output resolution would give another layout.
            engine = captioned.figure.get_layout_engine()
            if engine is not None and captioned.figure.axes:
                engine.execute(captioned.figure)
            captioned.figure.set_layout_engine(None)  # with "none", `savefig` would draw twice, as for a layout
            return captioned

    return draw_styled


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure; width and height are in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def placeholder(text: str, caption: str) -> CaptionedFigure:
    """Return a figure that shows only a text: why there is nothing to draw."""
    figure = new_figure(6, 1)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY)
    return CaptionedFigure(figure, caption)


def label_logarithmic(axis: Axis, subs: Sequence[float] = (1, 2, 5)) -> None:
    """Label a logarithmic axis with plain numbers: 0.5, 1, 2, 5, or other multiples of the powers of ten."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def label_rows(axes: Axes, names: Sequence[str], colours: Sequence[Any]) -> None:
    """Label the rows 0, 1, ... of a chart from top to bottom, each in its colour."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for label, colour in zip(axes.get_yticklabels(), colours, strict=True):
        label.set_color(colour)


def draw_seeds(axes: Axes, seeds: pd.DataFrame, colour: Any) -> pd.Series[float]:  # noqa: ANN401 - matplotlib's
    """Draw a thin curve for each seed (a column) and a thick one for their mean; return the mean."""
    mean = seeds.mean(axis="columns")
    axes.plot(seeds.index, seeds, color=colour, lw=0.7, alpha=0.45)
    axes.plot(mean.index, mean, color=colour, lw=2)
    return mean


def label_curves(axes: Axes, ends: Mapping[str, float], colours: Mapping[str, Any]) -> None:
    """Label curves at the right of the axes, at the heights where they end; labels that would overlap are moved apart.

    The limits of the axes must be final.
    """
    names = sorted(ends, key=lambda name: ends[name])
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = [float(to_axes.transform((0, ends[name]))[1]) for name in names]
    for name, height in zip(names, separate(heights, gap=0.075), strict=True):
        axes.text(1.02, height, name, transform=axes.transAxes, va="center", color=colours[name], fontsize=8)


def label_points(
    axes: Axes, points: Mapping[Any, tuple[float, float]], names: Mapping[Any, str], colours: Mapping[Any, Any]
) -> None:
    """Label points at the right of the axes, in the order of their heights, each joined to its point by a line."""
    axes.autoscale_view()
    axes.autoscale(enable=False)
    to_axes = axes.transData + axes.transAxes.inverted()
    order = sorted(points, key=lambda name: points[name][1])
    at = {name: to_axes.transform(points[name]) for name in order}
    gap = min(0.055, 1 / len(order))
    for name, height in zip(order, separate([float(at[name][1]) for name in order], gap=gap), strict=True):
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


def separate(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights, moved by least squares until neighbours are `gap` apart; within 0 to 1 if they fit."""
    from scipy.optimize import isotonic_regression

    steps = gap * np.arange(len(heights))
    lowest = isotonic_regression(np.asarray(heights, dtype=float) - steps).x
    return [float(height) for height in np.clip(lowest, 0, max(0.0, 1 - steps[-1])) + steps]

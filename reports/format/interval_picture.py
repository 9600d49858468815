"""One picture for each claim: its interval against 0 and the margin, as text for a terminal and as SVG for a page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from eval.claims.verdicts import Evidence

EMPTY, MARGIN = " ", "\N{LIGHT SHADE}"
ZERO, LINE, MEAN = "\N{BOX DRAWINGS LIGHT VERTICAL}", "\N{BOX DRAWINGS HEAVY HORIZONTAL}", "\N{BLACK CIRCLE}"
LEFT, RIGHT = "\N{BLACK LEFT-POINTING TRIANGLE}", "\N{BLACK RIGHT-POINTING TRIANGLE}"


class _Extent(NamedTuple):
    """An interval that can be drawn.

    Attributes:
        low: Lower end.
        mean: Mean.
        high: Upper end.
        margin: Margin on either side of 0.
        reach: The axis goes from -reach to reach.
        cut: Whether the interval is longer than the axis.
    """

    low: float
    mean: float
    high: float
    margin: float
    reach: float
    cut: bool

    def place(self, value: float, width: float) -> float:
        """Return the place of a value on an axis of a width, at its end if it is beyond it."""
        return width * min(max(0.5 + value / self.reach / 2, 0.0), 1.0)


def _extent(found: Evidence) -> _Extent | None:
    """Return what to draw; None if there is no interval."""
    one, scale = found.contrast, found.scale
    if not (math.isfinite(one.low) and math.isfinite(one.high)):
        return None
    low, high = max(one.low, scale.low), min(one.high, scale.high)
    ends = [abs(low), abs(high), 2 * scale.margin]
    # Long intervals of few seeds are cut, so that the margin stays visible.
    reach = 1.1 * min(max(ends), max(12 * scale.margin, 1.5 * abs(one.difference)))
    return _Extent(low, one.difference, high, scale.margin, reach, max(ends) > reach)


def text_picture(found: Evidence, *, width: int = 41) -> str:
    """Return a line of `width` characters: the margin shaded, 0 as a bar, the interval as a line, its mean as a dot."""
    extent = _extent(found)
    if extent is None:
        return ""

    def column(value: float) -> int:
        return round(extent.place(value, width - 1))

    line = [MARGIN if column(-extent.margin) <= place <= column(extent.margin) else EMPTY for place in range(width)]
    line[column(0)] = ZERO
    for place in range(column(extent.low), column(extent.high) + 1):
        line[place] = LINE
    line[0] = LEFT if extent.low < -extent.reach else line[0]
    line[-1] = RIGHT if extent.high > extent.reach else line[-1]
    line[column(extent.mean)] = MEAN
    return "".join(line)


def svg_picture(found: Evidence) -> str:
    """Return the same as inline SVG without text; its description is the sentence of the verdict beside it."""
    extent = _extent(found)
    if extent is None:
        return ""
    width, height = 320, 26

    def x(value: float) -> str:
        return f"{extent.place(value, width):.1f}"

    shade = float(x(extent.margin)) - float(x(-extent.margin))
    middle = height / 2
    return (
        f'<svg class="interval" viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">'
        f'<rect class="margin" x="{x(-extent.margin)}" y="0" width="{shade:.1f}" height="{height}"/>'
        f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="0" y2="{height}"/>'
        f'<line class="span" x1="{x(extent.low)}" x2="{x(extent.high)}" y1="{middle}" y2="{middle}"/>'
        f'<circle class="mean" cx="{x(extent.mean)}" cy="{middle}" r="4.5"/></svg>'
    )

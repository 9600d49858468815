"""A section of the report: its title and, in order, its tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from eval.results.frames import Results
    from reports.format.figure import CaptionedFigure
    from reports.format.table import Table


def always(_results: Results) -> bool:
    """Return True: the part belongs to every report."""
    return True


@dataclass(frozen=True, kw_only=True)
class TablePart:
    """A table of a section.

    Attributes:
        name: The name of the table's files.
        build: Builds the table from the results.
        present: Whether the report of these results has the table.
    """

    name: str
    build: Callable[[Results], Table]
    present: Callable[[Results], bool] = always


@dataclass(frozen=True, kw_only=True)
class FigurePart:
    """A figure of a section.

    Attributes:
        name: The name of the figure's files.
        draw: Draws the figure from the results.
        present: Whether the report of these results has the figure.
    """

    name: str
    draw: Callable[[Results], CaptionedFigure]
    present: Callable[[Results], bool] = always


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the report.

    Attributes:
        title: The heading; up to a colon, if it has one, it is also the name in the contents and the anchor.
        parts: Tables and figures in the order of the page.
    """

    title: str
    parts: tuple[TablePart | FigurePart, ...]

"""The contents of the report: its sections in order, and the tables and figures that follow from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.format.section import FigurePart, TablePart
from reports.sections import appendix, claims, compute, controls, embeddings, likelihood, memorisation, music

if TYPE_CHECKING:
    from collections.abc import Callable

    from eval.results.frames import Results
    from reports.format.figure import CaptionedFigure
    from reports.format.section import Section
    from reports.format.table import Table

# The data card, whose source is the facts of the corpus, is a section of its own: `reports.sections.data_card`.
SECTIONS: tuple[Section, ...] = (
    claims.SECTION,
    embeddings.SECTION,
    likelihood.SECTION,
    music.SECTION,
    controls.SECTION,
    memorisation.SECTION,
    compute.SECTION,
    appendix.SECTION,
)
_PARTS = [part for section in SECTIONS for part in section.parts]
TABLES: dict[str, Callable[[Results], Table]] = {
    part.name: part.build for part in _PARTS if isinstance(part, TablePart)
}
FIGURES: dict[str, Callable[[Results], CaptionedFigure]] = {
    part.name: part.draw for part in _PARTS if isinstance(part, FigurePart)
}


def build_tables(results: Results) -> dict[str, Table]:
    """Build all tables of the report of these results, by name, in the order of the sections."""
    return {part.name: part.build(results) for part in _PARTS if isinstance(part, TablePart) and part.present(results)}


def draw_figures(results: Results) -> dict[str, CaptionedFigure]:
    """Draw all figures of the report of these results, by name, in the order of the sections."""
    return {part.name: part.draw(results) for part in _PARTS if isinstance(part, FigurePart) and part.present(results)}

"""The report as one HTML page that needs no network and runs no script but its own."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from eval.claims.declaration import status
from eval.claims.judgement import judged_on
from eval.listening.player import TEMPO, policy, script, seconds_per, style
from replication.util.text import printable
from reports.format.captions import summary
from reports.format.interval_picture import svg_picture
from reports.format.section import FigurePart
from reports.format.templates import ASSETS, render_template, split_lead
from reports.page.listening import Origin, listening_room
from reports.sections import data_card
from reports.sections.contents import SECTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eval.results.frames import Results
    from reports.format.figure import CaptionedFigure
    from reports.format.section import Section
    from reports.format.table import Table


@dataclass(frozen=True, kw_only=True)
class PageSection:
    """A section as the template shows it.

    Attributes:
        id: The anchor.
        name: The name in the contents.
        title: The heading.
        parts: Tables and figures with their captions, as markup.
    """

    id: str
    name: str
    title: str
    parts: list[Markup]


def page(results: Results, tables: Mapping[str, Table], figures: Mapping[str, CaptionedFigure]) -> str:
    """Return the page; equal results give equal bytes.

    Args:
        results: The results, for the verdicts, the listening room and the data card.
        tables: Tables by name, the table of the claims among them; the page shows those that its sections list.
        figures: Figures by name.
    """
    # The verdicts are shown as a list, not as a table.
    shown = {name: table for name, table in tables.items() if name != "claims"}
    head, *sections = (_page_section(section, shown, figures) for section in SECTIONS)
    looks = style(ASSETS / "page.css")
    plays = script(ASSETS / "blind.js", ASSETS / "page.js")
    return render_template(
        "page.html.j2",
        about=results.about,
        summary=summary(results),
        claims=[
            {
                "verdict": verdict,
                "status": own,
                "picture": Markup(svg_picture(verdict.evidence)) if verdict.evidence else "",  # noqa: S704 - numbers only
            }
            for verdict, own in judged_on(results)
        ],
        status=status(results),
        rule=tables["claims"].caption,
        head=head.parts,
        sections=[section for section in sections if section.parts],
        room=listening_room(results),
        generated=Origin.GENERATED,
        seconds_per_unit=seconds_per(results.about["unit"]),
        tempo=TEMPO,
        card=_card(results.card),
        style=looks,
        script=plays,
        policy=policy(style=looks, script=plays),
    )


def _page_section(section: Section, tables: Mapping[str, Table], figures: Mapping[str, CaptionedFigure]) -> PageSection:
    """Return a section with those of its parts that there are."""
    parts = []
    for part in section.parts:
        if isinstance(part, FigurePart):
            parts += [_figure(part.name, figures[part.name])] if part.name in figures else []
        elif part.name in tables:
            parts.append(Markup(tables[part.name].html()))  # noqa: S704 - escaped by its template
    name = section.title.partition(":")[0]
    return PageSection(id=name.lower().replace(" ", "-"), name=name, title=section.title, parts=parts)


def _card(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data card for the template, without control characters: names of files may contain any."""
    return {
        "title": printable(facts["title"]),
        "licence": {key: printable(text) for key, text in facts["licence"].items()},
        "about": {title: printable(text) for title, text in data_card.about(facts).items()},
        "figures": [
            *(_figure(f"corpus_{name}", figure) for name, figure in data_card.draw_figures(facts).items()),
            *(Markup(table(facts).html()) for table in data_card.TABLES),  # noqa: S704 - escaped by its template
        ],
        "lists": {title: [printable(line) for line in lines] for title, lines in data_card.lists(facts).items()},
    }


def _figure(name: str, figure: CaptionedFigure) -> Markup:
    """Return a figure with its caption; as an image, so that ids inside it cannot clash with those of other figures."""
    width, height = figure.figure.get_size_inches()
    text = render_template(
        "figure.html.j2",
        name=name,
        title=name.removeprefix("corpus_").replace("_", " "),
        source=f"data:image/svg+xml;base64,{base64.b64encode(figure.svg).decode()}",
        width=round(96 * width),
        height=round(96 * height),
        **split_lead(figure.caption),
    )
    return Markup(text)  # noqa: S704 - escaped by its template

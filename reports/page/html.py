"""The report as one page for a browser: it needs no network, and nothing on it can run that is not of ours."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from eval.claims.claims import verdicts_on
from eval.listening.player import TEMPO, policy, script, seconds_per, style
from replication.util.text import printable
from reports.format.facts import summary
from reports.format.templates import ASSETS, led, rendered
from reports.page.listening import Origin, room
from reports.sections import data_card as card
from reports.sections.tables import APPENDIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from eval.results.frames import Results
    from reports.format.picture import Picture
    from reports.format.table import Table

HEAD = ("floor_forest", "main", "events")  # right after the claims
# The names of figures and tables by the title of their section, figures first where a name is both.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Embeddings": ("embedding_geometry", "geometry", "contrasts", "grid"),
    "Likelihood": ("nll_bars", "likelihood", "frontier", "audit"),
    "Music": ("metric_distributions", "metrics", "panel", "form", "piano_rolls", "denoising"),
    "Controls": ("controls", "metrics_of_controls"),
    "Memorisation": ("copies", "nearest_pairs", "memorisation"),
    "Steps and compute": ("pareto", "samplers", "training_curves", "cost"),
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Attributes:
        id: what links to it end with.
        title: its heading.
        parts: figures with their captions, as markup.
    """

    id: str
    title: str
    parts: list[Markup]


def page(results: Results, tables: Sequence[Table], pictures: Mapping[str, Picture]) -> str:
    """Return the page; equal results give equal bytes.

    Args:
        results: what the listening room and the data card are of.
        tables: those of `reports.sections.tables.TABLES` that there are, the one of the claims among them.
        pictures: those of `reports.sections.figures.FIGURES` that there are, by name.
    """
    by_name = {table.name: table for table in tables}
    shown = {name: [_figure(name, picture)] for name, picture in pictures.items()}
    for table in tables:
        shown.setdefault(table.name, []).append(Markup(table.html()))  # noqa: S704 - escaped by its template
    looks = style(ASSETS / "page.css")
    plays = script(ASSETS / "blind.js", ASSETS / "page.js")
    return rendered(
        "page.html.j2",
        about=results.about,
        summary=summary(results),
        claims=verdicts_on(results),
        judged=by_name["claims"].caption,
        head=_parts(shown, HEAD),
        sections=_sections(shown),
        room=room(results),
        generated=Origin.GENERATED,
        seconds_per_unit=seconds_per(results.about["unit"]),
        tempo=TEMPO,
        card=_card(results.card),
        style=looks,
        script=plays,
        policy=policy(style=looks, script=plays),
    )


def _sections(shown: Mapping[str, list[Markup]]) -> list[Section]:
    """Return the sections that have something in them; what no row of `SECTIONS` names has one of its own."""
    named = {"claims", *HEAD, *APPENDIX, *(name for names in SECTIONS.values() for name in names)}
    rows = {
        **SECTIONS,
        "More": tuple(name for name in shown if name not in named),
        "Appendix: what other papers report": APPENDIX,
    }
    sections = [
        Section(id=title.partition(":")[0].lower().replace(" ", "-"), title=title, parts=_parts(shown, names))
        for title, names in rows.items()
    ]
    return [section for section in sections if section.parts]


def _parts(shown: Mapping[str, list[Markup]], names: Iterable[str]) -> list[Markup]:
    return [part for name in names for part in shown.get(name, [])]


def _card(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows of the corpus, whose names may command a terminal or turn text around."""
    return {
        "title": printable(facts["title"]),
        "licence": {key: printable(text) for key, text in facts["licence"].items()},
        "about": {title: printable(text) for title, text in card.about(facts).items()},
        "figures": [
            *(_figure(f"corpus_{name}", picture) for name, picture in card.figures(facts).items()),
            *(Markup(table(facts).html()) for table in card.TABLES),  # noqa: S704 - escaped by its template
        ],
        "lists": {title: [printable(line) for line in lines] for title, lines in card.lists(facts).items()},
    }


def _figure(name: str, picture: Picture) -> Markup:
    """Return a figure with its caption; as an image, so that names inside it cannot clash with those of others."""
    width, height = picture.figure.get_size_inches()
    text = rendered(
        "figure.html.j2",
        name=name,
        title=name.removeprefix("corpus_").replace("_", " "),
        source=f"data:image/svg+xml;base64,{base64.b64encode(picture.svg).decode()}",
        width=round(96 * width),
        height=round(96 * height),
        **led(picture.caption),
    )
    return Markup(text)  # noqa: S704 - escaped by its template

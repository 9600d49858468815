"""Write the report: all tables and figures, the pages that show them, and the results they are made of."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from eval.results.files import read_results, write_results
from eval.results.frames import gather
from replication.util.files import atomic
from reports.format.captions import join_names, summary
from reports.format.section import FigurePart
from reports.format.table import markdown
from reports.page.html import page
from reports.page.terminal import show
from reports.sections import data_card
from reports.sections.contents import SECTIONS, build_tables, draw_figures

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from eval.results.frames import Results
    from reports.format.figure import CaptionedFigure
    from reports.format.table import Table


RESULTS = "results"  # the folder of the results in a report


def make_report(comparison: Path, output: Path) -> None:
    """Write the report of a comparison's folder, or of an existing report, and print its summary.

    Raises:
        UserError: If there are no finished trials, or a file is damaged.
    """
    kept = comparison / RESULTS
    results = read_results(kept) if kept.exists() else gather(comparison)
    render(results, output)
    show(results, output)


def render(results: Results, output: Path) -> list[Path]:
    """Write index.html, report.md, tables/, figures/, corpus/, trials.csv, about.json and results/ below `output`.

    Equal results give equal bytes.

    Returns:
        The files written, index.html first.
    """
    tables, figures = build_tables(results), draw_figures(results)
    texts = {output / "index.html": page(results, tables, figures)}
    texts[output / "report.md"] = markdown_page(results, tables, figures)
    for table in tables.values():
        stem = output / "tables" / table.name
        texts |= {stem.with_suffix(".md"): table.markdown()}
        texts |= {stem.with_suffix(".tex"): table.latex(), stem.with_suffix(".csv"): table.csv()}
        texts |= {stem.with_suffix(".html"): table.html()}
    # The trials one by one, and the configuration that they share.
    texts[output / "trials.csv"] = results.trials.to_csv(index=False, lineterminator="\n")
    about = results.about | {"encodings": results.encodings.to_dict("records")}
    texts[output / "about.json"] = json.dumps(about, indent=2, sort_keys=True) + "\n"
    kept = write_results(results, output / RESULTS)
    for path, text in texts.items():
        with atomic(path) as draft:
            draft.write_text(text, encoding="utf-8", newline="\n")
    images = {
        output / "figures" / f"{name}{suffix}": figure
        for name, figure in figures.items()
        for suffix in (".svg", ".png")
    }
    for path, figure in images.items():
        figure.save(path)
    return [*texts, *images, *kept, *data_card.render(results.card, output / "corpus")]


def markdown_page(results: Results, tables: Mapping[str, Table], figures: Mapping[str, CaptionedFigure]) -> str:
    """Return the report in Markdown, with links to the figures and to the data card; section by section."""
    about = results.about
    blocks = [f"# Etude: {markdown(about['corpus'])} at scale {markdown(about['scale'])}", markdown(summary(results))]
    for section in SECTIONS:
        parts = []
        for part in section.parts:
            if isinstance(part, FigurePart):
                parts += [_figure(part.name, figures[part.name])] if part.name in figures else []
            elif part.name in tables:
                parts.append(tables[part.name].markdown().rstrip("\n"))
        blocks += [f"## {section.title}", *parts] if parts else []
    blocks += [
        "## Data",
        "The outcome of every file of the corpus, and the overlap of the splits: [data card](corpus/card.md).",
        "## To reproduce",
        f"At commit {markdown(join_names(about['commits']))}:",
        _code(about["command"]),
    ]
    return "\n\n".join(blocks) + "\n"


def _code(text: str) -> str:
    """Return a code block whose fence is longer than any in the text: a folder may have a fence in its name."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}sh\n{text}\n{fence}"


def _figure(name: str, figure: CaptionedFigure) -> str:
    """Return a figure by a relative link, with its caption."""
    title = markdown(name.replace("_", " "))
    return f"![{title}](figures/{name}.svg)\n\n**Figure: {title}.** {markdown(figure.caption)}"

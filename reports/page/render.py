"""The report as files: every table and figure, and the pages that show them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from eval.results.files import read_results, write_results
from eval.results.frames import gather
from replication.util.files import atomic
from reports.format.facts import between, summary
from reports.format.table import markdown
from reports.page.html import page
from reports.page.terminal import show
from reports.sections import data_card as card
from reports.sections.figures import FIGURES
from reports.sections.tables import APPENDIX, TABLES

if TYPE_CHECKING:
    from pathlib import Path

    from eval.results.frames import Results
    from reports.format.picture import Picture
    from reports.format.table import Table


RESULTS = "results"  # the folder with what all else is made of


def make_report(comparison: Path, output: Path) -> None:
    """Write the report of a comparison's folder, or of a stored report, and print its main table.

    Raises:
        UserError: if there are no finished trials, or a file is damaged.
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
    absent = {"samplers"} if results.samplers.empty else set()  # a study that not every comparison has
    tables = [make(results) for name, make in TABLES.items() if name not in absent]
    pictures = {name: draw(results) for name, draw in FIGURES.items() if name not in absent}
    texts = {output / "index.html": page(results, tables, pictures)}
    texts[output / "report.md"] = _page(results, tables, pictures)
    for table in tables:
        stem = output / "tables" / table.name
        texts |= {stem.with_suffix(".md"): table.markdown()}
        texts |= {stem.with_suffix(".tex"): table.latex(), stem.with_suffix(".csv"): table.csv()}
        texts |= {stem.with_suffix(".html"): table.html()}
    # What the numbers were made from: every trial by itself, and the configuration that all share.
    texts[output / "trials.csv"] = results.trials.to_csv(index=False, lineterminator="\n")
    about = results.about | {"encodings": results.encodings.to_dict("records")}
    texts[output / "about.json"] = json.dumps(about, indent=2, sort_keys=True) + "\n"
    kept = write_results(results, output / RESULTS)
    for path, text in texts.items():
        with atomic(path) as draft:
            draft.write_text(text, encoding="utf-8", newline="\n")
    images = {
        output / "figures" / f"{name}{suffix}": picture
        for name, picture in pictures.items()
        for suffix in (".svg", ".png")
    }
    for path, picture in images.items():
        picture.save(path)
    return [*texts, *images, *kept, *card.render(results.card, output / "corpus")]


def _page(results: Results, tables: list[Table], pictures: dict[str, Picture]) -> str:
    """Return the page in Markdown: what was run, the claims, the main figure, all else, and how to make it again."""
    about = results.about
    texts = {table.name: table.markdown().rstrip("\n") for table in tables}
    shown = [_figure(name, picture) for name, picture in pictures.items()]
    blocks = [
        f"# Etude: {markdown(about['corpus'])} at scale {markdown(about['scale'])}",
        markdown(summary(results)),
        texts.pop("claims"),
        shown[0],
        *(text for name, text in texts.items() if name not in APPENDIX),
        *shown[1:],
        "## Appendix: what other papers report",
        *(texts[name] for name in APPENDIX),
        "## The data",
        "Where every file of the corpus went and what the splits still share: [data card](corpus/card.md).",
        "## To reproduce",
        f"At commit {markdown(between(about['commits']))}:",
        _code(about["command"]),
    ]
    return "\n\n".join(blocks) + "\n"


def _code(text: str) -> str:
    """Return a text as a block of code, whose fence is longer than any in it: a folder may be called like one."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}sh\n{text}\n{fence}"


def _figure(name: str, picture: Picture) -> str:
    """Return a figure by a relative link, with its caption."""
    title = markdown(name.replace("_", " "))
    return f"![{title}](figures/{name}.svg)\n\n**Figure: {title}.** {markdown(picture.caption)}"

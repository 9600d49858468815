"""The report as files: every table and figure, and one page that shows them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from replication.files import atomic
from reports import card
from reports.facts import between, controls, count, models, plural, several
from reports.figures import FIGURES
from reports.table import markdown
from reports.tables import APPENDIX, TABLES

if TYPE_CHECKING:
    from pathlib import Path

    from eval.results import Results
    from reports.picture import Picture
    from reports.table import Table


def render(results: Results, output: Path) -> list[Path]:
    """Write report.md, tables/, figures/, corpus/, trials.csv and about.json below `output`.

    Equal results give equal bytes.

    Returns:
        The files written, report.md first.
    """
    absent = {"samplers"} if results.samplers.empty else set()  # a study that not every comparison has
    tables = [make(results) for name, make in TABLES.items() if name not in absent]
    pictures = {name: draw(results) for name, draw in FIGURES.items() if name not in absent}
    texts = {output / "report.md": _page(results, tables, pictures)}
    for table in tables:
        stem = output / "tables" / table.name
        texts |= {stem.with_suffix(".md"): table.markdown()}
        texts |= {stem.with_suffix(".tex"): table.latex(), stem.with_suffix(".csv"): table.csv()}
    # What the numbers were made from: every trial by itself, and the configuration that all share.
    texts[output / "trials.csv"] = results.trials.to_csv(index=False, lineterminator="\n")
    about = results.about | {"encodings": results.encodings.to_dict("records")}
    texts[output / "about.json"] = json.dumps(about, indent=2, sort_keys=True) + "\n"
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
    return [*texts, *images, *card.render(results.card, output / "corpus")]


def _page(results: Results, tables: list[Table], pictures: dict[str, Picture]) -> str:
    """Return the page: what was run, the claims, the main figure, all else, and how to make it again."""
    about = results.about
    texts = {table.name: table.markdown().rstrip("\n") for table in tables}
    shown = [_figure(name, picture) for name, picture in pictures.items()]
    blocks = [
        f"# Etude: {markdown(about['corpus'])} at scale {markdown(about['scale'])}",
        markdown(_summary(results)),
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
        f"```sh\n{about['command']}\n```",
    ]
    return "\n\n".join(blocks) + "\n"


def _summary(results: Results) -> str:
    """Return two sentences: what was trained on what, and what was done with it."""
    about = results.about
    rows = [
        between([f"{row[split]} {split}" for split in ("train", "validation", "test")])
        + f" windows of {about['length']} tokens, {row['vocabulary']} words"
        for row in results.encodings.to_dict("records")
    ]
    if several(results):
        rows = [f"in encoding {name} {facts}" for name, facts in zip(results.encodings["name"], rows, strict=True)]
    names = models(results)
    seeds = count(results.trials[results.trials["experiment"].isin(names)].groupby("experiment")["seed"].nunique())
    return (
        f"{plural(str(len(names)), 'model')} shared one split of the corpus {about['corpus']} "
        f"({'; '.join(rows)}) and, where they train by gradients, one budget of {about['steps']} steps of "
        f"{about['batch']} windows. Each was trained with {plural(seeds, 'seed')}, sampled (diffusion: "
        f"{about['evaluations']} network evaluations per sample) and compared with the test split, "
        f"beside {plural(str(len(controls(results))), 'control')} that show what the measures can see."
    )


def _figure(name: str, picture: Picture) -> str:
    """Return a figure by a relative link, with its caption."""
    title = markdown(name.replace("_", " "))
    return f"![{title}](figures/{name}.svg)\n\n**Figure: {title}.** {markdown(picture.caption)}"

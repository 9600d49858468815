"""No text in results, such as the name of a piece, corpus or model, can run code or change the page in a report."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from reports.page.html import page
from reports.page.render import markdown_page
from reports.sections.contents import FIGURES, TABLES
from reports.sections.data_card import card
from tests.support.browser import chromium, opened
from tests.support.synthetic_results import synthetic_results

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Dialog

    from eval.results.frames import Results

HOSTILE = (
    "<script>window.owned = 1</script>",
    "\"'><img src=x onerror='window.owned = 2'>",
    "</script></style></title><svg onload='window.owned = 3'>",
    "[a](javascript:window.owned=4) <javascript:window.owned=4>",
    "\n```\n<iframe srcdoc='<script>parent.owned = 5</script>'></iframe>\n",
    "\u202e\u2066<b id='injected'>\x1b[2J",
    "{{ 7 * 7 }} {% raw %} ${7*7} --><!-- ]]>",
)
FREE = {"label", "note", "word"}  # columns of text that code looks nothing up by
KEPT = {"scale", "unit", "type", "colour", "key", "encoding", "schedule"}  # text that code looks things up by


def with_markup(value: Any, key: str = "") -> Any:  # noqa: ANN401 - JSON of any shape
    """Return JSON with hostile markup after every text that is shown to people."""
    if isinstance(value, dict):
        return {name: with_markup(item, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_markup(item, key) for item in value]
    if isinstance(value, str) and key not in KEPT:
        return value + "".join(HOSTILE)
    return value


def hostile_results(results: Results) -> Results:
    """Return results with hostile markup after every text that others may choose, and in the names of models."""
    names = {name: f"{name}{HOSTILE[place % len(HOSTILE)]}" for place, name in enumerate(results.experiments["name"])}
    changed: dict[str, Any] = {"about": with_markup(results.about) | {"configuration": results.about["configuration"]}}
    changed["card"] = with_markup(results.card)
    for field in dataclasses.fields(results):
        frame = getattr(results, field.name)
        if isinstance(frame, pd.DataFrame):
            for column in frame.columns.intersection(["experiment", "arm"]):
                frame = frame.assign(**{column: frame[column].map(lambda name: names.get(name, name))})
            for column in frame.columns.intersection(list(FREE)):
                frame = frame.assign(**{column: frame[column] + HOSTILE[len(column) % len(HOSTILE)]})
            changed[field.name] = frame
    changed["experiments"] = changed["experiments"].assign(name=list(names.values()))
    return dataclasses.replace(results, **changed)


@pytest.mark.filterwarnings("ignore:Glyph")  # missing in a font
def test_no_text_runs_in_the_page_the_report_or_a_figure(tmp_path: Path) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    results = hostile_results(synthetic_results(seeds=1, samples=16, without=("pretrained", "pretrained-ar")))
    tables = {name: TABLES[name](results) for name in ("claims", "main", "memorisation", "raw")}
    figures = {"nll_bars": FIGURES["nll_bars"](results)}
    files = {
        "index.html": page(results, tables, figures),
        "report.html": markdown_it.MarkdownIt().render(markdown_page(results, tables, figures)),
        "nll_bars.svg": figures["nll_bars"].svg.decode(),
        "table.html": tables["main"].html(),
        "card.html": markdown_it.MarkdownIt().render(card(results.card, {})),
    }
    dialogs: list[str] = []

    def note(dialog: Dialog) -> None:
        dialogs.append(dialog.message)

    with chromium() as browser:
        for name, text in files.items():
            assert "window.owned" in text or name == "nll_bars.svg"
            (tmp_path / name).write_text(text, encoding="utf-8")
            address = (tmp_path / name).as_uri()
            with opened(browser, address) as found:
                found.page.on("dialog", note)
                found.page.wait_for_load_state("networkidle")
                assert found.page.evaluate("window.owned") is None, name
                assert (
                    found.page.locator("#injected, iframe, [onerror], [onload], a[href^='javascript:' i]").count() == 0
                )
                assert found.page.locator("script").count() == (name == "index.html"), name
                strange = [one for one in found.requests if not one.startswith((address, "data:"))]
                assert all("figures/" in one for one in strange), strange  # pictures next to the report
                assert dialogs == []
                if name == "index.html":
                    assert found.complaints == []

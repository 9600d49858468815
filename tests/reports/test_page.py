"""The page of the report, in a real browser."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from eval.claims.judgement import verdicts_on
from reports.format.section import FigurePart
from reports.format.table import Table, number_cell, text_cell
from reports.page.html import page
from reports.sections.contents import FIGURES, SECTIONS, TABLES, build_tables
from tests.support.browser import DESK, PHONE, chromium, opened, overflow, press, violations
from tests.support.synthetic_results import synthetic_results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator

    from eval.results.frames import Results
    from reports.format.figure import CaptionedFigure
    from tests.support.browser import Watched

SCRIPT = "<script>alert(1)</script>"
ELEMENT = "\"'><img src=x onerror=alert(2)><b id='injected'>"
MOST = 5_000_000  # bytes
DRAWN = ("floor_forest", "nll_bars")  # drawing all would take long
PLAYING = '.roll[aria-pressed="true"]'


@pytest.fixture(scope="module")
def results() -> Results:
    return synthetic_results(seeds=2, samples=16, without=("pretrained", "pretrained-ar"))


@pytest.fixture(scope="module")
def tables(results: Results) -> dict[str, Table]:
    return build_tables(results)


@pytest.fixture(scope="module")
def figures(results: Results) -> dict[str, CaptionedFigure]:
    return {name: FIGURES[name](results) for name in DRAWN}


@pytest.fixture(scope="module")
def text(results: Results, tables: dict[str, Table], figures: dict[str, CaptionedFigure]) -> str:
    return page(results, tables, figures)


@pytest.fixture(scope="module")
def address(text: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(text, encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def watched(browser: Browser, address: str) -> Iterator[Watched]:
    with opened(browser, address) as found:
        yield found
        assert found.complaints == []
        assert found.requests == [address]


def column(table: Locator, number: int) -> list[str]:
    return [row.locator("th, td").nth(number).inner_text() for row in table.locator("tbody tr").all()]


def test_the_page_shows_everything_once_and_the_claims_first(text: str, results: Results) -> None:
    for name in DRAWN:
        assert text.count(f'id="figure-{name}"') == 1
    for name in TABLES:
        assert text.count(f'id="table-{name}"') == (name != "claims")
    places = [text.index(f"</span> {claim.statement}") for claim in verdicts_on(results)]
    places += [text.index(f'id="{kind}"') for kind in ("figure-floor_forest", "table-main", "listening-room", "data")]
    assert places == sorted(places)
    for claim in verdicts_on(results):
        assert f">{claim.verdict.value}</span>" in text
    assert results.about["command"] in text


def test_every_section_has_its_own_tables_and_figures_in_its_order(
    results: Results, text: str, figures: dict[str, CaptionedFigure]
) -> None:
    parts = [(isinstance(part, FigurePart), part.name) for section in SECTIONS for part in section.parts]
    assert len(parts) == len(set(parts)) == len(TABLES) + len(FIGURES)
    shown = [
        f'id="{"figure" if is_figure else "table"}-{name}"'
        for is_figure, name in parts
        if (name in figures if is_figure else name != "claims")
    ]
    places = [text.index(part) for part in shown]
    assert places == sorted(places)
    claims = {"claims": TABLES["claims"](results)}
    only = page(results, claims | {"raw": TABLES["raw"](results)}, {})
    assert only.index('<section id="appendix">') < only.index('id="table-raw"') < only.index('id="listening-room"')
    assert 'href="#appendix"' in only
    assert 'href="#embeddings"' not in only  # a section without parts


def test_cells_carry_the_numbers_that_rows_are_sorted_by() -> None:
    numbers = (0.25, 1e-9, math.inf, math.nan, 3)
    rows = [{"Model": text_cell("model", "<i>"), "Score": number_cell("score", number, mark="&")} for number in numbers]
    found = Table.of("scores", rows=rows, caption="Some scores. Made up.").html()
    assert re.findall(r'data-value="(.*?)"', found) == ["0.25", "1e-09", "Infinity", "3"]
    assert found.count("&lt;i&gt;</th>") == found.count("&amp;</td>") == len(numbers)
    assert "<p>Made up.</p>" in found


def test_equal_results_give_equal_pages_of_limited_size(
    text: str, results: Results, tables: dict[str, Table], figures: dict[str, CaptionedFigure]
) -> None:
    assert page(results, tables, figures) == text
    assert len(text.encode()) < MOST


def test_markup_in_names_never_becomes_an_element(browser: Browser, results: Results, tmp_path: Path) -> None:
    experiments = results.experiments.assign(label=[ELEMENT, *results.experiments["label"][1:]], note=SCRIPT)
    licence = {"name": SCRIPT, "note": ELEMENT}
    hostile = dataclasses.replace(
        results,
        about=results.about | {"corpus": SCRIPT, "command": f"etude run --corpus '{SCRIPT}'"},
        card=results.card | {"name": SCRIPT, "title": ELEMENT, "citation": SCRIPT, "licence": licence},
        experiments=experiments.assign(colour=[ELEMENT, *results.experiments["colour"][1:]]),
    )
    path = tmp_path / "index.html"
    some = {name: TABLES[name](hostile) for name in ("claims", "main", "cost")}
    path.write_text(page(hostile, some, {}), encoding="utf-8")
    asked: list[str] = []
    with opened(browser, path.as_uri()) as found:
        found.page.on("dialog", lambda dialog: asked.append(dialog.message))
        assert found.page.locator("script").count() == 1
        assert found.page.locator("#injected, img[src=x]").count() == 0
        assert SCRIPT in found.page.locator("h1").inner_text()
        assert ELEMENT in found.page.locator("#shelves").inner_text()
        assert found.requests == [path.as_uri()]
        assert found.complaints == []
    assert asked == []


def test_the_page_runs_and_fetches_nothing_from_elsewhere(watched: Watched) -> None:
    watched.page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.intruded = true";
        document.body.append(script);
        const image = document.createElement("img");
        image.src = "http://127.0.0.1:9/x.png";
        document.body.append(image);
    }""")
    watched.page.wait_for_timeout(100)
    assert watched.page.evaluate("window.intruded") is None
    assert all("Content Security Policy" in complaint for complaint in watched.complaints)
    assert len(watched.complaints) == 2
    watched.complaints.clear()
    watched.requests.pop()  # it was asked for, and refused


@pytest.mark.parametrize("by", ["mouse", "Enter", "Space"])
def test_a_table_is_sorted_by_the_numbers_behind_its_cells(watched: Watched, by: str) -> None:
    table = watched.page.locator("#table-main table")
    head = table.locator("thead th").nth(3)
    given = column(table, 3)
    for order, expected in (
        ("ascending", sorted(given, key=value)),
        ("descending", sorted(given, key=value, reverse=True)),
        (None, given),
    ):
        press(watched.page, head.get_by_role("button"), by=by)
        assert head.get_attribute("aria-sort") == order
        assert column(table, 3) == expected
    assert [value(text) for text in given] != sorted(value(text) for text in given)


def value(text: str) -> float:
    return float(text.partition(" ")[0].rstrip("\N{DAGGER}"))


def test_sorting_by_words_and_by_missing_numbers(watched: Watched) -> None:
    table = watched.page.locator("#table-main table")
    heads = table.locator("thead th")
    heads.nth(0).get_by_role("button").click()
    names = column(table, 0)
    assert names[0] == "Autoregressive"
    last = heads.count() - 1
    for _ in range(2):
        heads.nth(last).get_by_role("button").click()
        shown = column(table, last)
        known = [text != "-" for text in shown]
        assert known == sorted(known, reverse=True)
    assert shown[0] == "= \N{INFINITY}"
    assert table.locator("th[aria-sort]").count() == 1


@pytest.mark.parametrize("by", ["mouse", "Enter", "Space"])
def test_a_roll_plays_until_it_is_stopped(watched: Watched, by: str) -> None:
    page = watched.page
    page.evaluate("""() => {
        window.begun = 0;
        const start = OscillatorNode.prototype.start;
        OscillatorNode.prototype.start = function (...time) { window.begun += 1; return start.apply(this, time); };
    }""")
    first, second = (page.locator("#shelves .roll").nth(number) for number in (0, 1))
    sounding = first.locator(".sounding")
    press(page, first, by=by)
    expect(sounding).to_have_attribute("d", re.compile("M"))
    before = sounding.get_attribute("d")
    assert before
    assert before in str(first.locator(".notes").get_attribute("d"))
    assert page.locator(".playing").inner_text() == "Playing Test split, window 0"
    expect(sounding).not_to_have_attribute("d", before)
    assert page.evaluate("window.begun") > 8  # two of them to a note
    press(page, second, by=by)  # one at a time
    assert page.locator(PLAYING).count() == 1
    assert second.get_attribute("aria-pressed") == "true"
    assert sounding.get_attribute("d") == ""
    if by == "mouse":
        page.get_by_role("button", name="Stop").click()
    elif by == "Enter":
        page.keyboard.press("Escape")
    else:
        page.keyboard.press("Space")
    assert page.locator(PLAYING).count() == 0
    assert page.locator(".playing").inner_text() == ""


def test_a_piece_ends_by_itself(watched: Watched) -> None:
    watched.page.evaluate("""() => {
        const notes = document.querySelector("#shelves .notes");
        notes.setAttribute("d", notes.getAttribute("d").split("M").slice(0, 2).join("M"));
    }""")
    watched.page.locator("#shelves .roll").first.click()
    watched.page.wait_for_selector(PLAYING)
    watched.page.wait_for_selector(PLAYING, state="detached")


@pytest.mark.parametrize("by", ["mouse", "Enter"])
def test_the_blind_test_hides_the_models_and_counts_guesses(watched: Watched, results: Results, by: str) -> None:
    page = watched.page
    names = [*results.experiments["label"], "Test split"]
    press(page, page.locator("#blind"), by=by)
    questions = page.locator("#dealt li")
    assert questions.count() == 12  # six real pieces and as many generated ones
    room = page.locator("#listening-room")
    assert not [name for name in names if name in room.inner_text()]
    labels = [roll.get_attribute("aria-label") for roll in room.locator("#dealt .roll").all()]
    assert labels == [f"Play piece {number}" for number in range(1, 13)]
    assert page.locator("#dealt [stroke]").count() == 0
    press(page, page.locator("#dealt .roll").first, by=by)
    assert page.locator(".playing").inner_text() == "Playing piece 1"
    answers = []
    for number in range(12):
        guess = page.locator("#dealt .answer button[value=real]").first
        press(page, guess, by=by)
        answers.append(questions.nth(number).locator("p").inner_text())
        assert page.evaluate("document.activeElement.textContent") == answers[-1]
        right = sum(text.startswith("Right") for text in answers)
        assert page.locator("#score").inner_text().startswith(f"{right} of {number + 1} right")
    assert sorted(answers)[:6] == [f"Right: Test split, window {number}" for number in range(6)]
    assert {re.sub(r"^Wrong: |, sample \d$", "", text) for text in answers if text.startswith("Wrong")} < set(names)
    assert not [text for text in answers if "(control)" in text]
    # 2510 of 4096 ways for a coin to be right six times of twelve or more
    assert page.locator("#score").inner_text().endswith("as well or better 61 % of the time.")
    press(page, page.locator("#blind"), by=by)
    assert page.locator("#shelves").is_visible()
    assert questions.count() == 0
    assert page.locator(PLAYING).count() == 0


@pytest.mark.parametrize(("width", "dark"), [(PHONE, False), (DESK, True)])
def test_the_page_fits_and_is_accessible(browser: Browser, address: str, width: int, *, dark: bool) -> None:
    with opened(browser, address, width=width, dark=dark) as found:
        assert overflow(found.page) == 0
        assert violations(found.page) == []
        found.page.locator("#blind").click()
        found.page.locator("#dealt .answer button").first.click()
        found.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert overflow(found.page) == 0
        assert violations(found.page) == []


def test_printing_shows_folded_content_and_hides_buttons(watched: Watched) -> None:
    watched.page.emulate_media(media="print")
    watched.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert watched.page.locator("details:not([open])").count() == 0
    for hidden in ("nav", ".blind", ".transport"):
        assert not watched.page.locator(hidden).is_visible()
    assert watched.page.locator("#shelves .roll").first.is_visible()

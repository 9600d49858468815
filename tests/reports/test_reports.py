from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from eval.statistics.intervals import Interval
from reports.format.figure import separate
from reports.format.queries import features
from reports.format.table import (
    DAGGER,
    Table,
    interval_cell,
    latex,
    markdown,
    number,
    p_cell,
    plus_minus_cell,
    text_cell,
    thousands,
)
from reports.page.render import render
from reports.sections.contents import FIGURES, SECTIONS, TABLES
from tests.support.synthetic_results import synthetic_results

if TYPE_CHECKING:
    from pathlib import Path

    from eval.results.frames import Results
    from reports.format.figure import CaptionedFigure

FEW = ("e2e-small", "gaussian", "onsets-shuffled", "pretrained", "pretrained-ar", "unigram")
MANY = ("pretrained", "pretrained-ar", "unigram")
OWN_SIZES = ("audit", "audit_correlations", "tuning_grid")  # measured on other windows than the comparison
ODD = "<b> 50 % of a_b & $c|d$"


def rows_of(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


@pytest.mark.parametrize("name", TABLES)
def test_tables_render_in_every_format(tables: dict[str, Table], name: str) -> None:
    table = tables[name]
    assert table.name == name
    lines = [line for line in table.markdown().splitlines() if line.startswith("|")]
    assert len(lines) == len(table.frame) + 2
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert table.latex().count(r"\\") == len(table.frame) + 1
    for command in (r"\toprule", r"\bottomrule", rf"\label{{tab:{name}}}", r"\caption{"):
        assert command in table.latex()
    assert len(rows_of(table)) == len(table.frame)
    assert "Scale cpu, corpus bach" in table.caption
    for fact in ("3 seeds", "40 samples", "80 test windows from 37 songs", "66 tokens per window"):
        assert (fact in table.caption) is (name not in OWN_SIZES)


def test_the_main_table_starts_at_the_floor_and_follows_the_order_of_experiments(results: Results) -> None:
    table = TABLES["main"](results)
    assert list(table.frame["Model"]) == ["Test split (floor)", *results.experiments["label"]]
    assert rows_of(table)[0]["distance"] == "1.0"
    by_model = {row["model"]: row for row in rows_of(table)}
    e2e = results.trials[results.trials["experiment"] == "e2e"]
    assert float(by_model["Diffusion-LM, end-to-end"]["nll"]) == pytest.approx(e2e["nll"].mean(), rel=1e-12)
    assert by_model["Diffusion-LM, end-to-end"]["seeds"] == "3"
    assert list(table.frame["NLL (nats/token)"].str[0]) == [
        "-",
        *5 * "\N{LESS-THAN OR EQUAL TO}",
        *"==\N{LESS-THAN OR EQUAL TO}--=-",
    ]


def test_infinite_likelihoods_are_shown_and_explained(results: Results, figures: dict[str, CaptionedFigure]) -> None:
    table = TABLES["main"](results)
    assert table.frame.set_index("Model").loc["Replay (control)", "NLL (nats/token)"] == "= \N{INFINITY}"
    assert r"= $\infty$" in table.latex()
    assert {row["model"]: row["nll"] for row in rows_of(table)}["Replay (control)"] == "inf"
    assert "Replay (control): infinite" in table.markdown()
    assert "Not finite, so not shown: Replay (control)." in figures["nll_bars"].caption


def test_captions_say_where_models_have_different_numbers_of_seeds(results: Results) -> None:
    trials = results.trials
    fewer = dataclasses.replace(results, trials=trials[(trials["experiment"] != "gaussian") | (trials["seed"] != 1)])
    assert "2 to 3 seeds" in TABLES["main"](fewer).caption


def test_special_characters_are_escaped() -> None:
    assert latex(ODD) == r"\textless{}b\textgreater{} 50 \% of a\_b \& \$c\textbar{}d\$"
    assert latex("\\{}~^#") == r"\textbackslash{}\{\}\textasciitilde{}\textasciicircum{}\#"
    assert markdown(ODD) == r"&lt;b&gt; 50 % of a\_b &amp; \$c\|d\$"
    some = synthetic_results(seeds=1, samples=16, without=MANY)
    experiments = some.experiments.assign(label=[ODD, *some.experiments["label"][1:]], note=ODD)
    odd = dataclasses.replace(some, experiments=experiments)
    for build in TABLES.values():
        table = build(odd)
        assert "<b>" not in table.markdown()
        assert "a_b" not in table.latex()
    for draw in FIGURES.values():
        assert draw(odd).caption


def test_numbers_are_formatted_for_readers() -> None:
    assert number(-0.001) == "0.00"
    assert number(-1.5, 1) == "\N{MINUS SIGN}1.5"
    assert number(math.nan) == "-"
    assert number(-math.inf) == "\N{MINUS SIGN}\N{INFINITY}"
    assert number(0.25, sign="+") == "+0.25"
    assert [thousands(value) for value in (142, 1234, 1_234_567, 2e9, math.nan)] == [
        "142",
        "1.23 k",
        "1.23 M",
        "2 G",
        "-",
    ]
    assert interval_cell("x", Interval(1.5, 1, 2)) == ("1.50 [1.00, 2.00]", {"x": 1.5, "x_low": 1, "x_high": 2})
    assert interval_cell("x", Interval(1.5, math.nan, math.nan), mark=DAGGER).text == f"1.50{DAGGER}"
    assert interval_cell("x", Interval(math.nan, math.nan, math.nan)).text == "-"
    assert plus_minus_cell("x", Interval(1.5, 1, 2)).text == "1.50 \N{PLUS-MINUS SIGN} 0.50"
    assert plus_minus_cell("x", Interval(1.5, math.nan, math.nan)).text == "1.50"
    assert plus_minus_cell("x", Interval(math.inf, math.nan, math.nan)).text == "\N{INFINITY}"
    assert text_cell("x").text == "-"
    assert [p_cell("p", p).text for p in (0.25, 0.00004, math.nan)] == ["0.250", "< 0.001", "-"]
    assert plus_minus_cell("x", Interval(1.5, 1, 2), mark=DAGGER).text == f"1.50{DAGGER} \N{PLUS-MINUS SIGN} 0.50"


@pytest.mark.parametrize("name", FIGURES)
def test_captions_state_the_scale_and_the_sample_sizes(figures: dict[str, CaptionedFigure], name: str) -> None:
    assert "Scale cpu, corpus bach" in figures[name].caption
    assert (": 3 seeds per model, 40 samples per seed" in figures[name].caption) is (name not in OWN_SIZES)


def test_figures_have_the_expected_panels(results: Results, figures: dict[str, CaptionedFigure]) -> None:
    panels = {name: captioned.figure.axes for name, captioned in figures.items()}
    assert len([axes for axes in panels["metric_distributions"] if axes.get_title(loc="left")]) == len(
        features(results)
    )
    assert len(panels["piano_rolls"]) == 5 * 7
    texts = [[text.get_text() for text in axes.texts] for axes in panels["piano_rolls"]]
    assert [index for index, text in enumerate(texts) if text == ["no notes"]] == [5 * 2 + 2]
    assert len(panels["denoising"]) == 6 * 5 + 4
    assert [len(panels[name]) for name in ("form", "pareto", "frontier")] == [1, 2, 1]
    assert sum(axes.axison for axes in panels["copies"]) == 6
    assert len(panels["nearest_pairs"]) == 2 * 4
    assert len(panels["training_curves"]) == 2


@pytest.mark.parametrize(
    "options", [{"seeds": 1, "without": MANY}, {"seeds": 2, "without": ("e2e", "autoregressive", *MANY)}]
)
def test_results_with_fewer_seeds_and_models_are_rendered(options: dict[str, Any]) -> None:
    some = synthetic_results(**options, samples=16)
    for build in TABLES.values():
        assert build(some).markdown() + build(some).latex() + build(some).csv()
    for draw in FIGURES.values():
        assert draw(some).caption


def test_a_single_seed_has_no_interval() -> None:
    table = TABLES["main"](synthetic_results(seeds=1))
    assert re.fullmatch(r"\d+\.\d", table.frame.iloc[1, 2])
    assert re.fullmatch(r"\d\.\d\d", table.frame.iloc[1, 3])
    assert "1 seed per model" in table.caption


def test_numbers_next_to_bars_stay_inside_the_axes_for_wide_intervals() -> None:
    some = synthetic_results(seeds=2, samples=16)
    apart_by = 12 * some.trials["seed"]  # so that intervals reach far beyond the frame
    wide = dataclasses.replace(some, trials=some.trials.assign(nll=some.trials["nll"] + apart_by))
    for results in (some, wide):
        axes = FIGURES["nll_bars"](results).figure.axes[0]
        assert len(axes.texts) == np.isfinite(results.trials.groupby("experiment")["nll"].mean()).sum()
        for text in axes.texts:
            box, frame = text.get_window_extent(), axes.get_window_extent()
            assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert all(bar.get_extents().x1 < text.get_window_extent().x0 for bar in axes.patches)


def test_missing_pieces_leave_dashes_and_empty_figures(results: Results) -> None:
    only = results.experiments[results.experiments["name"] == "e2e"]
    bare = dataclasses.replace(
        results,
        experiments=only,
        trials=results.trials[results.trials["experiment"] == "e2e"].assign(nll=math.nan),
        scores=results.scores.iloc[:0],
        distances=results.distances.iloc[:0],
        measures=results.measures.iloc[:0],
        raw=results.raw.iloc[:0],
        pairs=results.pairs.iloc[:0],
        grid=results.grid.iloc[:0],
        audits=results.audits.iloc[:0],
        jackknife=results.jackknife.iloc[:0],
        curves=results.curves.iloc[:0].astype(object),
        notes=results.notes.iloc[:0],
        form=results.form.iloc[:0],
        embeddings=pd.DataFrame(columns=["experiment", "seed", "pitch"]),
        trajectory=results.trajectory.iloc[:0],
        trajectory_notes=results.trajectory_notes.iloc[:0],
    )
    assert set(TABLES["main"](bare).frame.iloc[1, 3:]) == {"-"}
    for build in TABLES.values():
        assert build(bare).markdown() + build(bare).latex() + build(bare).csv()
    for draw in FIGURES.values():
        assert draw(bare).caption


def test_labels_are_separated_no_more_than_needed() -> None:
    assert separate([0.1, 0.5], gap=0.1) == pytest.approx([0.1, 0.5])
    assert separate([0.5, 0.5, 0.5], gap=0.1) == pytest.approx([0.4, 0.5, 0.6])
    moved = separate([0.1, 0.11, 0.12, 0.8], gap=0.1)
    assert np.diff(moved).min() >= 0.1 - 1e-9


def test_a_report_is_byte_identical_when_written_twice(tmp_path: Path) -> None:
    first, second = (
        render(synthetic_results(seeds=1, samples=16, without=FEW), tmp_path / name) for name in ("a", "b")
    )
    assert first[0] == tmp_path / "a" / "index.html"
    assert {path.relative_to(tmp_path / "a") for path in first} == {
        path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()
    }
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one
    page = (tmp_path / "a" / "report.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\((\S+)\)", page):
        assert (tmp_path / "a" / link).is_file()
    for name in FIGURES:
        assert f"(figures/{name}.svg)" in page
    for name in TABLES:
        assert f"**Table: {name.replace('_', ' ')}.**" in page
    assert "etude run --scale cpu" in page
    headings = [f"\n## {section.title}\n" for section in SECTIONS]
    figures, names = [f"(figures/{name}.svg)" for name in FIGURES], [name.replace("_", " ") for name in TABLES]
    for parts in (headings, figures, [f"**Table: {name}.**" for name in names]):
        places = [page.index(part) for part in parts]
        assert places == sorted(places)
    assert page.index("**Table: claims.**") < page.index("(figures/floor_forest.svg)") < page.index("**Table: main.**")
    assert page.index("\n## Appendix: what other papers report\n") < page.index("**Table: raw.**")


def test_the_main_figure_is_drawn_for_models_that_play_nothing() -> None:
    results = synthetic_results(seeds=1, without=MANY)
    mute = dataclasses.replace(
        results,
        measures=results.measures.assign(ratio=math.nan),
        encodings=results.encodings.assign(floor_p95=math.nan),
    )
    assert "Distance to real music" in FIGURES["floor_forest"](mute).caption

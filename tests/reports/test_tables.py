from __future__ import annotations

import csv
import dataclasses
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from eval.claims.claims import CLAIMS
from eval.claims.judgement import verdicts_on
from eval.metrics.table import METRICS
from eval.scoring.measures import MEASURES
from replication.midi.piece import Seconds
from reports.format.queries import controls, features, indistinguishable, measure_rows, metrics_of, models
from reports.format.table import DAGGER, Table
from reports.page.terminal import show
from reports.sections.contents import FIGURES, TABLES
from tests.support.synthetic_results import synthetic_results

if TYPE_CHECKING:
    from eval.results.frames import Results
    from reports.format.figure import CaptionedFigure


def rows_of(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


def test_every_claim_is_shown_with_its_verdict_and_reasons(results: Results, tables: dict[str, Table]) -> None:
    rows = rows_of(tables["claims"])
    assert [row["claim"] for row in rows] == [claim.name for claim in CLAIMS]
    notes = " ".join(tables["claims"].notes)
    for row, verdict in zip(rows, verdicts_on(results), strict=True):
        assert (row["verdict"], row["standing"]) == (verdict.verdict.value, "exploratory")
        assert f"{verdict.name}: {verdict.sentence}" in notes
        if verdict.evidence:
            assert float(row["difference"]) == pytest.approx(verdict.evidence.contrast.difference)


def test_secondary_measures_are_shown_and_no_bound_is_ranked_against_an_exact_value(
    results: Results, tables: dict[str, Table]
) -> None:
    table = tables["secondary"]
    judged = {verdict.name: len(verdict.evidence.secondary) for verdict in verdicts_on(results) if verdict.evidence}
    assert table.frame["Claim"].value_counts().to_dict() == {name: count for name, count in judged.items() if count}
    assert {"C1", "C2", "C4"} <= set(table.frame["Claim"])
    bounds = table.frame[table.frame["Measure"].str.contains("bound")]
    assert set(bounds["Claim"]) == {"C1", "C2"}
    means = results.trials.groupby("experiment")["nll"].mean()
    first = next(row for row in rows_of(table) if "bound" in row["measure"])
    assert float(first["difference"]) == pytest.approx(means["e2e"] - means["gaussian"])


def test_verdicts_under_other_choices_are_shown(results: Results, tables: dict[str, Table]) -> None:
    frame = tables["robustness"].frame
    of_c1 = set(frame[frame["Claim"] == "C1"]["Choice"])
    assert of_c1 == {
        *("a margin of 0.25 floors", "a margin of 1 floors", "the second sampler", "the mean Wasserstein distance"),
        *("any one of 8 song families left out", "the likelihood bound", "the plain likelihood bound"),
    }
    assert "the likelihood bound" not in set(frame[frame["Claim"] == "C4"]["Choice"])
    assert set(frame["Sign"]) <= {"same", "changes"}
    for verdict in verdicts_on(results):
        own = frame[(frame["Claim"] == verdict.name) & (frame["Sign"] == "changes")]
        assert ("the sign changes with" in verdict.sentence) == bool(len(own))


def test_the_endpoint_is_shown_by_family_with_what_it_cannot_hear(results: Results, tables: dict[str, Table]) -> None:
    table = tables["endpoint"]
    assert list(table.frame.columns[2:]) == ["Pitch", "Rhythm", "Harmony", "Melody", "Texture"]
    assert table.frame["Model"].tolist() == list(results.experiments["label"])
    assert "Here it hears every control." in table.caption
    (note,) = table.notes
    assert note.startswith("Distances depend most on song family ")
    assert "Diffusion-LM, end-to-end" in note


def test_a_dagger_marks_what_is_inside_the_floor(tables: dict[str, Table]) -> None:
    frame = tables["main"].frame.set_index("Model")
    for column in ("Distance (floors) \N{RIGHTWARDS ARROW} 1", "JSD of chord bigrams \N{RIGHTWARDS ARROW} 0"):
        marked = set(frame.index[frame[column].str.contains(DAGGER)])
        assert marked == {"Autoregressive", "Test copy (control)", "Replay (control)"}
    assert r"$\dagger$" in tables["main"].latex()


@pytest.mark.parametrize(
    ("measure", "value", "p95", "p", "expected"),
    [
        ("distance", 1.2, 1.3, math.nan, True),
        ("distance", 1.4, 1.3, math.nan, False),
        ("wasserstein", 0.09, 0.1, math.nan, True),
        ("wasserstein", 0.11, 0.1, math.nan, False),
        ("classifier_auc", 0.52, 0.55, math.nan, True),
        ("classifier_auc", 0.46, 0.55, math.nan, True),
        ("classifier_auc", 0.40, 0.55, math.nan, False),  # near copies are as telling as noise
        ("classifier_auc", 0.52, 0.47, math.nan, False),  # above 95 % of floors, though the floors are as far below
        ("mmd", 0.09, 0.1, 0.2, True),
        ("mmd", 0.09, 0.1, 0.05, False),  # the test tells them apart
        ("bar_similarity", 0.0, 0.1, math.nan, True),
        ("recall", 1.0, 0.9, math.nan, False),
        ("copy_8", 0.0, math.nan, math.nan, False),
        ("frechet", math.nan, 0.1, math.nan, False),
    ],
)
def test_indistinguishable_needs_the_floor_and_no_significant_test(
    measure: str, value: float, p95: float, p: float, *, expected: bool
) -> None:
    assert indistinguishable(measure, pd.DataFrame({"value": [value], "floor_p95": [p95], "p": [p]})) is expected


def test_controls_and_the_floor_are_shown_in_every_measure(results: Results, tables: dict[str, Table]) -> None:
    table = tables["controls"]
    assert list(table.frame["Control"]) == ["Test split (floor)", *controls(results).values()]
    assert table.frame.shape[1] - 1 == len(MEASURES)
    rows = {row["control"]: row for row in rows_of(table)}
    found = measure_rows(results, "onsets-shuffled", "chords")
    assert float(rows["Onsets shuffled (control)"]["chords"]) == pytest.approx(found["ratio"].mean())
    seen = tables["metrics_of_controls"]
    assert list(seen.frame.columns[1:]) == list(controls(results).values())


def test_copies_are_shown_as_a_multiple_of_those_of_real_music(results: Results, tables: dict[str, Table]) -> None:
    rows = rows_of(tables["memorisation"])
    assert len(rows) == 1 + len(results.experiments)
    found = measure_rows(results, "e2e", "copy_12")
    assert float(rows[1]["copy_12_ratio"]) == pytest.approx((found["value"] / found["floor"]).mean())


def test_muspys_own_numbers_are_shown_next_to_the_corrected_ones(results: Results, tables: dict[str, Table]) -> None:
    rows = rows_of(tables["raw"])
    real = results.scores[results.scores["experiment"] == "test"]
    assert float(rows[0]["polyphony_rate"]) == 0.5
    assert float(rows[0]["polyphony_rate_corrected"]) == pytest.approx(real["polyphony_rate_ge2"].mean())


def test_measures_that_are_not_rows_of_the_table_of_measures_are_ignored() -> None:
    some = synthetic_results(seeds=1, samples=16, without=("pretrained", "pretrained-ar", "e2e-small"))
    other = some.measures[some.measures["measure"] == "frechet"].assign(measure="of-other-papers", n=7)
    more = dataclasses.replace(some, measures=pd.concat([some.measures, other]))
    for name in ("panel", "controls"):
        assert TABLES[name](more).markdown() == TABLES[name](some).markdown()


def test_the_share_of_undefined_values_is_compared_with_that_of_real_music(results: Results) -> None:
    music = results.scores["experiment"] == "test"
    values = results.scores[features(results)[0]].mask(music & (results.scores["sample"] < 20))
    scores = results.scores.assign(**{features(results)[0]: values})
    some = dataclasses.replace(results, scores=scores)
    assert float(rows_of(TABLES["controls"](some))[0]["nan_rate"]) == 20 / 80
    assert float(rows_of(TABLES["panel"](some))[0]["undefined_percent"]) == 25
    assert "Undefined" not in TABLES["main"](some).frame.columns


def test_the_number_of_every_model_and_age_is_shown_next_to_the_published_ones(tables: dict[str, Table]) -> None:
    rows = rows_of(tables["audit"])
    ours = [row for row in rows if row["seeds"]]
    assert [(row["model"], row["age"]) for row in ours[:3]] == [
        ("Diffusion-LM, end-to-end", age) for age in ("500", "1000", "2500")
    ]
    assert {row["model"] for row in ours if row["model"].endswith("(control)")} == {"Embeddings only (control)"}
    published = [row for row in rows if row["model"].startswith("Published")]
    assert [float(row["bits_per_word"]) for row in published] == [3e-5, 4e-5, 7e-5, 2e-4, 3e-4]
    assert not any(row["distance"] for row in published)


def test_positive_controls_are_in_the_table_of_the_number(tables: dict[str, Table]) -> None:
    rows = {row["number"]: row for row in rows_of(tables["audit_correlations"])}
    assert list(rows) == [
        "Bits per word",
        "Positive control: likelihood bound",
        "Positive control: teacher's gap",
    ]
    assert float(rows["Positive control: likelihood bound"]["rho_low"]) > 0
    assert {(row["models"], row["arms"]) for row in rows.values()} == {("15", "5")}


def test_one_point_of_the_grid_is_chosen_for_each_arm(tables: dict[str, Table]) -> None:
    frame = tables["tuning_grid"].frame
    assert (frame[frame["Chosen"] == "yes"].groupby(["Model", "Seed"]).size() == 1).all()
    assert "375 steps" in tables["tuning_grid"].caption
    assert "repeated with every seed" in tables["tuning_grid"].caption


def test_a_search_with_one_seed_for_all_is_named(results: Results) -> None:
    once = dataclasses.replace(results, grid=results.grid[results.grid["seed"] == 0])
    assert "One search, with seed 0, chose the point" in TABLES["tuning_grid"](once).caption


def test_points_of_the_grid_that_failed_have_no_numbers(results: Results) -> None:
    for missing in (None, math.nan):
        grid = results.grid.astype(object).where(results.grid["distance"].notna(), missing)
        grid = grid.assign(**{name: results.grid[name] for name in ("arm", "seed", "dimension", "scale", "chosen")})
        frame = TABLES["tuning_grid"](dataclasses.replace(results, grid=grid)).frame
        assert (frame.groupby("Model")["Distance (floors)"].last() == "-").all()


def test_captions_say_how_arms_were_tuned_if_they_were(results: Results, tables: dict[str, Table]) -> None:
    assert "Diffusion-LM, skip-gram: d 32, scale 0.5" in tables["main"].caption
    points = {"e2e": {"0": "d 16, scale 1", "1": "d 16, scale 0.5", "2": "d 16, scale 1"}}
    varied = TABLES["main"](dataclasses.replace(results, about=results.about | {"tuned": points}))
    assert "Diffusion-LM, end-to-end: d 16, scale 1 (2 seeds) or d 16, scale 0.5 (1 seed)." in varied.caption
    untuned = dataclasses.replace(results, about=results.about | {"tuned": {}})
    assert "Tuned embeddings" not in TABLES["main"](untuned).caption


@pytest.mark.parametrize("name", ["main", "controls", "metrics_of_controls", "memorisation", "raw"])
def test_notes_name_the_controls_that_leave_windows_unchanged(tables: dict[str, Table], name: str) -> None:
    notes = [note for note in tables[name].notes if "are changed" in note]
    assert notes == [
        "Test copy (control): 0.0 % of its windows are changed.",
        "Onsets shuffled (control): 33.7 % of its windows are changed.",
        "Pitches permuted (control): 99.0 % of its windows are changed.",
    ]


def test_metrics_that_the_grid_does_not_allow_are_left_out_with_the_reason() -> None:
    played = synthetic_results(
        seeds=2, samples=16, without=("pretrained", "pretrained-ar", "unigram"), grid=Seconds(steps_per_second=8.0)
    )
    for build in TABLES.values():
        assert build(played).markdown() + build(played).latex() + build(played).csv()
    assert "groove_consistency_difference" not in TABLES["main"](played).csv()
    notes = " ".join(TABLES["metrics"](played).notes)
    assert "Groove consistency (16 slots): not measured, since" in notes
    assert "Bar-similarity error" not in " ".join(TABLES["main"](played).frame.columns)
    panels = FIGURES["metric_distributions"](played).figure.axes
    assert len([axes for axes in panels if axes.get_title(loc="left")]) == len(features(played))


def test_the_terminal_shows_models_and_verdicts_in_80_columns(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    show(results, Path("out"))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for label in models(results).values():
        assert label in shown
    words = " ".join(shown.split())
    for verdict in verdicts_on(results):
        assert verdict.statement in words
        assert verdict.sentence in words
    assert shown.splitlines()[-1] == f"Report:  {Path('out') / 'index.html'}"


def test_the_table_of_metrics_counts_what_is_undefined(results: Results, tables: dict[str, Table]) -> None:
    table = tables["metrics"]
    assert list(table.frame["Metric"]) == [METRICS[name].label for name in metrics_of(results)]
    cells = table.frame.set_index("Metric")["Diffusion-LM, Gaussian"]
    assert cells["Pitch entropy"].endswith("NaN 7.5 %")
    assert "NaN" not in cells["Pitches used"]
    found = results.distances[
        (results.distances["experiment"] == "gaussian") & (results.distances["metric"] == "notes")
    ]
    row = next(row for row in rows_of(table) if row["metric"] == METRICS["notes"].label)
    assert float(row["gaussian/cliff"]) == pytest.approx(found["cliff"].mean())
    assert "\N{INFINITY}" in cells["Empty-beat rate"]  # a floor of 0


def test_every_caption_that_shows_a_bound_names_its_estimator(
    tables: dict[str, Table], figures: dict[str, CaptionedFigure]
) -> None:
    captions = [tables[name].caption for name in ("main", "likelihood", "tuning_grid")] + [figures["nll_bars"].caption]
    for caption in captions:
        assert "estimator" in caption
        assert "validation split" in caption
    assert "ln V = 4.96 over V = 142 words, of which the test split uses 71." in tables["main"].caption


def test_the_terms_of_a_bound_are_shown_with_their_references(results: Results, tables: dict[str, Table]) -> None:
    table = tables["likelihood"]
    assert list(table.frame["Model"][-2:]) == ["Uniform (ln V)", "Unigram entropy"]
    assert (
        list(table.frame["Kind"]) == ["upper bound"] * 5 + ["exact"] * 2 + ["upper bound", "exact"] + ["reference"] * 2
    )
    assert float(rows_of(table)[-2]["nll"]) == math.log(142)
    shown = table.frame.set_index("Model")
    assert shown.loc["Diffusion-LM, end-to-end", "Plain"].startswith("\N{LESS-THAN OR EQUAL TO} 5.7")
    assert shown.loc["Diffusion-LM, end-to-end", "Estimator"] == (
        "power 2, variance 1 (2 seeds); power 4, variance 1 (1 seed)"
    )
    assert list(shown.loc["Autoregressive", ["Plain", "Estimator"]]) == ["-", "-"]
    assert float(next(iter(rows_of(table)))["nll_plain"]) > float(next(iter(rows_of(table)))["nll"])
    assert "Check with all timesteps on 2 windows: Diffusion-LM, end-to-end 2.310, sampled timesteps" in table.notes[-1]
    exact = dataclasses.replace(results, trials=results.trials.assign(nll_every=math.nan))
    assert "Check" not in " ".join(TABLES["likelihood"](exact).notes)

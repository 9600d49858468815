"""The comparison of samplers, and its table and figure in the report."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from etude.runner.sampler_study import study
from eval.results.sampler_study import (
    COLUMNS,
    EVALUATIONS,
    REFERENCE,
    SAMPLERS,
    sampler_of,
    sampler_paths,
    sampler_rows,
)
from eval.results.trial_rows import evaluations
from replication.util.errors import UserError
from replication.util.files import describe, read_json, sha256, write_json
from reports.format.table import DAGGER
from reports.page.html import page
from reports.page.render import markdown_page
from reports.sections.compute import FEW, samplers_figure, samplers_table
from reports.sections.contents import SECTIONS, build_tables
from tests.support.small_trials import planned, run_here, windows
from tests.support.synthetic_results import synthetic_results

if TYPE_CHECKING:
    from pathlib import Path


def test_every_sampler_evaluates_the_network_as_often_as_stated() -> None:
    assert len({row.name for row in SAMPLERS}) == len({row.label for row in SAMPLERS}) == len(SAMPLERS)
    for row in SAMPLERS:
        for n in EVALUATIONS:
            sampler = sampler_of(row.name, n)
            assert sampler.evaluations == n
            assert evaluations(json.loads(json.dumps(describe(sampler)))) == n


def test_the_study_computes_missing_results_and_does_not_change_the_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path, "e2e", steps=10)
    with pytest.raises(UserError, match="has no finished trial of e2e"):
        study(plan, workers=1)
    run_here(plan)
    (trial,) = plan.trials
    assert sampler_rows(trial.folder) is None
    before = {path: sha256(path) for path in trial.folder.rglob("*") if path.is_file()}
    weights, data = sha256(trial.weights), windows(trial, tmp_path).digest
    paths = sampler_paths(trial.folder, weights, data, trial.scale.timesteps, trial.scale.samples)
    assert (REFERENCE, trial.scale.timesteps) in paths
    missing = (("ddim", 10), ("renoised-mbr", 10))
    for (row, n), path in paths.items():
        if (row, n) not in missing:
            write_json(path, dict.fromkeys(COLUMNS, 1.0) | {"sampler": row, "evaluations": n})
    study(plan, workers=2)
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.partition("] ")[2].partition(":")[0] for line in lines) == [
        f"e2e seed 0, {row} at {n}" for row, n in missing
    ]
    found = sampler_rows(trial.folder)
    assert found is not None
    assert len(found) == len(paths)
    made = found.set_index(["sampler", "evaluations"]).loc[list(missing)]
    assert (made["distance"] > 0).all()
    assert made["classifier_auc"].between(0, 1).all()
    assert made["validity"].between(0, 1).all()
    study(plan, workers=2)
    assert capsys.readouterr().out == ""
    assert {path: sha256(path) for path in before} == before

    scores = trial.folder / "scores.json"
    write_json(scores, read_json(scores) | {"weights": "0" * 64})  # other weights have no results
    assert sampler_rows(trial.folder) is None


def test_the_table_marks_what_is_as_near_as_the_published_sampler_at_every_timestep() -> None:
    results = synthetic_results()
    table = samplers_table(results)
    assert len(table.frame) == 2 * len(SAMPLERS)
    assert list(table.frame.columns[2:8]) == ["10", "20", "50", "100", "200", "2000"]
    first = table.frame.iloc[0]
    assert DAGGER not in first["10"]  # half a floor off
    assert DAGGER in first["50"]  # a tenth
    assert not table.frame[["100", "200", "2000"]].map(lambda text: DAGGER in text).any(axis=None)
    assert list(table.frame["2000"] == "-") == [row.name != REFERENCE for row in SAMPLERS] * 2
    assert f"{DAGGER}: at most {FEW} evaluations" in table.caption


def test_the_figure_has_a_panel_for_each_arm_and_the_seconds_above() -> None:
    figure = samplers_figure(synthetic_results()).figure
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Diffusion-LM, end-to-end",
        "Diffusion-LM, Gaussian",
    ]
    for axes in figure.axes:
        (above,) = axes.child_axes
        low, high = axes.get_xlim()
        assert above.get_xlim() == pytest.approx((0.12 * low, 0.12 * high))


def test_a_report_without_the_study_says_nothing_of_it() -> None:
    results = synthetic_results(seeds=1, samples=16, without=("pretrained", "pretrained-ar", "unigram"))
    without = dataclasses.replace(results, samplers=results.samplers.iloc[:0])
    parts = [part for section in SECTIONS for part in section.parts if part.name == "samplers"]
    assert [part.present(results) for part in parts] == [True, True]  # a figure and a table
    assert [part.present(without) for part in parts] == [False, False]
    tables = build_tables(without)
    assert "samplers" not in tables
    assert "samplers" not in page(without, tables, {})
    assert "samplers" not in markdown_page(without, tables, {})

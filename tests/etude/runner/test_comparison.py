"""The teacher and the tuning, which come before a comparison, on real trials."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from etude.runner import comparison as preliminaries
from etude.runner import plan as suite
from etude.runner.executors import Process
from eval.results.frames import gather
from eval.results.tuning import grid_rows, tuning_folder
from eval.tracking.logger import Tracker
from replication.corpora.sources import Synthetic
from replication.models.ablations import Diffusion
from replication.training.scales import Point
from replication.util.files import read_json, write_json
from tests.support.small_scales import SMOKE

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.plan import Plan

GRID = (Point(), Point(scale=0.5))


def planned(root: Path, *names: str, count: int = 260) -> Plan:
    """Return a plan at the smoke scale with a grid, on a corpus whose validation split is large enough to judge by."""
    plan = suite.plan(scale="smoke", only=names, seeds=1, root=root)
    corpus = replace(plan.corpus, source=Synthetic(count=count, seed=0))
    budget = replace(SMOKE.budget, steps=40, log_every=10)
    return replace(plan, corpus=corpus, scale=replace(plan.scale, grid=GRID, budget=budget))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    plan = planned(tmp_path_factory.mktemp("tuned"), "gaussian", "e2e-small", "teacher")
    assert preliminaries.compare(plan, suite.prepare(plan), Tracker(plan.root), engine=Process(workers=2)) == []
    return plan


def model_of(plan: Plan, name: str) -> dict[str, object]:
    return dict(read_json(plan.comparison / name / "0" / "trial.json")["config"]["model"])


def moved(plan: Plan, root: Path) -> Plan:
    shutil.copytree(plan.root, root)
    return replace(plan, root=root)


def test_arms_are_tried_at_every_point_and_judged_on_the_validation_split(tuned: Plan) -> None:
    folder = tuning_folder(tuned.comparison)
    assert {path.parent.parent.name for path in folder.glob("*/0/scores.json")} == {
        *("gaussian-d8-s1", "gaussian-d8-s0.5"),
        *("e2e-d8-s1", "e2e-d8-s0.5"),  # which e2e-small follows
    }
    about = read_json(folder / "gaussian-d8-s1" / "0" / "trial.json")
    assert (about["kind"], about["config"]["scale"]["held_out"]) == ("tuning", "validation")
    assert about["config"]["scale"]["budget"]["steps"] == tuned.scale.budget.steps // 4


def test_the_comparison_is_at_the_best_point(tuned: Plan) -> None:
    grid = grid_rows(tuned.comparison)
    for arm, rows in grid.groupby("arm"):
        (best,) = rows[rows["chosen"]].to_dict("records")
        assert best["distance"] == rows["distance"].min()
        model = model_of(tuned, "e2e-small" if arm == "e2e" else str(arm))
        assert model["dimension"] == best["dimension"]
        assert isinstance(model["embedding"], dict)
        assert model["embedding"]["scale"] == best["scale"]
    results = gather(tuned.comparison)
    assert results.grid.equals(grid)
    assert set(results.about["tuned"]) == {"gaussian", "e2e-small"}
    assert results.experiments["name"].tolist() == ["gaussian", "e2e-small"]  # the teacher is no row


def test_the_teacher_judges_what_comes_after_it(tuned: Plan) -> None:
    scores = read_json(tuned.comparison / "gaussian" / "0" / "scores.json")
    assert scores["panel/teacher_ruled_out"] is not None
    tried = tuning_folder(tuned.comparison) / "gaussian-d8-s1" / "0" / "scores.json"
    assert read_json(tried)["panel/teacher_ruled_out"] is None
    assert read_json(tuned.comparison / "teacher" / "1000" / "trial.json")["kind"] == "teacher"


def test_what_was_chosen_stays_when_a_trial_of_the_grid_is_done_later(tuned: Plan, tmp_path: Path) -> None:
    plan = moved(tuned, tmp_path / "copy")
    first = preliminaries.trials(plan, suite.prepare(plan))
    before = preliminaries.settled(plan, first)
    chosen = read_json(plan.comparison / "tuning.json")["gaussian"]
    (other,) = (
        trial
        for trial in first
        if isinstance(model := trial.experiment.model, Diffusion)
        and trial.experiment.name.startswith("gaussian")
        and model.embedding.scale != chosen["scale"]
    )
    path = other.folder / "scores.json"
    write_json(path, read_json(path) | {"eval/floor_ratio": 0.0})
    assert preliminaries.settled(plan, first).experiments == before.experiments


def test_a_point_that_has_no_distance_is_the_worst(tuned: Plan, tmp_path: Path) -> None:
    plan = moved(tuned, tmp_path / "copy")
    (plan.comparison / "tuning.json").unlink()
    first = preliminaries.trials(plan, suite.prepare(plan))
    (base,) = (trial for trial in first if trial.experiment.name == "gaussian-d8-s1")
    path = base.folder / "scores.json"
    write_json(path, read_json(path) | {"eval/floor_ratio": None})
    preliminaries.settled(plan, first)
    assert read_json(plan.comparison / "tuning.json")["gaussian"]["scale"] == 0.5


def test_an_arm_none_of_whose_points_was_done_is_compared_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path, "gaussian")
    first = preliminaries.trials(plan, suite.prepare(plan))
    assert len(first) == len(GRID)
    assert preliminaries.settled(plan, first).experiments == plan.experiments
    assert "gaussian is compared as it is" in capsys.readouterr().out


def test_a_validation_split_that_is_too_small_to_judge_by_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path, "gaussian", count=40)
    assert preliminaries.trials(plan, suite.prepare(plan)) == []
    assert "embeddings are not tuned: the validation split has 2 songs" in capsys.readouterr().out


def test_what_is_not_tuned_has_no_grid(tmp_path: Path) -> None:
    assert preliminaries.tuning(planned(tmp_path, "ngram")).trials == []

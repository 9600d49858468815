"""A comparison on real trials: the teacher and the tuning before it, and the note on other commits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from etude.runner.comparison import at_chosen, choose_points, compare, first_trials, note_commits, tuning
from etude.runner.executors import ProcessExecutor
from etude.runner.plan import make_plan, prepare
from eval.results.frames import gather
from eval.results.tuning import grid_rows, tuning_folder
from eval.tracking.logger import Tracker
from replication.corpora.sources import Synthetic
from replication.training.scales import TuningPoint
from replication.util.files import read_json, write_json
from tests.support.small_scales import SMOKE

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.plan import Plan

GRID = (TuningPoint(), TuningPoint(scale=0.5))


def planned(root: Path, *names: str, count: int = 260) -> Plan:
    """Return a plan at the smoke scale with a grid, on a corpus whose validation split is large enough to judge by."""
    plan = make_plan(scale="smoke", only=names, seeds=1, root=root)
    corpus = replace(plan.corpus, source=Synthetic(count=count, seed=0))
    budget = replace(SMOKE.budget, steps=40, log_every=10)
    return replace(plan, corpus=corpus, scale=replace(plan.scale, tuning_grid=GRID, budget=budget))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    plan = planned(tmp_path_factory.mktemp("tuned"), "gaussian", "e2e-small", "teacher")
    assert compare(plan, prepare(plan), Tracker(plan.root), executor=ProcessExecutor(workers=2)) == []
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
    about = read_json(folder / "gaussian-d8-s0.5" / "0" / "trial.json")
    assert (about["kind"], about["config"]["scale"]["held_out"]) == ("tuning", "validation")
    assert (about["arm"], about["point"], about["tunes"]) == ("gaussian", {"dimension": 1, "scale": 0.5}, "smoke")
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
    assert scores["measures"]["teacher_ruled_out"]["value"] is not None
    tried = tuning_folder(tuned.comparison) / "gaussian-d8-s1" / "0" / "scores.json"
    assert read_json(tried)["measures"]["teacher_ruled_out"]["value"] is None
    assert read_json(tuned.comparison / "teacher" / "1000" / "trial.json")["kind"] == "teacher"


def test_the_chosen_point_stays_when_a_tuning_trial_is_done_later(tuned: Plan, tmp_path: Path) -> None:
    plan = moved(tuned, tmp_path / "copy")
    first = first_trials(plan, prepare(plan))
    before = choose_points(plan, first)
    chosen = read_json(plan.comparison / "tuning.json")["gaussian"]
    arm = [trial for trial in first if trial.experiment.arm == "gaussian"]
    (other,) = (trial for trial in arm if trial.experiment.point != TuningPoint(**chosen))
    path = other.folder / "scores.json"
    rescore(path, 0.0)
    assert choose_points(plan, first).experiments == before.experiments


def test_trials_of_another_commit_are_noted_if_their_source_is_the_same(
    tuned: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = moved(tuned, tmp_path / "copy")
    datasets = prepare(plan)
    trials = [*first_trials(plan, datasets), *at_chosen(plan).trials]  # the teacher is in both
    capsys.readouterr()
    note_commits(trials, datasets)
    assert capsys.readouterr().out == ""
    for trial in trials[:2]:
        about = trial.about()
        about["environment"]["commit"] = f"{'abc1234':0<40}"
        write_json(trial.folder / "trial.json", about)
    note = f"note: 2 of {len(trials) - 1} trials were made at commit abc1234; the source that computes them is the same"
    with Tracker(plan.root) as tracker:
        assert compare(plan, datasets, tracker, executor=ProcessExecutor(workers=2)) == []
    assert note in capsys.readouterr().out.splitlines()
    about = trials[2].about()
    about["environment"]["commit"] = f"{'abc1234':0<40}"
    about["config"]["source"] = "another"  # which running the trial refuses
    write_json(trials[2].folder / "trial.json", about)
    note_commits(trials, datasets)
    assert capsys.readouterr().out.splitlines() == [note]


def test_a_point_that_has_no_distance_is_the_worst(tuned: Plan, tmp_path: Path) -> None:
    plan = moved(tuned, tmp_path / "copy")
    (plan.comparison / "tuning.json").unlink()
    first = first_trials(plan, prepare(plan))
    (base,) = (trial for trial in first if trial.experiment.name == "gaussian-d8-s1")
    path = base.folder / "scores.json"
    rescore(path, None)
    choose_points(plan, first)
    assert read_json(plan.comparison / "tuning.json")["gaussian"]["scale"] == 0.5


def test_an_arm_without_a_finished_tuning_trial_is_compared_without_tuning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path, "gaussian")
    first = first_trials(plan, prepare(plan))
    assert len(first) == len(GRID)
    assert choose_points(plan, first).experiments == plan.experiments
    assert "gaussian is compared without tuning" in capsys.readouterr().out


def test_a_validation_split_that_is_too_small_to_judge_by_leaves_tuning_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path, "gaussian", count=40)
    assert first_trials(plan, prepare(plan)) == []
    assert "embeddings are not tuned: the validation split has 2 songs" in capsys.readouterr().out


def test_experiments_without_an_arm_have_no_tuning_trials(tmp_path: Path) -> None:
    assert tuning(planned(tmp_path, "ngram")).trials == []


def rescore(path: Path, distance: float | None) -> None:
    """Write another distance into a scores.json."""
    scores = read_json(path)
    scores["measures"]["distance"]["ratio"] = distance
    write_json(path, scores)

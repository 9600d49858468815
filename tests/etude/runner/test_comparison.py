"""A comparison on real trials: the teacher and the tuning before it, and the note on other commits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from etude.runner.comparison import at_chosen, batches, choose_points, compare, note_commits, tuning, tuning_trials
from etude.runner.executors import ProcessExecutor
from etude.runner.plan import make_plan, prepare
from eval.results.frames import gather
from eval.results.tuning import chosen_points, grid_rows, tuning_folder, write_chosen
from eval.scoring.experiments import EXPERIMENTS
from eval.tracking.logger import Tracker
from replication.corpora.sources import Synthetic
from replication.training.scales import TuningPoint
from replication.util.errors import UserError
from replication.util.files import read_json, write_json
from tests.support.small_scales import SMOKE

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.plan import Plan

GRID = (TuningPoint(), TuningPoint(scale=0.5))
SEEDS = (100, 101)  # as in a study, without a seed 0


def planned(root: Path, *names: str, count: int = 260) -> Plan:
    """Return a plan at the smoke scale with a grid, on a corpus whose validation split is large enough to judge by."""
    plan = make_plan(scale="smoke", only=names, root=root)
    corpus = replace(plan.corpus, source=Synthetic(count=count, seed=0))
    budget = replace(SMOKE.budget, steps=40, log_every=10)
    return replace(plan, corpus=corpus, scale=replace(plan.scale, seeds=SEEDS, tuning_grid=GRID, budget=budget))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    plan = planned(tmp_path_factory.mktemp("tuned"), "gaussian", "e2e-small", "teacher")
    assert compare(plan, prepare(plan), Tracker(plan.root), executor=ProcessExecutor(workers=2)) == []
    return plan


def moved(plan: Plan, root: Path) -> Plan:
    shutil.copytree(plan.root, root)
    return replace(plan, root=root)


def test_arms_are_tried_at_every_point_and_judged_on_the_validation_split(tuned: Plan) -> None:
    folder = tuning_folder(tuned.comparison)
    for seed in SEEDS:
        assert {path.parent.parent.name for path in folder.glob(f"*/{seed}/scores.json")} == {
            *("gaussian-d8-s1", "gaussian-d8-s0.5"),
            *("e2e-d8-s1", "e2e-d8-s0.5"),  # which e2e-small follows
        }
    about = read_json(folder / "gaussian-d8-s0.5" / "100" / "trial.json")
    assert (about["kind"], about["config"]["scale"]["held_out"]) == ("tuning", "validation")
    assert (about["arm"], about["point"], about["tunes"]) == ("gaussian", {"dimension": 1, "scale": 0.5}, "smoke")
    assert about["config"]["scale"]["budget"]["steps"] == tuned.scale.budget.steps // 4


def test_every_seed_is_compared_at_the_best_point_of_its_own_search(tuned: Plan) -> None:
    grid = grid_rows(tuned.comparison)
    assert grid.groupby(["arm", "seed"]).size().to_dict() == {
        (arm, seed): len(GRID) for arm in ("e2e", "gaussian") for seed in SEEDS
    }
    results = gather(tuned.comparison)
    assert results.grid.equals(grid)
    assert set(results.about["tuned"]) == {"gaussian", "e2e-small"}
    for (arm, seed), rows in grid.groupby(["arm", "seed"]):
        (best,) = rows[rows["chosen"]].to_dict("records")
        assert best["distance"] == rows["distance"].min()
        name = "e2e-small" if arm == "e2e" else arm
        model = read_json(tuned.comparison / name / str(seed) / "trial.json")["config"]["model"]
        assert (model["dimension"], model["embedding"]["scale"]) == (best["dimension"], best["scale"])
        assert results.about["tuned"][name][str(seed)] == f"d {best['dimension']}, scale {best['scale']:g}"
    assert results.experiments["name"].tolist() == ["gaussian", "e2e-small"]  # the teacher is no row
    checked = results.trials[results.trials["nll_every"].notna()]
    assert set(zip(checked["experiment"], checked["seed"], strict=True)) == {("gaussian", 100), ("e2e-small", 100)}


def test_trials_come_seed_by_seed_each_after_its_own_search(tuned: Plan) -> None:
    datasets = prepare(tuned)
    plan = replace(tuned, experiments=(*tuned.experiments, EXPERIMENTS["noise-and-round"], EXPERIMENTS["jitter"]))
    found = [[(trial.kind, trial.seed) for trial in batch] for batch in batches(plan, tuning_trials(plan, datasets))]
    search = [[("tuning", seed)] * 4 for seed in SEEDS]
    models = [[("trial", seed)] * 2 for seed in SEEDS]
    assert found == [
        [("teacher", 1000), *search[0]],
        [("control", 0), *models[0], ("control", 100), *search[1]],
        models[1],
    ]
    untuned = replace(plan, scale=replace(plan.scale, tuning_grid=()))
    assert [len(batch) for batch in batches(untuned, tuning_trials(untuned, datasets))] == [1, 6]
    ngram = replace(untuned, experiments=(EXPERIMENTS["ngram"],))
    assert [len(batch) for batch in batches(ngram, [])] == [2]


def test_seeds_may_differ_in_their_point_and_in_nothing_else(tuned: Plan, tmp_path: Path) -> None:
    plan = moved(tuned, tmp_path / "copy")
    path = plan.comparison / "gaussian" / "101" / "trial.json"
    about = read_json(path)
    model = about["config"]["model"]
    for dimension, scale in ((1, 1.0), (2, 0.3)):
        about["point"] = {"dimension": dimension, "scale": scale}
        model["dimension"], model["embedding"]["scale"] = 8 * dimension, scale
        write_json(path, about)
        assert gather(plan.comparison).about["tuned"]["gaussian"]["101"] == f"d {8 * dimension}, scale {scale:g}"
    model["dimension"] = 24  # which is not that of the point
    write_json(path, about)
    with pytest.raises(UserError, match="gaussian seed 101 was made with another model or source code than seed 100"):
        gather(plan.comparison)


def test_an_untuned_scale_ignores_the_points_of_an_earlier_run(tmp_path: Path) -> None:
    plan = planned(tmp_path, "gaussian")
    point = TuningPoint(scale=0.5)
    write_chosen(plan.comparison, {101: {"gaussian": point}})
    assert [trial.experiment.point for trial in at_chosen(plan)] == [None, point]
    untuned = replace(plan, scale=replace(plan.scale, tuning_grid=()))
    assert at_chosen(untuned) == untuned.trials


def test_a_folder_of_a_later_seed_is_refused_before_anything_runs(tuned: Plan, tmp_path: Path) -> None:
    plan = moved(tuned, tmp_path / "copy")
    path = plan.comparison / "e2e-small" / "101" / "trial.json"
    about = read_json(path)
    about["config"]["source"] = "another"
    write_json(path, about)
    shutil.rmtree(plan.comparison / "gaussian" / "100")
    with pytest.raises(UserError, match="was made with another configuration or code"):
        compare(plan, prepare(plan), Tracker(plan.root), executor=ProcessExecutor(workers=1))
    assert not (plan.comparison / "gaussian" / "100").exists()


def test_the_teacher_judges_what_comes_after_it(tuned: Plan) -> None:
    scores = read_json(tuned.comparison / "gaussian" / "100" / "scores.json")
    assert scores["measures"]["teacher_ruled_out"]["value"] is not None
    tried = tuning_folder(tuned.comparison) / "gaussian-d8-s1" / "100" / "scores.json"
    assert read_json(tried)["measures"]["teacher_ruled_out"]["value"] is None
    assert read_json(tuned.comparison / "teacher" / "1000" / "trial.json")["kind"] == "teacher"


def test_the_chosen_point_stays_when_a_tuning_trial_is_done_later(tuned: Plan, tmp_path: Path) -> None:
    plan = moved(tuned, tmp_path / "copy")
    tried, before = tuning_trials(plan, prepare(plan)), chosen_points(plan.comparison)
    arm = [trial for trial in tried if (trial.experiment.arm, trial.seed) == ("gaussian", 101)]
    (other,) = (trial for trial in arm if trial.experiment.point != before[101]["gaussian"])
    rescore(other.folder / "scores.json", 0.0)
    choose_points(plan, tried)
    assert chosen_points(plan.comparison) == before


def test_trials_of_another_commit_are_noted_if_their_source_is_the_same(
    tuned: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = moved(tuned, tmp_path / "copy")
    datasets = prepare(plan)
    trials = [*tuning_trials(plan, datasets), *at_chosen(plan)]
    capsys.readouterr()
    note_commits(trials, datasets)
    assert capsys.readouterr().out == ""
    for trial in trials[:2]:
        about = trial.about()
        about["environment"]["commit"] = f"{'abc1234':0<40}"
        write_json(trial.folder / "trial.json", about)
    note = f"note: 2 of {len(trials)} trials were made at commit abc1234; the source that computes them is the same"
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
    tried = tuning_trials(plan, prepare(plan))
    (base,) = (trial for trial in tried if trial.name == "gaussian-d8-s1 seed 101")
    rescore(base.folder / "scores.json", None)
    choose_points(plan, tried)
    assert chosen_points(plan.comparison)[101]["gaussian"].scale == 0.5


def test_an_arm_without_a_finished_tuning_trial_is_compared_without_tuning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path, "gaussian")
    tried = tuning_trials(plan, prepare(plan))
    assert len(tried) == 2 * len(GRID)
    choose_points(plan, tried)
    assert chosen_points(plan.comparison) == {100: {}, 101: {}}
    assert at_chosen(plan) == plan.trials
    assert "gaussian seed 101 is compared without tuning" in capsys.readouterr().out


def test_a_validation_split_that_is_too_small_to_judge_by_leaves_tuning_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path, "gaussian", count=40)
    assert tuning_trials(plan, prepare(plan)) == []
    assert "embeddings are not tuned: the validation split has 2 songs" in capsys.readouterr().out


def test_experiments_without_an_arm_have_no_tuning_trials(tmp_path: Path) -> None:
    assert tuning(planned(tmp_path, "ngram")).trials == []


def rescore(path: Path, distance: float | None) -> None:
    """Write another distance into a scores.json."""
    scores = read_json(path)
    scores["measures"]["distance"]["ratio"] = distance
    write_json(path, scores)

"""The identity of a trial: what it is stands in fields of trial.json."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, get_args

import pytest

from baselines import EmbeddingsOnlyConfig
from etude.runner.comparison import tuning
from etude.runner.plan import make_plan, windows
from etude.runner.tuning import tuned
from etude.trial import stages
from eval.claims.number import COUNTERFACTUAL
from eval.results.schema import check_about
from eval.scoring.controls import FromTest
from eval.scoring.experiments import EXPERIMENTS
from replication.models.ablations import Diffusion, Kind
from replication.training.scales import TuningPoint
from replication.util.files import read_json
from tests.support.trial_folders import make_trial

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.plan import Plan
    from replication.models.ablations import Experiment

POINT = TuningPoint(dimension=2, scale=0.5)


def planned(root: Path, *names: str) -> Plan:
    plan = make_plan(scale="smoke", only=names, seeds=1, root=root)
    return replace(plan, scale=replace(plan.scale, tuning_grid=(TuningPoint(), POINT)))


def test_what_a_trial_is_stands_in_fields(tmp_path: Path) -> None:
    plan = planned(tmp_path, "e2e-small", "ngram", "jitter")
    plan = replace(plan, experiments=tuple(tuned(row, {"e2e": POINT}, plan.scale) for row in plan.experiments))
    dataset = windows(plan, "paper")
    found = {}
    for trial in (*plan.trials, *tuning(plan).trials):
        identity = trial.identity(dataset)
        fields = ("kind", "arm", "point", "embeddings", "scale", "tunes")
        found[trial.experiment.name] = tuple(identity[key] for key in fields)
        before: dict[str, object] = {
            "declaration": None,
            "environment": {},
            "status": "RUNNING",
            "started": 0,
            "ended": None,
        }
        check_about(identity | before)
    note = plan.trials[0].identity(dataset)["note"]
    assert note.endswith(
        "Its layers have 9 times fewer weights than those of the larger backbone: "
        "2,048 instead of 18,432, with width 16 instead of 48."
    )
    assert found == {
        "e2e-small": ("trial", "e2e", asdict(POINT), False, "smoke", None),
        "ngram": ("trial", None, None, True, "smoke", None),
        "jitter": ("control", None, None, True, "smoke", None),
        "e2e-d8-s1": ("tuning", "e2e", asdict(TuningPoint()), True, "smoke-tuning", "smoke"),
        "e2e-d16-s0.5": ("tuning", "e2e", asdict(POINT), True, "smoke-tuning", "smoke"),
    }


def test_names_and_purposes_are_no_part_of_a_configuration(tmp_path: Path) -> None:
    plan = planned(tmp_path, "e2e")
    (trial,), dataset = plan.trials, windows(plan, "paper")
    other = replace(trial.experiment, name="other", kind="control", arm=None, embeddings=False, network=False)
    renamed = replace(trial, experiment=other, scale=replace(trial.scale, tunes="cpu"))
    assert renamed.config(dataset) == trial.config(dataset)
    assert renamed.identity(dataset)["id"] != trial.identity(dataset)["id"]


@pytest.mark.parametrize("row", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_the_fields_of_a_row_fit_its_model(row: Experiment) -> None:
    model = row.model
    assert row.kind in get_args(Kind)
    another = isinstance(model, Diffusion) and (model.backbone is not None or model.clean_start)
    assert row.embeddings is (not isinstance(model, EmbeddingsOnlyConfig) and not another)
    if isinstance(model, FromTest):
        assert row.kind == "control"
        assert row.network is bool(model.needs)
    competes = isinstance(model, Diffusion) and row.encoding == "paper"
    assert (stages.AUDIT in stages.of(row)) is (competes or row.name == COUNTERFACTUAL)
    assert (stages.FIT in stages.of(row)) is not isinstance(model, FromTest)
    assert (stages.SCORE_DIFFUSION in stages.of(row)) is isinstance(model, Diffusion)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kind", "party"),
        ("arm", 3),
        ("tunes", ["smoke"]),
        ("embeddings", None),
        ("point", "1"),
        ("point", {"dimension": 0, "scale": 1.0}),
        ("point", {"dimension": 1, "scale": float("nan")}),
        ("point", {"dimension": 1}),
        ("point", {"dimension": 1, "scale": 1.0, "more": 1}),
    ],
)
def test_fields_of_another_shape_are_refused(tmp_path: Path, key: str, value: object) -> None:
    about = read_json(make_trial(tmp_path / "0") / "trial.json")
    check_about(about)
    with pytest.raises((KeyError, TypeError, ValueError), match=rf"{key} is|tuning point|read_point"):
        check_about(about | {key: value})

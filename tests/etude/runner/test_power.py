"""The differences that a comparison would settle, as the dry run prints them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from etude.runner import power
from etude.runner.plan import PUBLISHED, make_plan
from eval.claims.claims import CLAIMS
from eval.statistics.paired import detectable_effect, equivalence_deviation
from replication.util.files import write_json
from tests.support.small_trials import windows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from etude.runner.plan import Plan

FLOORS = {"e2e": (3.0, 4.0, 3.5), "gaussian": (3.2, 4.8, 0.5), "autoregressive": (0.9, 0.8, 0.7)}


def finish(plan: Plan, floors: Mapping[str, tuple[float, ...]]) -> None:
    """Write what the power reads of finished trials, with these distances."""
    for trial in plan.trials:
        if trial.experiment.name in floors:
            trial.open(windows(trial, plan.root))
            trial.close()
            ratio = floors[trial.experiment.name][plan.scale.seeds.index(trial.seed)]
            scores = {"scoring": trial.scoring, "measures": {"distance": {"ratio": ratio}}}
            write_json(trial.folder / "scores.json", scores)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(power, "PUBLISHED", tmp_path / "published")
    return make_plan(scale="smoke", only=("e2e", "gaussian", "autoregressive"), seeds=3, root=tmp_path)


def publish(plan: Plan, scale: str, floors: Mapping[str, tuple[float, ...]]) -> None:
    folder = plan.root / "published" / f"{scale}-{plan.corpus.name}" / "results"
    folder.mkdir(parents=True)
    rows = [(name, seed, "distance", ratio) for name, own in floors.items() for seed, ratio in enumerate(own)]
    table = pd.DataFrame(rows, columns=["experiment", "seed", "measure", "ratio"])
    table.to_parquet(folder / "measures.parquet")


def test_deviations_are_those_of_the_trials_done_here(plan: Plan) -> None:
    finish(plan, FLOORS)
    publish(plan, "smoke", {"e2e": (9.0, 1.0), "gaussian": (1.0, 9.0)})
    first, c1, c4, last = power.power_lines(plan)
    assert first.startswith("3 seeds settle with probability 0.8")
    sd = float(np.std([-0.2, -0.8, 2.5], ddof=1))  # the 0.5 counts as 1
    assert c1 == (
        f"  C1 e2e and gaussian: differences from {detectable_effect(3, sd, tests=len(CLAIMS)):.2f}"
        f" (deviation {sd:.2f}, 3 seeds done here)"
    )
    assert "(deviation 0.50, 3 seeds done here)" in c4
    assert last.endswith(f"at most {equivalence_deviation(3, 0.5, tests=len(CLAIMS)):.2f}")


def test_without_trials_they_are_those_of_a_published_report_of_the_corpus(plan: Plan) -> None:
    assert all("not known" in line for line in power.power_lines(plan)[1:-1])
    publish(plan, "gpu", {"e2e": (3.0, 4.0), "gaussian": (3.0, 5.0), "autoregressive": (1.0, 2.0)})
    assert "2 seeds of reports/published/gpu-synthetic)" in power.power_lines(plan)[1]
    publish(plan, "smoke", {"e2e": (3.0, 4.0), "gaussian": (3.0, 7.0)})
    c1, c4 = power.power_lines(plan)[1:-1]
    assert "2 seeds of reports/published/smoke-synthetic)" in c1
    assert "2 seeds of reports/published/gpu-synthetic)" in c4  # the other has no autoregressive model
    finish(replace(plan, scale=replace(plan.scale, seeds=(0,))), {"e2e": (3.0,), "gaussian": (3.0,)})
    assert "published" in power.power_lines(plan)[1]  # one seed has no deviation


def test_a_plan_that_tests_no_claim_has_no_power(tmp_path: Path) -> None:
    assert power.power_lines(make_plan(scale="smoke", only=("e2e", "ngram"), root=tmp_path)) == []


def test_the_published_reports_are_found(tmp_path: Path) -> None:
    if not (PUBLISHED / "cpu-bach").exists():
        pytest.skip("no results of this version on real music are published")
    lines = power.power_lines(make_plan(scale="cpu", root=tmp_path))
    assert all(re.search(r"deviation \d\.\d\d, \d+ seeds of reports/published/cpu-bach", line) for line in lines[1:-1])

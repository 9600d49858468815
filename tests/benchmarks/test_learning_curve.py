"""What is chosen from learning curves, with made-up numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

from benchmarks.learning_curve import ARMS, BUDGETS, PUBLISHED, SAMPLERS, WIDE, curves, enough, over_arms
from benchmarks.table import publish
from eval.results.environment import commit
from replication.training.scales import SCALES
from replication.util.files import read_json

if TYPE_CHECKING:
    from pathlib import Path

YARDSTICKS = pd.DataFrame({"harmony": {"pitches permuted": 20.0, "5-gram": 5.0}})


def rows(harmony: dict[int, list[float]], *, width: int = SCALES["study"].backbone.width) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "arm": arm,
                "width": width,
                "steps": steps,
                "sampler": "ancestral, 50",
                "harmony": value,
                "distance": value,
                "recall": value / 10,
            }
            for steps, values in harmony.items()
            for arm, value in zip(ARMS, values, strict=True)
        ]
    )


def test_a_budget_is_enough_if_its_last_arm_has_learned_harmony() -> None:
    found = rows({2500: [15.0, 15.0, 15.0], 5000: [8.0, 8.0, 10.1], 10_000: [5.0, 5.0, 10.0]})
    assert enough(found, YARDSTICKS) == 10_000
    assert enough(found[found["steps"] < 10_000], YARDSTICKS) is None
    other = rows({2500: [1.0, 1.0, 1.0]}).assign(sampler="ddim, 50")
    assert enough(pd.concat([found, other, rows({2500: [1.0, 1.0, 1.0]}, width=WIDE)]), YARDSTICKS) == 10_000


def test_arms_count_alike_in_the_mean_and_the_worst_decides_on_recall() -> None:
    found = over_arms(rows({5000: [1.0, 2.0, 4.0], 10_000: [3.0, 3.0, 3.0]}), ["steps"])
    assert found.loc[5000].tolist() == pytest.approx([2.0, 0.1])
    assert found.loc[10_000].tolist() == pytest.approx([3.0, 0.3])


def test_all_arms_are_tried_alike_and_with_the_published_sampler() -> None:
    tried = curves(BUDGETS)
    settings = [{(one.width, one.steps, one.samplers) for one in tried if one.arm == arm} for arm in ARMS]
    assert settings[0] == settings[1] == settings[2]
    diffusion = [one for one in tried if one.arm in ARMS]
    assert all(one.samplers[0] == PUBLISHED for one in diffusion)
    assert {(one.arm, one.samplers) for one in tried if one.arm not in ARMS} == {("autoregressive-best", ())}
    assert {one.steps for one in tried if one.samplers == SAMPLERS} == {max(BUDGETS)}
    assert {one.scale().budget.milestones for one in tried} == {()}


def test_published_tables_say_at_which_commit_and_where_they_were_made(tmp_path: Path) -> None:
    publish(tmp_path, "# Title\n", curve=rows({2500: [1.0, 2.0, 3.0]}))
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "# Title\n"
    assert pd.read_csv(tmp_path / "curve.csv")["distance"].tolist() == [1.0, 2.0, 3.0]
    about = read_json(tmp_path / "machine.json")
    assert about["commit"] == commit()
    assert about["packages"]["torch"]

"""The estimated cost of a plan, compared with the real one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from etude.runner import dry_run
from etude.runner.executors import PRELOADED, ProcessExecutor
from etude.runner.plan import make_plan, prepare
from etude.runner.scheduler import run
from eval.scoring.experiments import EXPERIMENTS
from eval.tracking.logger import Tracker
from replication.midi.piece import PAPER_GRID
from replication.training.scales import SCALES
from replication.util.errors import UserError
from tests.support.program import ROOT, assert_user_error, etude
from tests.support.small_scales import small_scale

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.plan import Plan

# Trains the same network for longer in a process of its own, which has imported what a trial has, and prints the peak
# of memory in bytes.
ALONE = """
import importlib, json, sys
from pathlib import Path
import torch
sys.path[:0] = [{tests!r}]
from tests.support.small_scales import job, small_scale
from replication.util.memory import peak_memory
from eval.scoring.experiments import EXPERIMENTS
from replication.tokens.encodings import ENCODINGS
from replication.training.loop import train_network

torch.set_num_threads(1)
for name in {preloaded!r}:
    importlib.import_module(name)
vocabulary = len(ENCODINGS["paper"].vocabulary)
scale = small_scale(**{changes!r}, steps=10)
model = EXPERIMENTS["e2e"].model.build(vocabulary=vocabulary, scale=scale)
train_network(model, job(Path({folder!r}), scale, vocabulary=vocabulary))
print(json.dumps(peak_memory()))
"""
LARGE = {"batch": 512, "length": 66}  # the activations take more memory than the libraries


def planned(root: Path, *names: str) -> Plan:
    return make_plan(scale="smoke", only=names, seeds=1, root=root)


def costs(plan: Plan) -> list[dry_run.Cost]:
    return dry_run.estimate(plan.trials, PAPER_GRID, threads=1)


def test_estimated_memory_is_the_peak_of_the_trial(tmp_path: Path) -> None:
    plan = planned(tmp_path, "e2e")
    (small,) = costs(plan)
    (large,) = costs(replace(plan, scale=small_scale(**LARGE, seeds=(0,))))
    code = ALONE.format(tests=str(ROOT / "tests"), changes=LARGE, folder=str(tmp_path), preloaded=PRELOADED)
    real = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT).stdout)
    assert large.memory > 1.25 * small.memory
    assert large.memory == pytest.approx(real, rel=0.25)
    assert large.seconds > small.seconds


@pytest.mark.slow
def test_estimated_disk_is_the_size_of_the_folder(tmp_path: Path) -> None:
    plan = planned(tmp_path, "e2e", "untrained", "autoregressive-best", "ngram")
    assert (
        run(
            plan.trials,
            prepare(plan),
            PAPER_GRID,
            Tracker(tmp_path),
            executor=ProcessExecutor(workers=2),
        )
        == []
    )
    for trial, cost in zip(plan.trials, costs(plan), strict=True):
        real = sum(path.stat().st_size for path in trial.folder.rglob("*") if path.is_file())
        assert cost.disk == pytest.approx(real, rel=0.2), trial.name


def test_a_plan_that_needs_more_memory_than_is_free_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path, "e2e", "gaussian", "ngram")
    weights = 4 * 94_766 * dry_run.COPIES
    monkeypatch.setattr(dry_run, "available", lambda: 2 * weights)
    dry_run.check_memory(plan, workers=2)
    monkeypatch.setattr(dry_run, "available", lambda: 2 * weights - 1)
    dry_run.check_memory(plan, workers=1)
    with pytest.raises(UserError, match=r"not enough memory: 2 trials side by side .*; choose fewer --workers or a"):
        dry_run.check_memory(plan, workers=2)
    with pytest.raises(UserError, match=r"not enough memory: 1 trial takes .*; choose a smaller --scale"):
        dry_run.show(plan, workers=1)
    assert "pending" in capsys.readouterr().out


def test_a_plan_that_is_far_too_large_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    done = etude("run", "--scale", "paper", "--seeds", "1000", "--workers", "1000", folder=tmp_path)
    assert_user_error(done, "not enough memory: 1000 trials side by side take")
    assert not (tmp_path / "runs").exists()


def test_sizes_of_networks_are_known_without_allocating_them() -> None:
    for name, row in EXPERIMENTS.items():
        network = dry_run._network(row, SCALES["paper"], PAPER_GRID)
        assert network is None or all(weight.is_meta for weight in network[1].parameters()), name

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from eval.scoring.bits_per_word import SAMPLES, audit, bits_per_word
from replication.models.ablations import ABLATIONS, Diffusion
from replication.training.scales import Budget, Recipe
from replication.util.checkpoint import milestone
from replication.util.files import read_json, write_json
from replication.util.generators import seeded
from tests.support.small_scales import job, loss_terms, random_windows, small_scale

if TYPE_CHECKING:
    from pathlib import Path

    from replication.models.diffusion_lm import DiffusionLM

SCALE = small_scale()


def build(dimension: int, vocabulary: int = 12) -> DiffusionLM:
    budget = Budget(steps=20, batch=8, learning_rate=1e-3, ema=0.0, log_every=10, milestones=(0, 10, 20))
    budget = Budget(**{**vars(budget), "validate_every": 10, "checkpoint_every": 10})
    with seeded("model", 0):
        recipe = Recipe(timesteps=200, budget=budget)
        return Diffusion(dimension=dimension, recipe=recipe).build(vocabulary=vocabulary, scale=SCALE)


@pytest.mark.parametrize(("dimension", "low", "high"), [(16, 0.2, 0.35), (32, 1e-5, 0.01), (128, 1e-40, 1e-12)])
def test_bits_per_word_need_no_training(dimension: int, low: float, high: float) -> None:
    # At T = 2000 and V = 220, with embeddings N(0, 1) and a network that has seen nothing.
    with seeded("model", 0):
        model = Diffusion(dimension=dimension, recipe=Recipe()).build(vocabulary=220, scale=SCALE)
    tokens = torch.randint(220, (256, 34), generator=torch.Generator().manual_seed(0))
    assert low <= bits_per_word(model, tokens, seed=0) * math.log(2) <= high


def test_bits_per_word_equal_the_loss_term_for_any_network() -> None:
    model = build(4).eval()
    tokens = random_windows(100, SCALE.length, 12)
    bits = bits_per_word(model, tokens, seed=0)
    terms = [loss_terms(model, tokens, torch.Generator().manual_seed(seed))["rounding"].item() for seed in range(20)]
    assert bits == pytest.approx(sum(terms) / 20 / math.log(2), rel=0.05)
    for parameter in model.transformer.parameters():
        torch.nn.init.normal_(parameter)
    assert bits_per_word(model, tokens, seed=0) == bits
    with torch.no_grad():
        model.embedding.weight.fill_(1)
    assert bits_per_word(model, tokens, seed=0) == pytest.approx(math.log2(12))


def test_the_audit_measures_every_milestone_once(tmp_path: Path) -> None:
    model, task, path = build(8), job(tmp_path / "run", SCALE), tmp_path / "audit.json"
    model.fit(task)
    seen: list[torch.Size] = []

    def distance(windows: torch.Tensor) -> float:
        seen.append(windows.shape)
        return windows.double().mean().item()

    table = audit(model, task.folder, task.validation, distance, path=path, seed=0)
    assert table["step"].tolist() == [0, 10, 20]
    assert seen == [torch.Size((SAMPLES, SCALE.length))] * 3
    assert table.notna().all(axis=None)
    assert table["nll"].to_numpy() == pytest.approx(table[["prior", "diffusion", "rounding"]].sum(axis=1).to_numpy())
    assert (table["nll_error"] > 0).all()
    assert table["nll"].iloc[2] < table["nll"].iloc[0]  # of trained weights, though not of averaged ones
    assert audit(model, task.folder, task.validation, distance, path=path, seed=0).equals(table)
    assert len(seen) == 3

    done = read_json(path)
    del done["10"]
    write_json(path, done)
    milestone(task.folder, 20).unlink()  # is not looked at again
    assert audit(model, task.folder, task.validation, distance, path=path, seed=0).equals(table)
    assert len(seen) == 4


def test_the_row_of_the_recipe_matches_the_report() -> None:
    model = next(row.model for row in ABLATIONS if row.name == "recipe").build(vocabulary=20, scale=SCALE)
    assert model.embedding.weight.shape == (20, 128)  # type: ignore[attr-defined]  # a DiffusionLM
    scale = model.scale  # type: ignore[attr-defined]
    budget = scale.budget
    assert (scale.timesteps, budget.batch, budget.learning_rate, budget.weight_decay) == (2000, 32, 1e-4, 0)
    assert (scale.backbone.dropout, budget.ema, budget.clip, budget.warmup) == (0.1, 0, None, 0)
    assert {0, 800, 1000, 2000} <= set(budget.milestones)
    assert (scale.backbone.layers, scale.length) == (SCALE.backbone.layers, SCALE.length)

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from baselines import EmbeddingsOnlyConfig
from eval.scoring.bits_per_word import SAMPLES, Yardsticks, audit, bits_per_word, teacher_gap
from replication.models.ablations import Diffusion
from replication.training.scales import SCALES
from replication.util.checkpoint import milestone
from replication.util.files import read_json, write_json
from replication.util.generators import seeded
from tests.support.small_scales import job, loss_terms, random_windows, small_scale

if TYPE_CHECKING:
    from pathlib import Path

    from replication.models.diffusion_lm import DiffusionLM
    from replication.training.scales import Scale

SCALE = small_scale(steps=20, log_every=10, milestones=(5, 10))


def build(dimension: int, vocabulary: int = 12, scale: Scale = SCALE) -> DiffusionLM:
    with seeded("model", 0):
        return Diffusion(dimension=dimension).build(vocabulary=vocabulary, scale=scale)


@pytest.mark.parametrize(("dimension", "low", "high"), [(16, 0.2, 0.35), (32, 1e-5, 0.01), (128, 1e-40, 1e-12)])
def test_bits_per_word_need_no_training(dimension: int, low: float, high: float) -> None:
    # At T = 2000 and V = 220, with embeddings N(0, 1) and a network that has seen nothing.
    model = build(dimension, vocabulary=220, scale=small_scale(timesteps=2000))
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


def test_embeddings_alone_have_fewer_bits_per_word_than_a_diffusion_model(tmp_path: Path) -> None:
    with seeded("model", 0):
        alone = EmbeddingsOnlyConfig().build(vocabulary=12, scale=small_scale(dimension=4))
    diffusion, task = build(4, scale=small_scale()), job(tmp_path, small_scale(dimension=4))
    alone.fit(task)
    diffusion.fit(job(tmp_path / "diffusion", small_scale()))
    assert bits_per_word(alone, task.validation, seed=0) < bits_per_word(diffusion, task.validation, seed=0)


def test_the_audit_measures_every_age_once(tmp_path: Path) -> None:
    model, task, path = build(8), job(tmp_path / "run", SCALE), tmp_path / "audit.json"
    model.fit(task)
    model.save(last := tmp_path / "model.safetensors")
    weights = {**{step: milestone(task.folder, step) for step in (5, 10)}, 20: last}
    drawn = model.sample(range(40), seed=3)
    heard: list[torch.Tensor] = []

    def distance(windows: torch.Tensor) -> float:
        heard.append(windows)
        return windows.double().mean().item()

    yardsticks = Yardsticks(
        real=task.validation.long(), distance=distance, teacher=lambda tokens: tokens.double().mean().item()
    )

    def found() -> dict[int, dict[str, float | None]]:
        return audit(model, weights, drawn, yardsticks, path=path, seed=3)

    table = found()
    assert list(table) == [5, 10, 20]
    assert [windows.shape for windows in heard] == [torch.Size((40, SCALE.length))] * 3
    assert torch.equal(heard[-1], drawn)  # not drawn again
    assert all(value is not None and math.isfinite(value) for row in table.values() for value in row.values())
    assert (table[20]["nll"] or math.inf) < (table[5]["nll"] or 0)
    assert found() == table
    assert len(heard) == 3

    done = read_json(path)
    del done["10"]
    write_json(path, done)
    last.unlink()  # is not read again
    assert found() == table
    assert len(heard) == 4
    assert len(drawn) <= SAMPLES


def test_the_teachers_gap_compares_as_many_real_windows() -> None:
    sizes: list[int] = []

    def teacher(tokens: torch.Tensor) -> float:
        sizes.append(len(tokens))
        return tokens.double().mean().item() if tokens.max() < 9 else math.nan

    real = torch.full((50, 4), 3)
    assert teacher_gap(teacher, torch.full((20, 4), 1), real) == 2
    assert sizes == [20, 20]
    assert teacher_gap(teacher, torch.full((20, 4), 9), real) == math.inf


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_every_scale_keeps_weights_at_a_fifth_and_two_fifths_of_its_steps(scale: Scale) -> None:
    steps = scale.budget.steps
    assert scale.budget.milestones == (steps // 5, 2 * steps // 5)

"""Small scales and jobs for tests."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch

from replication.tokens.protocol import CLS, PAD, SEP
from replication.training.model import Job
from replication.training.scales import SCALES, Scale

if TYPE_CHECKING:
    from pathlib import Path

    from replication.training.neural_model import NeuralModel

SMOKE = SCALES["smoke"]


def small_scale(**changes: Any) -> Scale:  # noqa: ANN401 - as dataclasses.replace
    """Return the smoke scale with fields replaced. Fields of its budget may be given directly."""
    budget = {field.name for field in fields(SMOKE.budget)}
    inner = {name: value for name, value in changes.items() if name in budget}
    outer = {name: value for name, value in changes.items() if name not in budget}
    return replace(SMOKE, budget=replace(SMOKE.budget, **inner), **outer)


def random_windows(n: int, length: int, vocabulary: int, seed: int = 0) -> torch.Tensor:
    """Return (n, length) windows of random tokens: [CLS], tokens, [SEP] at a random place, [PAD]."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(SEP + 1, vocabulary, (n, length), generator=random)
    tokens[:, 0] = CLS
    for row, end in zip(tokens, torch.randint(length // 2, length, (n,), generator=random).tolist(), strict=True):
        row[end], row[end + 1 :] = SEP, PAD
    return tokens


def loss_terms(model: NeuralModel, tokens: torch.Tensor, random: torch.Generator) -> dict[str, torch.Tensor]:
    """Return the terms of a model's loss with fresh noise."""
    return model.terms(tokens, *model.noise(tokens, random=random))


def job(folder: Path, scale: Scale, *, vocabulary: int = 12, seed: int = 0, n: int = 64) -> Job:
    """Return a job on random windows."""
    return Job(
        train=random_windows(n, scale.length, vocabulary).short(),
        validation=random_windows(8, scale.length, vocabulary, seed=1).short(),
        scale=scale,
        seed=seed,
        folder=folder,
        sibling=lambda name: folder.parent / name / "model.safetensors",
        log=lambda *_: None,
        device=torch.device("cpu"),
    )

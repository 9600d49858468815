"""Contenders that multiply matrices, train models as trials do, and sample from them."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from benchmarks.race import repeat
from eval.scoring.experiments import EXPERIMENTS
from replication.tokens.protocol import CLS, SEP
from replication.training.backbones import encoder_weights
from replication.training.model import Job
from replication.training.neural_model import CHUNK
from replication.util.generators import generator, seeded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.race import Lap
    from replication.training.backbones import Backbone
    from replication.training.model import Log
    from replication.training.neural_model import NeuralModel
    from replication.training.scales import Scale

ENDLESS = 10**7  # steps; so many that training never reaches the work at its end
WINDOWS = 4096  # training windows


def device() -> torch.device:
    """Return the device that trials compute on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def matrix(lap: Lap, *, dtype: torch.dtype) -> None:
    """Multiply square matrices; amounts are in GFLOP. Other rows are given as a share of this rate."""
    size = 8192 if torch.cuda.is_available() else 2048
    left, right = torch.randn(2, size, size, device=device()).to(dtype)
    product = torch.empty_like(left)
    repeat(lambda: torch.matmul(left, right, out=product), 2 * size**3 / 1e9, lap)


def steps_per_wait(scale: Scale) -> int:
    """Return the number of steps between waits of the host for the device.

    On a GPU, logging makes the host wait, so it is as rare here as in trials. On a CPU the host always waits.
    """
    return scale.budget.log_every if torch.cuda.is_available() else 1


def train(lap: Lap, *, experiment: str, scale: Scale, vocabulary: int) -> None:
    """Train as trials do; amounts are in tokens."""
    every = steps_per_wait(scale)
    budget = replace(
        scale.budget, steps=ENDLESS, log_every=every, validate_every=ENDLESS, checkpoint_every=ENDLESS, milestones=()
    )
    endless = replace(scale, budget=budget)

    def log(_step: int, _values: Mapping[str, float]) -> None:
        lap(every * budget.batch * scale.length)

    with tempfile.TemporaryDirectory() as folder:
        model(experiment, endless, vocabulary).fit(job(endless, vocabulary, Path(folder), log=log))


def job(scale: Scale, vocabulary: int, folder: Path, *, log: Log) -> Job:
    """Return the job of fitting a model to random windows."""
    tokens = torch.randint(SEP + 1, vocabulary, (WINDOWS, scale.length), generator=generator("bench")).short()
    tokens[:, 0] = CLS
    return Job(
        train=tokens,
        validation=tokens[: scale.budget.batch],
        scale=scale,
        seed=0,
        folder=folder,
        sibling=lambda _: Path(),
        log=log,
        device=device(),
    )


def sample(lap: Lap, *, experiment: str, scale: Scale, vocabulary: int, amount: float) -> None:
    """Sample windows from an untrained model, which takes as long; `amount` is per window."""
    network = model(experiment, scale, vocabulary).to(device()).eval()
    repeat(lambda: network.sample(range(CHUNK), seed=0), CHUNK * amount, lap)


def model(experiment: str, scale: Scale, vocabulary: int) -> NeuralModel:
    """Return the untrained network of an experiment."""
    with seeded("model", 0):
        return cast("NeuralModel", EXPERIMENTS[experiment].model.build(vocabulary=vocabulary, scale=scale))


def training_flop(backbone: Backbone, *, length: int, ends: int) -> int:
    """Return the floating-point operations of a training step per token: 6 N plus attention.

    Counts the multiplications and additions of matrix products in the forward pass, and twice as many in the backward
    pass. N is the number of weights that every token is multiplied by: layers (4 H^2 + 2 H F) and `ends`. Attention is
    12 layers H L, causal or not, as is usual (Chowdhery et al. 2022, PaLM, appendix B). The time network of diffusion,
    which runs once per window, is not counted.

    Args:
        backbone: Backbone that gives the width H, the feedforward width F and the number of layers.
        length: Window length L in tokens.
        ends: Number of weights before and after the layers; see `diffusion_ends` and `autoregressive_ends`.
    """
    weights = encoder_weights(backbone) + ends
    return 6 * weights + 12 * backbone.layers * backbone.width * length


def diffusion_ends(scale: Scale, vocabulary: int) -> int:
    """Return the number of weights of the projections d -> H -> H and H -> H -> d and of the rounding head."""
    width = scale.backbone.width
    return 2 * (scale.dimension * width + width**2) + scale.dimension * vocabulary


def autoregressive_ends(scale: Scale, vocabulary: int) -> int:
    """Return the number of weights of the output layer; the embedding is a lookup without multiplications."""
    return scale.backbone.width * vocabulary

"""What the benchmarks time of the models: matrix products, the training of trials, sampling."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from benchmarks.race import repeat
from eval.scoring.experiments import EXPERIMENTS
from replication.tokens.protocol import CLS, SEP
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

ENDLESS = 10**7  # steps: nothing that is done at the end is ever done
WINDOWS = 4096  # to train on


def device() -> torch.device:
    """Return where trials compute."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def matrix(lap: Lap, *, dtype: torch.dtype) -> None:
    """Multiply square matrices, in GFLOP: the rate that the others are measured by."""
    size = 8192 if torch.cuda.is_available() else 2048
    left, right = torch.randn(2, size, size, device=device()).to(dtype)
    product = torch.empty_like(left)
    repeat(lambda: torch.matmul(left, right, out=product), 2 * size**3 / 1e9, lap)


def between_waits(scale: Scale) -> int:
    """Return the steps from one wait of the host for the device to the next.

    On a GPU a log makes the host wait, so there it is as rare as in trials; a CPU works in step with the host anyway.
    """
    return scale.budget.log_every if torch.cuda.is_available() else 1


def train(lap: Lap, *, experiment: str, scale: Scale, vocabulary: int) -> None:
    """Train as the trials do, in tokens."""
    every = between_waits(scale)
    budget = replace(
        scale.budget, steps=ENDLESS, log_every=every, validate_every=ENDLESS, checkpoint_every=ENDLESS, milestones=()
    )
    endless = replace(scale, budget=budget)

    def log(_step: int, _values: Mapping[str, float]) -> None:
        lap(every * budget.batch * scale.length)

    with tempfile.TemporaryDirectory() as folder:
        model(experiment, endless, vocabulary).fit(job(endless, vocabulary, Path(folder), log=log))


def job(scale: Scale, vocabulary: int, folder: Path, *, log: Log) -> Job:
    """Return the task of fitting random windows."""
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
    """Draw windows from an untrained model, which takes as long; `amount` is of each."""
    drawn = model(experiment, scale, vocabulary).to(device()).eval()
    repeat(lambda: drawn.sample(range(CHUNK), seed=0), CHUNK * amount, lap)


def model(experiment: str, scale: Scale, vocabulary: int) -> NeuralModel:
    """Return the untrained network of an experiment."""
    with seeded("model", 0):
        return cast("NeuralModel", EXPERIMENTS[experiment].model.build(vocabulary=vocabulary, scale=scale))


def training_flop(backbone: Backbone, *, length: int, ends: int) -> int:
    """Return the floating-point operations of a training step per token: 6 N and attention.

    Multiplications and additions of matrix products alone, forwards and, twice as many, backwards. N is of the weights
    that every token is multiplied by: layers (4 H^2 + 2 H F) and `ends`. Attention is 12 layers H L, causal or not, as
    is usual (Chowdhery et al. 2022, PaLM, appendix B). The time network of diffusion, once a window, is not counted.

    Args:
        backbone: H, F and layers.
        length: L, tokens of a window.
        ends: weights before and after the layers; see `diffusion_ends` and `autoregressive_ends`.
    """
    width = backbone.width
    weights = backbone.layers * (4 * width**2 + 2 * width * backbone.feedforward) + ends
    return 6 * weights + 12 * backbone.layers * width * length


def diffusion_ends(scale: Scale, vocabulary: int) -> int:
    """Count the weights of the projections d -> H -> H and H -> H -> d and of the rounding head."""
    width = scale.backbone.width
    return 2 * (scale.dimension * width + width**2) + scale.dimension * vocabulary


def autoregressive_ends(scale: Scale, vocabulary: int) -> int:
    """Count the weights of the output; what looks a token up multiplies nothing."""
    return scale.backbone.width * vocabulary

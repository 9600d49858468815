"""What a model is to the rest of the suite, and the budget that it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from replication.tokens.protocol import PAD

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from replication.training.scales import Scale

# Called with the number of steps done and named values; keys are `section/name`.
Log = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that a model gets to learn from.

    Attributes:
        train: (n, L) int16 token ids, which may lie in a memory-mapped file: take a few rows at a time.
        validation: (m, L) int16 token ids, likewise, for the validation loss only.
        scale: the budget.
        seed: of every random number in training.
        folder: where checkpoints go; what lies there is continued.
        sibling: from an experiment's name to the weights file of its trial with the same seed.
        log: takes what the training loop reports.
        device: where to compute.
    """

    train: Tensor
    validation: Tensor
    scale: Scale
    seed: int
    folder: Path
    sibling: Callable[[str], Path]
    log: Log
    device: torch.device


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """-ln p(window) in nats, or an upper bound of it, as named terms that add up.

    Attributes:
        terms: (B,) float64 nats each.
        exact: False for a bound.
        error: (B,) float64 nats, the standard error that each window's sum has from what was drawn to estimate it; None
            where nothing was.
    """

    terms: dict[str, Tensor]
    exact: bool
    error: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """(B,) nats."""
        return torch.stack(list(self.terms.values())).sum(0)


def token_counts(tokens: Tensor) -> Tensor:
    """Count what a window (B, L) has to say: all its tokens but [CLS], which is given, and [PAD], which follows.

    The denominator of every likelihood per token, the same for all models: (B,).
    """
    return (tokens != PAD).sum(1) - 1


class Model(Protocol):
    """A distribution over windows of tokens: a neural network, an n-gram, or a copy of the training data."""

    def fit(self, job: Job) -> None:
        """Learn; continue from what `job.folder` holds."""

    def save(self, path: Path) -> None:
        """Write what `load` needs to a safetensors file, atomically."""

    def load(self, path: Path) -> None:
        """Read what `save` wrote; raises UserError for a file that is damaged or of another model."""

    def parameters_count(self) -> int:
        """Return how many numbers the model has learnt."""

    def nll(self, tokens: Tensor, *, seed: int) -> Likelihood:
        """Return the likelihood of (B, L) int64 windows; what a bound draws for one goes by its place."""

    def sample(self, indices: Sequence[int], *, seed: int) -> Tensor:
        """Draw the samples with these indices: (len(indices), L) int64. Sample i depends on seed and i alone."""


class ModelConfig(Protocol):
    """A frozen dataclass that says which model to build."""

    def build(self, *, vocabulary: int, scale: Scale) -> Model:
        """Return an untrained model for windows of `scale.length` tokens out of `vocabulary`."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of experiments whose trial with the same seed must be there first."""

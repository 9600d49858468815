"""The contracts of models: `Model` for the suite, `Network` for the training loop, and what they exchange."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from replication.tokens.protocol import PAD

if TYPE_CHECKING:
    from pathlib import Path

    from replication.training.scales import Scale

# Called with the number of finished steps and with named values; the names are `section/name`.
Log = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """The data, budget and environment of one training run.

    Attributes:
        train: (n, L) int16 token ids. They may lie in a memory-mapped file, so read a few rows at a time.
        validation: (m, L) int16 token ids, likewise, for the validation loss only.
        scale: Sizes and budget.
        seed: Seed of all random numbers of the training run.
        folder: Folder of the checkpoints; a checkpoint in it is resumed.
        sibling: Function that returns the weights file of another experiment's trial with the same seed.
        log: Function that receives the values that the training loop reports.
        device: Device of the computation.
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
    """The negative log-likelihood -ln p(window), or an upper bound of it, as a sum of named terms.

    Attributes:
        terms: (B,) float64 tensors in nats.
        exact: Whether the sum is exact; False for an upper bound.
        error: (B,) float64 standard errors of the sums, in nats, for a bound that is estimated by random draws; else
            None.
    """

    terms: dict[str, Tensor]
    exact: bool
    error: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """Sum of the terms, (B,) in nats."""
        return torch.stack(list(self.terms.values())).sum(0)

    @classmethod
    def joined(cls, parts: Sequence[Likelihood]) -> Likelihood:
        """Return the likelihood of windows in several parts, of the same kind and with the same terms."""
        errors = [part.error for part in parts if part.error is not None]
        return cls(
            terms={name: torch.cat([part.terms[name] for part in parts]) for name in parts[0].terms},
            exact=parts[0].exact,
            error=torch.cat(errors) if errors else None,
        )


def token_counts(tokens: Tensor) -> Tensor:
    """Count the tokens (B,) that windows (B, L) have to predict.

    These are all tokens except [CLS], which is given, and [PAD], which only fills a window up. This is the denominator
    of every likelihood per token, equal for all models. The nats of models that predict padding too include it.

    >>> token_counts(torch.tensor([[1, 7, 8, 2, 0, 0]]))  # [CLS] 7 8 [SEP] [PAD] [PAD]
    tensor([3])
    """
    return (tokens != PAD).sum(1) - 1


class Model(Protocol):
    """A distribution over windows of tokens: a neural network, an n-gram model, or a copy of the training data."""

    def fit(self, job: Job) -> None:
        """Train; resume from a checkpoint in `job.folder`."""

    def save(self, path: Path) -> None:
        """Write what `load` needs to a safetensors file, atomically."""

    def load(self, path: Path) -> None:
        """Read a file that `save` wrote.

        Raises:
            UserError: If the file is damaged or belongs to another model.
        """

    def parameters_count(self) -> int:
        """Return the number of learned parameters."""

    def nll(self, tokens: Tensor, *, seed: int) -> Likelihood:
        """Return the likelihood of (B, L) int64 windows. Random draws for a window depend on the seed and its index."""

    def sample(self, indices: Sequence[int], *, seed: int) -> Tensor:
        """Return the samples with these indices, (len(indices), L) int64. Sample i depends only on the seed and i."""


class ModelConfig(Protocol):
    """A frozen dataclass that defines a model."""

    def build(self, *, vocabulary: int, scale: Scale) -> Model:
        """Return an untrained model for windows of `scale.length` tokens out of `vocabulary` words."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the experiments whose trials with the same seed must be trained first."""


class Network(nn.Module, ABC):
    """A network as the training loop sees it: its loss as named terms, and the random numbers in the loss."""

    @abstractmethod
    def terms(self, tokens: Tensor, *noise: Tensor) -> dict[str, Tensor]:
        """Return the named terms of the loss: scalars, each a mean over the batch (B, L). The loss is their sum.

        All random numbers except dropout are arguments; see `noise`.
        """

    def noise(self, tokens: Tensor, *, random: torch.Generator) -> tuple[Tensor, ...]:  # noqa: ARG002 - none by default
        """Draw the random arguments of `terms` for a batch (B, L): tensors with one row per window.

        They are drawn for the whole batch, so that a batch that is split, over time or over devices, has the same loss
        as one that is not, except for dropout.
        """
        return ()

    def window_weights(self, tokens: Tensor) -> Tensor:
        """Return the weight (B,) of each window in the means over a batch (B, L)."""
        return torch.ones(len(tokens), device=tokens.device)

    def monitors(self) -> dict[str, float]:
        """Return numbers that reveal numerical problems of the weights; they are logged at every validation."""
        return {}

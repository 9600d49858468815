"""A network that the training loop can train: its loss as named terms, and what is random in it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Network(nn.Module, ABC):
    """What the training loop needs of a network."""

    @abstractmethod
    def terms(self, tokens: Tensor, *noise: Tensor) -> dict[str, Tensor]:
        """Return the named terms, means over the batch (B, L), whose sum is the loss.

        All that is random but dropout is given: see `noise`.
        """

    def noise(self, tokens: Tensor, *, random: torch.Generator) -> tuple[Tensor, ...]:  # noqa: ARG002 - none by default
        """Draw what `terms` takes at random for a batch (B, L): tensors with a row for each window.

        It is drawn for the whole batch, so that a batch which is cut into parts, in time or over devices, has the loss
        of one that is not, but for dropout.
        """
        return ()

    def amounts(self, tokens: Tensor) -> Tensor:
        """Return how much each window (B,) counts in the means over a batch (B, L)."""
        return torch.ones(len(tokens), device=tokens.device)

    def monitors(self) -> dict[str, float]:
        """Return numbers of the weights by which one sees that they go wrong; logged whenever training validates."""
        return {}

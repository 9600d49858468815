"""A network as a model of the suite: what it must say about itself, and what all networks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from replication.checkpoint import load_weights, read_tensors, save_weights
from replication.train import sgd

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from replication.model import Job

CHUNK = 64  # windows that are sampled, or whose likelihood is measured, together


class Trainable(nn.Module, ABC):
    """A network as a `Model`: names the terms of its loss, draws samples chunk by chunk, and is kept in safetensors."""

    @abstractmethod
    def terms(self, tokens: Tensor, *noise: Tensor) -> dict[str, Tensor]:
        """Return the named terms, means over the batch (B, L), whose sum is the loss.

        All that is random but dropout is given: see `noise`.
        """

    @abstractmethod
    def draw(self, indices: range, *, seed: int) -> Tensor:
        """Return the samples with these CHUNK indices: (CHUNK, L). The noise of sample i is named by (seed, i)."""

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

    def fit(self, job: Job) -> None:
        """Train, and keep the average of the weights; see `sgd`."""
        self.load_state_dict(sgd(self, job).state_dict())
        self.eval()

    @torch.no_grad()
    def sample(self, indices: Sequence[int], *, seed: int) -> Tensor:
        """Draw (len(indices), L) windows, on the CPU.

        Always CHUNK at a time, on the same borders: the bits of a matrix product depend on its size, and so a sample
        would otherwise depend on how many others were asked for.
        """
        chunks = {
            number: self.draw(range(number * CHUNK, (number + 1) * CHUNK), seed=seed).cpu()
            for number in dict.fromkeys(index // CHUNK for index in indices)
        }
        return torch.stack([chunks[index // CHUNK][index % CHUNK] for index in indices])

    def save(self, path: Path) -> None:
        """Write the weights."""
        save_weights(self, path)

    def load(self, path: Path) -> None:
        """Read the weights."""
        load_weights(self, read_tensors(path)[0], path)
        self.eval()

    def parameters_count(self) -> int:
        """Count the parameters that training moves."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

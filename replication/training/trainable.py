"""A network as a model of the suite: what it must say about itself, and what all networks share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from replication.training.loop import sgd
from replication.training.network import Network
from replication.util.checkpoint import load_weights, read_tensors, save_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from replication.training.model import Job

CHUNK = 64  # windows that are sampled, or whose likelihood is measured, together


class Trainable(Network):
    """A network as a `Model`: names the terms of its loss, draws samples chunk by chunk, and is kept in safetensors."""

    @abstractmethod
    def draw(self, indices: range, *, seed: int) -> Tensor:
        """Return the samples with these CHUNK indices: (CHUNK, L). The noise of sample i is named by (seed, i)."""

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

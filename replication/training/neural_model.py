"""`NeuralModel`: a network that is trained by the training loop, as a `Model` of the suite."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from replication.training.loop import train_network
from replication.training.model import Network
from replication.util.checkpoint import load_weights, read_tensors, save_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from replication.training.model import Job

CHUNK = 64  # windows that are sampled, or whose likelihood is measured, at a time


class NeuralModel(Network):
    """A network with the methods of `Model`. Subclasses define `terms`, `draw_chunk` and `nll`."""

    @abstractmethod
    def draw_chunk(self, indices: range, *, seed: int) -> Tensor:
        """Return the samples with these CHUNK indices, (CHUNK, L). The noise of sample i is named by (seed, i)."""

    def fit(self, job: Job) -> None:
        """Train, and keep the average of the weights; see `train_network`."""
        self.load_state_dict(train_network(self, job).state_dict())
        self.eval()

    @torch.no_grad()
    def sample(self, indices: Sequence[int], *, seed: int) -> Tensor:
        """Return the samples with these indices, (len(indices), L), on the CPU.

        Samples are always drawn in the same chunks of CHUNK. The bits of a matrix product depend on its size, so that a
        sample would otherwise depend on which others are drawn with it.
        """
        chunks = {
            number: self.draw_chunk(range(number * CHUNK, (number + 1) * CHUNK), seed=seed).cpu()
            for number in dict.fromkeys(index // CHUNK for index in indices)
        }
        return torch.stack([chunks[index // CHUNK][index % CHUNK] for index in indices])

    def save(self, path: Path) -> None:
        """Write the weights."""
        save_weights(self, path)

    def load(self, path: Path) -> None:
        """Read the weights and switch to evaluation mode."""
        load_weights(self, read_tensors(path)[0], path)
        self.eval()

    def parameters_count(self) -> int:
        """Return the number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

"""The paper's model before training, to show what its sampler gives without training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from replication.models.diffusion_lm import DiffusionLM
from replication.models.embeddings import Learned

if TYPE_CHECKING:
    from replication.training.model import Job
    from replication.training.scales import Scale


class Untrained(DiffusionLM):
    """An end-to-end Diffusion-LM with its initial weights."""

    def __init__(self, *, vocabulary: int, scale: Scale) -> None:
        super().__init__(Learned(), vocabulary=vocabulary, scale=scale)

    def fit(self, job: Job) -> None:
        """Initialise the embeddings as training does, and do not train."""
        vocabulary, dimension = self.embedding.weight.shape
        with torch.no_grad():
            self.embedding.weight.copy_(self.arm.table(job, vocabulary=vocabulary, dimension=dimension))
        self.eval()

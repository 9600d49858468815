"""The paper's model before training: what its sampler makes of weights that have learnt nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from replication.models.diffusion_lm import DiffusionLM
from replication.models.embeddings import Learned

if TYPE_CHECKING:
    from replication.training.model import Job
    from replication.training.scales import Scale


class Untrained(DiffusionLM):
    """Diffusion-LM, end-to-end, with the weights as initialised."""

    def __init__(self, *, vocabulary: int, scale: Scale) -> None:
        super().__init__(Learned(), vocabulary=vocabulary, scale=scale)

    def fit(self, job: Job) -> None:
        """Make the embedding table, where training would start."""
        vocabulary, dimension = self.embedding.weight.shape
        with torch.no_grad():
            self.embedding.weight.copy_(self.arm.table(job, vocabulary=vocabulary, dimension=dimension))
        self.eval()

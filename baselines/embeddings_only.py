"""Embeddings and a rounding head trained alone, without a denoiser: what a small rounding loss is worth by itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.diffusion.rounding import nearest
from replication.models.embeddings import Learned
from replication.training.model import Likelihood
from replication.training.neural_model import NeuralModel
from replication.util.generators import generator

if TYPE_CHECKING:
    from replication.training.model import Job
    from replication.training.scales import Scale

DRAWS = 1024  # of the noise of a position, for the likelihood bound of a window


class EmbeddingsOnly(NeuralModel):
    """The embeddings E and the rounding head of Diffusion-LM, trained on its rounding loss alone.

    It has no denoiser, so the x_0 that it samples is pure noise. Its positions are independent draws z ~ N(0, I) in the
    space of the embeddings, each rounded to the nearest embedding as Diffusion-LM's last step does.

    Args:
        vocabulary: Number of words V.
        scale: Dimension d, schedule and budget; its backbone is not used.
    """

    alpha_bar: Tensor

    def __init__(self, *, vocabulary: int, scale: Scale) -> None:
        super().__init__()
        self.scale = scale
        self.embedding = nn.Embedding(vocabulary, scale.dimension)
        self.rounding_bias = nn.Parameter(torch.zeros(vocabulary))
        self.register_buffer("alpha_bar", torch.from_numpy(scale.schedule.alpha_bar(scale.timesteps)), persistent=False)

    def fit(self, job: Job) -> None:
        """Initialise the embeddings as the end-to-end arm does, and train; see `train_network`."""
        vocabulary, dimension = self.embedding.weight.shape
        with torch.no_grad():
            self.embedding.weight.copy_(Learned().table(job, vocabulary=vocabulary, dimension=dimension))
        super().fit(job)

    def noise(self, tokens: Tensor, *, random: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the noise of x_0 (B, L, d)."""
        shape = (*tokens.shape, self.embedding.embedding_dim)
        return (torch.randn(shape, generator=random, device=tokens.device, dtype=self.embedding.weight.dtype),)

    def terms(self, tokens: Tensor, *noise: Tensor) -> dict[str, Tensor]:
        """Return the rounding term of `DiffusionLM.terms`, the whole loss.

        Args:
            tokens: (B, L) token ids w.
            noise: Noise of x_0, (B, L, d).
        """
        (start_noise,) = noise
        x_start = self.embedding(tokens) + (1 - self.alpha_bar[0].float()).sqrt() * start_noise
        return {"rounding": F.cross_entropy(self.rounding_logits(x_start).flatten(0, 1), tokens.flatten())}

    def rounding_logits(self, x_start: Tensor) -> Tensor:
        """Return the logits (B, L, V) of the rounding head for x_0 (B, L, d), in the precision of x_0."""
        table, bias = self.embedding.weight.to(x_start.dtype), self.rounding_bias.to(x_start.dtype)
        with torch.autocast(x_start.device.type, enabled=False):
            return x_start @ table.T + bias

    @torch.no_grad()
    def nll(self, tokens: Tensor, *, seed: int) -> Likelihood:
        """Return an upper bound of -ln p(window) over all L positions, padding included.

        With K = `DRAWS` draws z_k for each window, p(w) = E_z softmax(E z + b)_w is estimated by their mean. The
        expectation of the negative logarithm of a mean is above that of p itself (Burda et al. 2016, equation 8).

        Args:
            tokens: (B, L) token ids.
            seed: Seed of the draws.
        """
        totals, errors = [], []
        for number, words in enumerate(tokens):
            random = generator("likelihood", seed, number, device=tokens.device)
            shape = (DRAWS, self.embedding.embedding_dim)
            z = torch.randn(shape, generator=random, device=tokens.device, dtype=torch.float64)
            chances = self.rounding_logits(z).softmax(-1)  # (K, V)
            mean = chances.mean(0)
            totals.append(-mean[words].log().sum())
            # To first order, each draw adds the sum of its relative deviations at the words of the window.
            errors.append((chances / mean)[:, words].sum(-1).std() / math.sqrt(DRAWS))
        return Likelihood(terms={"rounding": torch.stack(totals)}, exact=False, error=torch.stack(errors))

    def draw_chunk(self, indices: range, *, seed: int) -> Tensor:
        """Draw windows (n, L): noise, rounded to the nearest tokens."""
        table = self.embedding.weight
        shape = (self.scale.length, self.scale.dimension)
        noise = [torch.randn(shape, generator=generator("sample", seed, index)) for index in indices]
        return nearest(table, torch.stack(noise).to(table.device))

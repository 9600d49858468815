"""Diffusion-LM: Gaussian diffusion over token embeddings that are trained together with it (Li et al. 2022).

Symbols: w, tokens (B, L); E, embeddings (V, d); e = E[w], clean embeddings; x_0 = e + sigma_0 noise; x_i, the noised
x_0 at index i of T; abar_i, the signal's fraction of the variance, with sigma_0^2 = 1 - abar_0; f(x_i, i), the network,
which predicts x_0.

`DiffusionLM` holds the network, the training loss and the sampler; `replication.models.bound` has its likelihood.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.diffusion.rounding import nearest
from replication.models.bound import Chain, Interpolated, nll_bounds
from replication.models.transformer import Transformer
from replication.training.model import Likelihood
from replication.training.neural_model import CHUNK, NeuralModel
from replication.training.precision import accelerated
from replication.util.generators import generator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replication.models.bound import Estimator
    from replication.models.embeddings import Embedding
    from replication.training.model import Job
    from replication.training.scales import Scale


class DiffusionLM(NeuralModel):
    """The network f, its embeddings, its training loss, its likelihood bound and its sampler.

    The architecture is the published one (method and code of Li et al.). Sinusoids of i * 1000 / T pass through a
    two-layer network. Two-layer networks with tanh, d -> H -> H and H -> H -> d, enclose the Transformer. The rounding
    head has a bias, and its weight is the embedding table.

    Args:
        arm: Choice of the embeddings.
        vocabulary: Number of words V.
        scale: Sizes, schedule, sampler and budget.
        clean_start: Whether the chain starts from the clean embeddings, as the official code trains frozen ones: x_0
            is e without noise, and the loss is the squared error alone. Trained embeddings would collapse.

    Raises:
        ValueError: If trained embeddings are to start clean.
    """

    alpha_bar: Tensor

    def __init__(self, arm: Embedding, *, vocabulary: int, scale: Scale, clean_start: bool = False) -> None:
        super().__init__()
        if clean_start and arm.trainable:
            raise ValueError(f"{arm} cannot start clean: without the rounding term, trained embeddings collapse")
        self.arm, self.scale, self.clean_start = arm, scale, clean_start
        width, dimension = scale.backbone.width, scale.dimension
        self.embedding = nn.Embedding(vocabulary, dimension)
        self.embedding.weight.requires_grad_(arm.trainable)
        self.rounding_bias = nn.Parameter(torch.zeros(vocabulary), requires_grad=not clean_start)
        self.time = nn.Sequential(nn.Linear(TIME_WIDTH, 4 * TIME_WIDTH), nn.SiLU(), nn.Linear(4 * TIME_WIDTH, width))
        self.up = nn.Sequential(nn.Linear(dimension, width), nn.Tanh(), nn.Linear(width, width))
        self.transformer = Transformer(scale.backbone, length=scale.length, causal=False)
        self.down = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, dimension))
        # In double precision, because the bound divides by differences of these values.
        self.register_buffer("alpha_bar", torch.from_numpy(scale.schedule.alpha_bar(scale.timesteps)), persistent=False)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """Predict x_0 (B, L, d) from x_i (B, L, d) and i (B,)."""
        time = self.time(time_features(index * (1000 / self.scale.timesteps)))  # (B, H)
        return torch.as_tensor(self.down(self.transformer(self.up(x) + time[:, None])))

    def noise(self, tokens: Tensor, *, random: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the noise of x_0 (B, L, d), the index i (B,) and the noise of x_i (B, L, d)."""
        like = self.embedding.weight.new_empty(*tokens.shape, self.embedding.embedding_dim)
        start_noise = standard_normal(like, random)
        index = torch.randint(len(self.alpha_bar), (len(tokens),), generator=random, device=tokens.device)
        return start_noise, index, standard_normal(like, random)

    def terms(self, tokens: Tensor, *noise: Tensor) -> dict[str, Tensor]:
        """Return the published loss as named terms (Li et al. 2022, equation 2 and appendix; weights 1, means over d).

        mse: Squared error of f against the noisy x_0, or at i = 0 against the clean embedding. No gradient is stopped,
            as published.
        rounding: Cross-entropy of w given x_0, in nats. It is given the true, barely noised embedding, so it says
            nothing about generation. It is the paper's "bits per word".
        prior: Mean square of sqrt(abar_T) x_0, about 1e-7.

        With a clean start, x_0 is e and mse is the only term.

        Args:
            tokens: (B, L) token ids w.
            noise: Noise and index as `noise` draws them.
        """
        # Forward process: w -> e -> x_0 -> x_i.
        clean = self.embedding(tokens)
        abar = self.alpha_bar.float()
        start_noise, index, step_noise = noise
        x_start = clean if self.clean_start else clean + (1 - abar[0]).sqrt() * start_noise
        abar_i = abar[index, None, None]
        x = abar_i.sqrt() * x_start + (1 - abar_i).sqrt() * step_noise
        # Loss terms.
        target = torch.where(index[:, None, None] == 0, clean, x_start)
        mse = (target - self(x, index)).float().pow(2).mean()
        if self.clean_start:
            return {"mse": mse}
        return {
            "mse": mse,
            "rounding": F.cross_entropy(self.rounding_logits(x_start).flatten(0, 1), tokens.flatten()),
            "prior": (abar[-1] * x_start.pow(2)).mean(),
        }

    def rounding_logits(self, x_start: Tensor) -> Tensor:
        """Return the logits (B, L, V) of the rounding head for x_0 (B, L, d), in the precision of x_0."""
        table, bias = self.embedding.weight.to(x_start.dtype), self.rounding_bias.to(x_start.dtype)
        # Not in bfloat16, which represents only whole numbers at 128 and above.
        with torch.autocast(x_start.device.type, enabled=False):
            return x_start @ table.T + bias

    def monitors(self) -> dict[str, float]:
        """Return the size of the embeddings and their smallest distance; see `embedding_spread`."""
        return embedding_spread(self.embedding.weight, (1 - self.alpha_bar[0]).sqrt())

    def fit(self, job: Job) -> None:
        """Initialise the embeddings as the arm does, and train with the model's own scale; see `train_network`."""
        vocabulary, dimension = self.embedding.weight.shape
        table = self.arm.table(job, vocabulary=vocabulary, dimension=dimension)
        with torch.no_grad():
            self.embedding.weight.copy_(table)
        super().fit(replace(job, scale=self.scale))

    def nll(self, tokens: Tensor, *, seed: int) -> Likelihood:
        """Return the bound of the default estimator, `Interpolated()`; see `bounds`."""
        return self.bounds(tokens, (Interpolated(),), seed=seed)[Interpolated()]

    @torch.no_grad()
    def bounds(
        self, tokens: Tensor, estimators: Sequence[Estimator], *, seed: int, every_timestep: bool = False
    ) -> dict[Estimator, Likelihood]:
        """Return upper bounds of -ln p(window) over all L positions, padding included; see `nll_bounds`.

        Args:
            tokens: (B, L) token ids.
            estimators: Estimators of the bounds, which share all noise and all evaluations of the network.
            seed: Seed of the noise and of the timesteps.
            every_timestep: Whether to use every timestep once, without an error, instead of drawing as many as the
                scale has strata.
        """
        start_variance = torch.zeros_like(self.alpha_bar[0]) if self.clean_start else 1 - self.alpha_bar[0]
        chain = Chain(self.embedding.weight.double(), self.alpha_bar, start_variance=start_variance)
        whole = len(tokens) % CHUNK == 0  # a smaller last chunk would have to be compiled on its own
        denoise = self._denoiser(compiled=whole)
        drawn = {"strata": min(max(1, self.scale.strata // DRAWS), self.scale.timesteps - 1), "draws": DRAWS}
        drawn = {"strata": self.scale.timesteps - 1, "draws": 1} if every_timestep else drawn
        parts = []
        for number, part in enumerate(torch.split(tokens, CHUNK)):
            random = generator("likelihood", seed, number, device=tokens.device)
            parts.append(nll_bounds(denoise, chain, part, random, estimators=estimators, **drawn))
        return {estimator: Likelihood.joined([part[estimator] for part in parts]) for estimator in parts[0]}

    def draw_chunk(self, indices: range, *, seed: int) -> Tensor:
        """Draw windows (CHUNK, L) with the scale's sampler; each x_0 becomes the nearest tokens."""
        table = self.embedding.weight
        randoms = [generator("sample", seed, index) for index in indices]
        shape = (self.scale.length, self.scale.dimension)

        def noise() -> Tensor:
            # Always drawn on the CPU, so that every device starts from the same noise.
            return torch.stack([torch.randn(shape, generator=random) for random in randoms]).to(table.device)

        return nearest(table, self.scale.sampler(self._denoiser(), table, self.alpha_bar, noise))

    def _denoiser(self, *, compiled: bool = True) -> Callable[[Tensor, float | Tensor], Tensor]:
        """Return f as a function of x_i (B, L, d) and i, a number or (B,); x_i may have any precision."""
        weights = self.rounding_bias
        budget = self.scale.budget
        network = accelerated(self.forward, replace(budget, compile=budget.compile and compiled), weights.device)

        def denoise(x: Tensor, index: float | Tensor) -> Tensor:
            # Made on the device, without a transfer.
            times = torch.zeros(len(x), dtype=weights.dtype, device=x.device) + index
            return network(x.to(weights.dtype), times).to(x.dtype)

        return denoise


TIME_WIDTH = 128
DRAWS = 2  # timesteps of a stratum of the bound: the fewest whose spread shows the error


def time_features(t: Tensor) -> Tensor:
    """Return cosines and sines (B, 128) of the times (B,) in 0..1000, as published."""
    half = TIME_WIDTH // 2
    frequency = 10_000 ** (-torch.arange(half, device=t.device) / half)
    angle = t[:, None].float() * frequency
    return torch.cat((angle.cos(), angle.sin()), dim=-1)


@torch.no_grad()
def embedding_spread(table: Tensor, sigma_0: Tensor | float) -> dict[str, float]:
    """Measure the size of the embeddings and their smallest distance.

    Args:
        table: (V, d) embeddings.
        sigma_0: Standard deviation of the noise of x_0.

    Returns:
        `embedding/rms`, the largest RMS of an embedding, and `embedding/gap`, the distance between the two nearest
        embeddings in multiples of sigma_0.
    """
    largest, nearest_pair = table.pow(2).mean(1).max().sqrt(), torch.pdist(table).min()
    return {"embedding/rms": largest.item(), "embedding/gap": (nearest_pair / sigma_0).item()}


def standard_normal(like: Tensor, random: torch.Generator) -> Tensor:
    """Return standard normal noise with the shape, dtype and device of a tensor."""
    return torch.randn(like.shape, generator=random, device=like.device, dtype=like.dtype)

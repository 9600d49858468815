"""Diffusion-LM: Gaussian diffusion over token embeddings that are trained together with it (Li et al. 2022).

Symbols: w, tokens (B, L); E, embeddings (V, d); e = E[w], clean embeddings; x_0 = e + sigma_0 noise; x_i, the noised
x_0 at index i of T; abar_i, the signal's fraction of the variance, with sigma_0^2 = 1 - abar_0; f(x_i, i), the network,
which predicts x_0.

`DiffusionLM` holds the network, the training loss and the sampler; `nll_bound` is its likelihood.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.diffusion.rounding import nearest
from replication.models.transformer import Transformer
from replication.training.model import Likelihood
from replication.training.neural_model import CHUNK, NeuralModel
from replication.training.precision import accelerated
from replication.util.generators import generator

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """

    alpha_bar: Tensor

    def __init__(self, arm: Embedding, *, vocabulary: int, scale: Scale) -> None:
        super().__init__()
        self.arm, self.scale = arm, scale
        width, dimension = scale.backbone.width, scale.dimension
        self.embedding = nn.Embedding(vocabulary, dimension)
        self.embedding.weight.requires_grad_(arm.trainable)
        self.rounding_bias = nn.Parameter(torch.zeros(vocabulary))
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

        Args:
            tokens: (B, L) token ids w.
            noise: Noise and index as `noise` draws them.
        """
        # Forward process: w -> e -> x_0 -> x_i.
        clean = self.embedding(tokens)
        abar = self.alpha_bar.float()
        start_noise, index, step_noise = noise
        x_start = clean + (1 - abar[0]).sqrt() * start_noise
        abar_i = abar[index, None, None]
        x = abar_i.sqrt() * x_start + (1 - abar_i).sqrt() * step_noise
        # Loss terms.
        target = torch.where(index[:, None, None] == 0, clean, x_start)
        return {
            "mse": (target - self(x, index)).float().pow(2).mean(),
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

    @torch.no_grad()
    def nll(self, tokens: Tensor, *, seed: int, strata: int | None = None) -> Likelihood:
        """Return an upper bound of -ln p(window) over all L positions, padding included; see `nll_bound`.

        Args:
            tokens: (B, L) token ids.
            seed: Seed of the noise and of the timesteps.
            strata: Timesteps per window; by default those of the scale. With T - 1, every timestep is used once.
        """
        table = self.embedding.weight.double()
        whole = len(tokens) % CHUNK == 0  # a smaller last chunk would have to be compiled on its own
        estimate = clean_estimate(self._denoiser(compiled=whole), table, self.alpha_bar)
        parts = []
        for number, part in enumerate(torch.split(tokens, CHUNK)):
            random = generator("likelihood", seed, number, device=tokens.device)
            parts.append(nll_bound(estimate, table, self.alpha_bar, part, random, strata=strata or self.scale.strata))
        return Likelihood(
            terms={name: torch.cat([part.terms[name] for part in parts]) for name in parts[0].terms},
            exact=False,
            error=torch.cat([part.error for part in parts if part.error is not None]),
        )

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


def nll_bound(
    estimate: Callable[[Tensor, Tensor], Tensor],
    table: Tensor,
    alpha_bar: Tensor,
    tokens: Tensor,
    random: torch.Generator,
    *,
    strata: int,
) -> Likelihood:
    """Return an upper bound of -ln p(w) in nats, as named terms (B,) summed over positions and dimensions.

    The chain starts from the clean embedding e, a deterministic function of w. The noise of x_0 is thus part of the
    noise of x_i:
        nu_i = 1 - abar_i (1 - sigma_0^2), x_i = sqrt(abar_i) e + sqrt(nu_i) noise, SNR_i = abar_i / nu_i
        prior      KL(q(x_{T-1} | w) || N(0, I))
        diffusion  sum_{i=1}^{T-1} (SNR_{i-1} - SNR_i) / 2 ||e - ehat_i||^2   (Kingma et al. 2021, equation 13)
        rounding   E[-ln p(w | x at index 0)], the softmax of the Gaussian densities around the embeddings
    The bound holds for any estimate ehat that is a function of x_i and i.

    Args:
        estimate: Function of x_i (B, L, d) and i (B,) that returns ehat (B, L, d); see `clean_estimate`.
        table: (V, d) embeddings, in double precision.
        alpha_bar: (T,) values of the training schedule, in double precision.
        tokens: (B, L) token ids w.
        random: Generator of the noise and of the timesteps.
        strata: Timesteps drawn per window, one from each of `strata` equal parts of 1..T-1, which is unbiased. With
            T - 1, every timestep is used once.

    Returns:
        The terms, and the standard error of the diffusion term that comes from the drawn timesteps and noise; see
        `_error`.
    """
    nu = _clean_noise_variance(alpha_bar)
    snr = alpha_bar / nu
    clean = table[tokens]
    last = len(alpha_bar) - 1
    prior = 0.5 * (alpha_bar[last] * clean**2 + nu[last] - 1 - nu[last].log()).sum((1, 2))

    parts = []
    for stratum in range(strata):
        u = torch.rand(len(tokens), generator=random, device=tokens.device, dtype=torch.float64)
        index = 1 + ((stratum + u) / strata * last).long().clamp(max=last - 1)
        x = _per_window(alpha_bar.sqrt(), index) * clean + _per_window(nu.sqrt(), index) * standard_normal(
            clean, random
        )
        gain = 0.5 * (snr[index - 1] - snr[index])
        parts.append(gain * (clean - estimate(x, index)).pow(2).sum((1, 2)) * last / strata)
    diffusion = torch.stack(parts)

    x = alpha_bar[0].sqrt() * clean + nu[0].sqrt() * standard_normal(clean, random)
    logits = _token_logits(alpha_bar[0].sqrt() / nu[0] * x, snr[0], table)
    rounding = F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none").sum(1)
    terms = {"prior": prior, "diffusion": diffusion.sum(0), "rounding": rounding}
    return Likelihood(terms=terms, exact=False, error=_error(diffusion))


def _error(parts: Tensor) -> Tensor:
    """Return the standard error (B,) of the sum of independent draws (strata, B), one per stratum; NaN for one stratum.

    Neighbouring strata are treated as one stratum (collapsed strata, Cochran 1977, section 5A.12). If their means
    differ, the error is overestimated, never underestimated. The variance of a sum of m draws is m times that of one.
    """
    if len(parts) == 1:
        return torch.full_like(parts[0], torch.nan)
    pairs = parts.tensor_split(len(parts) // 2)  # one group has three draws if the number is odd
    return torch.stack([len(pair) * pair.var(0) for pair in pairs]).sum(0).sqrt()


def clean_estimate(
    denoise: Callable[[Tensor, Tensor], Tensor], table: Tensor, alpha_bar: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """Convert a network that predicts the noisy x_0 into an estimate of the clean embedding e, for `nll_bound`.

    First, the part of the noise of x_0 that x_i reveals is removed from the prediction f: with a_i = sqrt(abar_i) and
    k_i = a_i sigma_0^2 / nu_i, ehat = (f - k_i x_i) / (1 - k_i a_i).

    Second, at noise so low that x_i alone determines its token, small errors of the network would be multiplied by a
    huge SNR. There ehat is interpolated towards the mean embedding under p(w) ~ N(x_i; a_i E_w, nu_i)
    exp(-||ehat - E_w||^2 / 2), weighted by the 8th power of the largest p(w | x_i). This tightens the bound at no cost.

    Args:
        denoise: Network: a function of x_i (B, L, d) and i (B,) that predicts the noisy x_0 (B, L, d).
        table: (V, d) embeddings, in double precision.
        alpha_bar: (T,) values of the training schedule, in double precision.
    """
    nu = _clean_noise_variance(alpha_bar)
    share = alpha_bar.sqrt() * (1 - alpha_bar[0]) / nu
    single = table.float()  # enough for a mean with weights that sum to 1, and twice as fast

    def estimate(x: Tensor, index: Tensor) -> Tensor:
        signal, revealed = _per_window(alpha_bar.sqrt(), index), _per_window(share, index)
        predicted = (denoise(x, index) - revealed * x) / (1 - revealed * signal)
        observed, snr = _per_window(alpha_bar.sqrt() / nu, index) * x, _per_window(alpha_bar / nu, index)
        certainty = 1 / _unnormalised(_token_logits(observed, snr, table)).sum(-1, keepdim=True) ** 8
        odds = _unnormalised(_token_logits(observed + predicted, snr + 1, table))
        rounded = (odds @ single) / odds.sum(-1, keepdim=True)
        return predicted + certainty * (rounded - predicted)

    return estimate


def _token_logits(observed: Tensor, precision: Tensor, table: Tensor) -> Tensor:
    """Return observed . E_w - precision ||E_w||^2 / 2, (B, L, V), for observed (B, L, d).

    With observed = a x / nu and precision = a^2 / nu this is ln N(x; a E_w, nu) up to a constant that is equal for all
    words.
    """
    return observed @ table.T - precision * (0.5 * table.pow(2).sum(1))


def _unnormalised(logits: Tensor) -> Tensor:
    """Return exp(logits) (..., V) divided by its maximum, in single precision: a softmax before normalisation."""
    return torch.as_tensor((logits - logits.amax(-1, keepdim=True)).float().exp())


def _clean_noise_variance(alpha_bar: Tensor) -> Tensor:
    """Return nu (T,), the variance of x_i around sqrt(abar_i) e, including the noise of x_0."""
    return 1 - alpha_bar * alpha_bar[0]


def _per_window(values: Tensor, index: Tensor) -> Tensor:
    """Return values[index], one factor per window, as (B, 1, 1)."""
    return values[index, None, None]

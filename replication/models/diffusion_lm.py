"""Diffusion-LM: Gaussian diffusion over token embeddings that are trained with it (Li et al. 2022).

Symbols: w tokens (B, L); E the table (V, d), e = E[w]; x_0 = e + sigma_0 noise; x_i its noised version at index i of T;
abar_i the signal's share of the variance; f(x_i, i) the network, which predicts x_0.
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
from replication.training.precision import fast
from replication.training.trainable import CHUNK, Trainable
from replication.util.generators import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from replication.models.embeddings import Embedding
    from replication.training.model import Job
    from replication.training.scales import Scale


class DiffusionLM(Trainable):
    """The network f with its embedding table, its training loss, its likelihood bound and its sampler.

    As published (method and code of Li et al.): sinusoids of t * 1000 / T through a two-layer network, d -> H -> H with
    tanh before the encoder and H -> H -> d after it, and a rounding head whose weight is the table itself, with a bias.
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
        # Double precision: the bound divides by differences of these.
        self.register_buffer("alpha_bar", torch.from_numpy(scale.schedule.alpha_bar(scale.timesteps)), persistent=False)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """Predict x_0 (B, L, d) from x_i (B, L, d) and i (B,)."""
        time = self.time(time_features(index * (1000 / self.scale.timesteps)))  # (B, H)
        return torch.as_tensor(self.down(self.transformer(self.up(x) + time[:, None])))

    def noise(self, tokens: Tensor, *, random: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the noise of x_0, the index i and the noise of x_i: (B, L, d), (B,), (B, L, d)."""
        like = self.embedding.weight.new_empty(*tokens.shape, self.embedding.embedding_dim)
        start = normal(like, random)
        index = torch.randint(len(self.alpha_bar), (len(tokens),), generator=random, device=tokens.device)
        return start, index, normal(like, random)

    def terms(self, tokens: Tensor, *noise: Tensor) -> dict[str, Tensor]:
        """Return the published loss as named terms (Li et al. 2022, equation 2 and appendix; weights 1, means over d).

        `mse` compares f with the noisy x_0, at i = 0 with the clean embedding; nothing is detached, as published.
        `rounding` is the cross-entropy of w given x_0: of the true, barely noised embedding, so it says nothing about
        generation (and is the paper's "bits per word"). `prior` pulls sqrt(abar_T) x_0 to 0 and is about 1e-7.
        """
        clean = self.embedding(tokens)
        abar = self.alpha_bar.float()
        start_noise, index, step_noise = noise
        x_start = clean + (1 - abar[0]).sqrt() * start_noise
        kept = abar[index, None, None]
        x = kept.sqrt() * x_start + (1 - kept).sqrt() * step_noise
        target = torch.where(index[:, None, None] == 0, clean, x_start)
        return {
            "mse": (target - self(x, index)).float().pow(2).mean(),
            "rounding": F.cross_entropy(self.rounding_logits(x_start).flatten(0, 1), tokens.flatten()),
            "prior": (abar[-1] * x_start.pow(2)).mean(),
        }

    def rounding_logits(self, x_start: Tensor) -> Tensor:
        """Return what the rounding head makes of x_0 (B, L, d): (B, L, V), in the precision of x_0."""
        table, bias = self.embedding.weight.to(x_start.dtype), self.rounding_bias.to(x_start.dtype)
        # Never in bfloat16, in which logits of 128 are told apart by whole numbers.
        with torch.autocast(x_start.device.type, enabled=False):
            return x_start @ table.T + bias

    def monitors(self) -> dict[str, float]:
        """Return how far the embeddings have grown and how near they have come to each other; see `spread`."""
        return spread(self.embedding.weight, (1 - self.alpha_bar[0]).sqrt())

    def fit(self, job: Job) -> None:
        """Make the arm's table and train with the model's own scale; see `sgd`."""
        vocabulary, dimension = self.embedding.weight.shape
        table = self.arm.table(job, vocabulary=vocabulary, dimension=dimension)
        with torch.no_grad():
            self.embedding.weight.copy_(table)
        super().fit(replace(job, scale=self.scale))

    @torch.no_grad()
    def nll(self, tokens: Tensor, *, seed: int, strata: int | None = None) -> Likelihood:
        """Return an upper bound of -ln p(window) over all L positions, padding included; see `nll_bound`.

        With `strata` = T - 1 instead of the scale's every timestep is taken once.
        """
        table = self.embedding.weight.double()
        whole = len(tokens) % CHUNK == 0  # a few windows are not worth compiling for their number
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

    def draw(self, indices: range, *, seed: int) -> Tensor:
        """Walk from noise to windows (CHUNK, L) with the scale's sampler."""
        table = self.embedding.weight
        randoms = [generator("sample", seed, index) for index in indices]
        shape = (self.scale.length, self.scale.dimension)

        def noise() -> Tensor:
            # On the CPU whatever the device, so that all machines start from the same noise.
            return torch.stack([torch.randn(shape, generator=random) for random in randoms]).to(table.device)

        return nearest(table, self.scale.sampler(self._denoiser(), table, self.alpha_bar, noise))

    def _denoiser(self, *, compiled: bool = True) -> Callable[[Tensor, float | Tensor], Tensor]:
        """Return the network as a function of x_i, of any precision, and of i, for the whole batch or for each (B,)."""
        weights = self.rounding_bias
        budget = self.scale.budget
        network = fast(self.forward, replace(budget, compile=budget.compile and compiled), weights.device)

        def denoise(x: Tensor, index: float | Tensor) -> Tensor:
            times = torch.zeros(len(x), dtype=weights.dtype, device=x.device) + index  # made there: nothing to wait for
            return network(x.to(weights.dtype), times).to(x.dtype)

        return denoise


TIME_WIDTH = 128


def time_features(t: Tensor) -> Tensor:
    """Return cosines and sines (B, 128) of times (B,) in 0..1000, as published."""
    half = TIME_WIDTH // 2
    frequency = 10_000 ** (-torch.arange(half, device=t.device) / half)
    angle = t[:, None].float() * frequency
    return torch.cat((angle.cos(), angle.sin()), dim=-1)


@torch.no_grad()
def spread(table: Tensor, sigma_0: Tensor | float) -> dict[str, float]:
    """Return `embedding/rms`, the largest RMS of an embedding of (V, d), and `embedding/gap`.

    That is the distance of the two nearest embeddings, in multiples of the deviation of the noise of x_0.
    """
    largest, nearest_pair = table.pow(2).mean(1).max().sqrt(), torch.pdist(table).min()
    return {"embedding/rms": largest.item(), "embedding/gap": (nearest_pair / sigma_0).item()}


def normal(like: Tensor, random: torch.Generator) -> Tensor:
    """Return standard normal noise of the shape, type and device of a tensor."""
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
    """Return an upper bound of -ln p(w) in nats as named terms (B,), summed over positions and dimensions.

    The chain starts from the clean embedding e, a fixed map of w, so that the noise of x_0 is part of the noise of x_i:
        nu_i = 1 - abar_i (1 - sigma_0^2), x_i = sqrt(abar_i) e + sqrt(nu_i) noise, SNR_i = abar_i / nu_i
        prior      KL(q(x_{T-1} | w) || N(0, I))
        diffusion  sum_{i=1}^{T-1} (SNR_{i-1} - SNR_i) / 2 ||e - ehat_i||^2   (Kingma et al. 2021, equation 13)
        rounding   E[-ln p(w | x at index 0)], the softmax of the Gaussian densities around the embeddings
    It holds for any ehat that is a function of x_i and i.

    Args:
        estimate: from x_i (B, L, d) and i (B,) to ehat (B, L, d); see `clean_estimate`.
        table: (V, d) embeddings, double precision.
        alpha_bar: (T,) of the training schedule, double precision.
        tokens: (B, L).
        random: source of the noise and of the timesteps.
        strata: timesteps drawn per window, one from each of as many equal parts of 1..T-1: unbiased. T - 1 of them are
            all timesteps, each once.

    Returns:
        The terms, and the standard error that the diffusion term has from its timesteps and noise; see `_error`.
    """
    nu = _noise_of_clean(alpha_bar)
    snr = alpha_bar / nu
    clean = table[tokens]
    last = len(alpha_bar) - 1
    prior = 0.5 * (alpha_bar[last] * clean**2 + nu[last] - 1 - nu[last].log()).sum((1, 2))

    parts = []
    for stratum in range(strata):
        u = torch.rand(len(tokens), generator=random, device=tokens.device, dtype=torch.float64)
        index = 1 + ((stratum + u) / strata * last).long().clamp(max=last - 1)
        x = _scale(alpha_bar.sqrt(), index) * clean + _scale(nu.sqrt(), index) * normal(clean, random)
        gain = 0.5 * (snr[index - 1] - snr[index])
        parts.append(gain * (clean - estimate(x, index)).pow(2).sum((1, 2)) * last / strata)
    diffusion = torch.stack(parts)

    x = alpha_bar[0].sqrt() * clean + nu[0].sqrt() * normal(clean, random)
    logits = _evidence(alpha_bar[0].sqrt() / nu[0] * x, snr[0], table)
    rounding = F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none").sum(1)
    terms = {"prior": prior, "diffusion": diffusion.sum(0), "rounding": rounding}
    return Likelihood(terms=terms, exact=False, error=_error(diffusion))


def _error(parts: Tensor) -> Tensor:
    """Return the standard error (B,) of the sum of independent draws (strata, B), one from each stratum; NaN for one.

    Neighbours are taken for draws from one stratum (collapsed strata, Cochran 1977, section 5A.12): where their means
    differ the error comes out too large, never too small. The variance of a sum of m such draws is m times theirs.
    """
    if len(parts) == 1:
        return torch.full_like(parts[0], torch.nan)
    pairs = parts.tensor_split(len(parts) // 2)  # one of them of three, if the number is odd
    return torch.stack([len(pair) * pair.var(0) for pair in pairs]).sum(0).sqrt()


def clean_estimate(
    denoise: Callable[[Tensor, Tensor], Tensor], table: Tensor, alpha_bar: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """Turn a network that predicts the noisy x_0 into an estimate of the clean embedding, for `nll_bound`.

    The part of the noise of x_0 that x_i reveals is taken out of the prediction f: with a_i = sqrt(abar_i) and
    k_i = a_i sigma_0^2 / nu_i it is ehat = (f - k_i x_i) / (1 - k_i a_i).

    Where there is so little noise that x_i by itself names its token, the network's small errors would be multiplied by
    a huge SNR. There ehat gives way, by the 8th power of the largest p(w | x_i alone), to the mean embedding under
    p(w) ~ N(x_i; a_i E_w, nu_i) exp(-||ehat - E_w||^2 / 2): a tighter bound at no cost.
    """
    nu = _noise_of_clean(alpha_bar)
    share = alpha_bar.sqrt() * (1 - alpha_bar[0]) / nu
    single = table.float()  # enough for what adds up to 1, and twice as fast

    def estimate(x: Tensor, index: Tensor) -> Tensor:
        signal, revealed = _scale(alpha_bar.sqrt(), index), _scale(share, index)
        predicted = (denoise(x, index) - revealed * x) / (1 - revealed * signal)
        observed, snr = _scale(alpha_bar.sqrt() / nu, index) * x, _scale(alpha_bar / nu, index)
        certainty = 1 / _odds(_evidence(observed, snr, table)).sum(-1, keepdim=True) ** 8
        odds = _odds(_evidence(observed + predicted, snr + 1, table))
        rounded = (odds @ single) / odds.sum(-1, keepdim=True)
        return predicted + certainty * (rounded - predicted)

    return estimate


def _evidence(observed: Tensor, precision: Tensor, table: Tensor) -> Tensor:
    """Return observed . E_w - precision ||E_w||^2 / 2: (B, L, V) of (B, L, d).

    With observed = a x / nu and precision = a^2 / nu it is ln N(x; a E_w, nu), but for what all words have in common.
    """
    return observed @ table.T - precision * (0.5 * table.pow(2).sum(1))


def _odds(logits: Tensor) -> Tensor:
    """Return exp(logits) over its largest (..., V), in single precision."""
    return torch.as_tensor((logits - logits.amax(-1, keepdim=True)).float().exp())


def _noise_of_clean(alpha_bar: Tensor) -> Tensor:
    """Return nu (T,): the variance of x_i around sqrt(abar_i) e, the noise of x_0 included."""
    return 1 - alpha_bar * alpha_bar[0]


def _scale(values: Tensor, index: Tensor) -> Tensor:
    """Return values[index] as factors (B, 1, 1)."""
    return values[index, None, None]

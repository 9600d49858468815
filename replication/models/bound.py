"""Upper bounds of -ln p(window) under a diffusion over embeddings, each with a named estimator of the embeddings.

Symbols: those of `replication.models.diffusion_lm`. The chain of the bound starts from the clean embedding e, which is
a deterministic function of w. The noise of x_0 is thus part of the noise of x_i:
    nu_i = 1 - abar_i (1 - sigma_0^2), x_i = sqrt(abar_i) e + sqrt(nu_i) noise, SNR_i = abar_i / nu_i
    prior      KL(q(x_{T-1} | w) || N(0, I))
    diffusion  sum_{i=1}^{T-1} (SNR_{i-1} - SNR_i) / 2 ||e - ehat_i||^2   (Kingma et al. 2021, equation 13)
    rounding   E[-ln p(w | x at index 0)], the softmax of the Gaussian densities around the embeddings
The bound holds for any estimate ehat that is a function of x_i and i, each of which makes another model of the windows.
An `Estimator` names the function: `Plain` takes the network at its word, and `Interpolated` is a family that corrects
it where x_i alone determines the token.
"""

from __future__ import annotations

from dataclasses import Field, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
import torch.nn.functional as F

from replication.training.model import Likelihood

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

ROUNDING_DRAWS = 8  # draws of x at index 0 per window: several, so that the error of their mean is known


class Estimator(Protocol):
    """A frozen dataclass: an estimate of the clean embeddings, given what x_i and the network tell."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __call__(self, evidence: Evidence) -> Tensor:
        """Return ehat (B, L, d), a function of x_i and i only."""


@dataclass(frozen=True)
class Plain:
    """The network's prediction of e as it is. At low noise, its small errors are multiplied by a huge SNR."""

    def __call__(self, evidence: Evidence) -> Tensor:  # noqa: D102 - see Estimator
        return evidence.predicted


@dataclass(frozen=True, kw_only=True)
class Interpolated:
    """The network's prediction f of e, drawn towards a mean of the embeddings where x_i alone determines the token.

    ehat = f + c^power (m - f). Here c is the largest p(w | x_i), and m is the mean embedding under
    p(w) ~ N(x_i; sqrt(abar_i) E_w, nu_i) exp(-||f - E_w||^2 / (2 variance)). At power 0 it is m everywhere; as the
    power grows it becomes `Plain`.

    The defaults are for uses that choose nothing; on validation windows of Bach two of three arms choose them.

    Attributes:
        power: Power of c, 0 or more.
        variance: Variance of the prediction per dimension that m assumes.
    """

    power: float = 2.0
    variance: float = 1.0

    def __call__(self, evidence: Evidence) -> Tensor:  # noqa: D102 - see Estimator
        drawn = evidence.rounded(self.variance) - evidence.predicted
        return evidence.predicted + evidence.certainty**self.power * drawn


class Chain:
    """The noise levels of the bound's chain.

    Args:
        table: (V, d) embeddings E, in double precision.
        alpha_bar: (T,) values of the training schedule, in double precision.
        start_variance: sigma_0^2, the variance of the noise of x_0 that the network was trained with; 0 if there was
            none.
    """

    def __init__(self, table: Tensor, alpha_bar: Tensor, *, start_variance: Tensor) -> None:
        self.table = table
        self.signal = alpha_bar.sqrt()  # (T,)
        self.nu = 1 - alpha_bar * (1 - start_variance)
        self.snr = alpha_bar / self.nu
        self.revealed = self.signal * start_variance / self.nu
        self.single = table.float()  # enough for a mean with weights that sum to 1, and twice as fast

    def noisy(self, clean: Tensor, index: Tensor, random: torch.Generator) -> Tensor:
        """Draw x_i (B, L, d) for clean embeddings (B, L, d) and i (B,)."""
        noise = torch.randn(clean.shape, generator=random, device=clean.device, dtype=clean.dtype)
        return _per_window(self.signal, index) * clean + _per_window(self.nu.sqrt(), index) * noise


class Evidence:
    """What x_i and the network tell about the clean embeddings. What several estimators use is computed once.

    The network predicts x_0 with its noise, a part of which x_i reveals. That part is removed from the prediction f:
    with a_i = sqrt(abar_i) and k_i = a_i sigma_0^2 / nu_i, e is predicted as (f - k_i x_i) / (1 - k_i a_i). Without
    noise of x_0 this is f.

    Args:
        chain: The noise levels.
        x: (B, L, d) noisy embeddings x_i.
        index: (B,) indices i.
        prediction: (B, L, d) the network's prediction f of x_0.
    """

    def __init__(self, chain: Chain, x: Tensor, index: Tensor, prediction: Tensor) -> None:
        self._chain, self._snr = chain, _per_window(chain.snr, index)
        revealed, signal = _per_window(chain.revealed, index), _per_window(chain.signal, index)
        self.predicted = (prediction - revealed * x) / (1 - revealed * signal)
        self._observed = _per_window(chain.signal / chain.nu, index) * x
        self._rounded: dict[float, Tensor] = {}

    @cached_property
    def certainty(self) -> Tensor:
        """Largest p(w | x_i) over the words, (B, L, 1)."""
        return 1 / _unnormalised(_token_logits(self._observed, self._snr, self._chain.table)).sum(-1, keepdim=True)

    def rounded(self, variance: float) -> Tensor:
        """Return the mean embedding m (B, L, d) for a variance of the prediction; see `Interpolated`."""
        if variance not in self._rounded:
            observed = self._observed + self.predicted / variance
            odds = _unnormalised(_token_logits(observed, self._snr + 1 / variance, self._chain.table))
            self._rounded[variance] = (odds @ self._chain.single) / odds.sum(-1, keepdim=True)
        return self._rounded[variance]


def nll_bounds(
    denoise: Callable[[Tensor, Tensor], Tensor],
    chain: Chain,
    tokens: Tensor,
    random: torch.Generator,
    *,
    estimators: Sequence[Estimator],
    strata: int,
) -> dict[Estimator, Likelihood]:
    """Return an upper bound of -ln p(w) in nats for each estimator, as named terms (B,) summed over positions.

    All estimators see the same noise and the same evaluations of the network.

    Args:
        denoise: Network: a function of x_i (B, L, d) and i (B,) that predicts x_0 (B, L, d).
        chain: Embeddings and noise levels.
        tokens: (B, L) token ids w.
        random: Generator of the noise and of the timesteps.
        estimators: Estimators of the clean embeddings.
        strata: Timesteps drawn per window, one from each of `strata` equal parts of 1..T-1, which is unbiased. With
            T - 1, every timestep is used once.

    Returns:
        The terms by estimator, and the standard error of their sum from all that is drawn: the timesteps and the noise
        of the diffusion term (see `_error`), and the noise of the rounding term. The prior has none.
    """
    nu, snr = chain.nu, chain.snr
    clean = chain.table[tokens]
    last = len(nu) - 1
    prior = 0.5 * (chain.signal[last] ** 2 * clean**2 + nu[last] - 1 - nu[last].log()).sum((1, 2))

    parts: dict[Estimator, list[Tensor]] = {estimator: [] for estimator in estimators}
    for stratum in range(strata):
        u = torch.rand(len(tokens), generator=random, device=tokens.device, dtype=torch.float64)
        index = 1 + ((stratum + u) / strata * last).long().clamp(max=last - 1)
        x = chain.noisy(clean, index, random)
        evidence = Evidence(chain, x, index, denoise(x, index))
        weight = 0.5 * (snr[index - 1] - snr[index]) * last / strata
        for estimator, found in parts.items():
            found.append(weight * (clean - estimator(evidence)).pow(2).sum((1, 2)))

    first = torch.zeros_like(tokens[:, 0])
    draws = torch.stack([_rounding(chain, tokens, chain.noisy(clean, first, random)) for _ in range(ROUNDING_DRAWS)])
    rounding, rounding_variance = draws.mean(0), draws.var(0) / ROUNDING_DRAWS
    bounds = {}
    for estimator, found in parts.items():
        diffusion = torch.stack(found)
        terms = {"prior": prior, "diffusion": diffusion.sum(0), "rounding": rounding}
        error = (_error(diffusion) ** 2 + rounding_variance).sqrt()
        bounds[estimator] = Likelihood(terms=terms, exact=False, error=error)
    return bounds


def _rounding(chain: Chain, tokens: Tensor, x: Tensor) -> Tensor:
    """Return -ln p(w | x) (B,) for x (B, L, d) at index 0, summed over positions."""
    logits = _token_logits(chain.signal[0] / chain.nu[0] * x, chain.snr[0], chain.table)
    return F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none").sum(1)


def _error(parts: Tensor) -> Tensor:
    """Return the standard error (B,) of the sum of independent draws (strata, B), one per stratum; NaN for one stratum.

    Neighbouring strata are treated as one stratum (collapsed strata, Cochran 1977, section 5A.12). If their means
    differ, the error is overestimated, never underestimated. The variance of a sum of m draws is m times that of one.
    """
    if len(parts) == 1:
        return torch.full_like(parts[0], torch.nan)
    pairs = parts.tensor_split(len(parts) // 2)  # one group has three draws if the number is odd
    return torch.stack([len(pair) * pair.var(0) for pair in pairs]).sum(0).sqrt()


def _token_logits(observed: Tensor, precision: Tensor, table: Tensor) -> Tensor:
    """Return observed . E_w - precision ||E_w||^2 / 2, (B, L, V), for observed (B, L, d).

    With observed = a x / nu and precision = a^2 / nu this is ln N(x; a E_w, nu) up to a constant that is equal for all
    words.
    """
    return observed @ table.T - precision * (0.5 * table.pow(2).sum(1))


def _unnormalised(logits: Tensor) -> Tensor:
    """Return exp(logits) (..., V) divided by its maximum, in single precision: a softmax before normalisation."""
    return torch.as_tensor((logits - logits.amax(-1, keepdim=True)).float().exp())


def _per_window(values: Tensor, index: Tensor) -> Tensor:
    """Return values[index], one factor per window, as (B, 1, 1)."""
    return values[index, None, None]

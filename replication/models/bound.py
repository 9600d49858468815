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

import itertools
from dataclasses import Field, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
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
    draws: int,
) -> dict[Estimator, Likelihood]:
    """Return an upper bound of -ln p(w) in nats for each estimator, as named terms (B,) summed over positions.

    All estimators see the same noise and the same evaluations of the network.

    Args:
        denoise: Network: a function of x_i (B, L, d) and i (B,) that predicts x_0 (B, L, d).
        chain: Embeddings and noise levels.
        tokens: (B, L) token ids w.
        random: Generator of the noise and of the timesteps.
        estimators: Estimators of the clean embeddings.
        strata: Parts that the timesteps 1..T-1 are cut into; see `stratum_edges`. With T - 1, every timestep is one.
        draws: Timesteps drawn per window from each part, which is unbiased.

    Returns:
        The terms by estimator, and the standard error of their sum from all that is drawn: the timesteps and the noise
        of the diffusion term, and the noise of the rounding term. The prior has none. With one draw the error is NaN.
    """
    nu, snr = chain.nu, chain.snr
    clean = chain.table[tokens]
    last = len(nu) - 1
    prior = 0.5 * (chain.signal[last] ** 2 * clean**2 + nu[last] - 1 - nu[last].log()).sum((1, 2))

    parts: dict[Estimator, list[Tensor]] = {estimator: [] for estimator in estimators}
    for start, end in itertools.pairwise(stratum_edges(last, strata)):
        for _ in range(draws):
            index = torch.randint(start, end, (len(tokens),), generator=random, device=tokens.device)
            x = chain.noisy(clean, index, random)
            evidence = Evidence(chain, x, index, denoise(x, index))
            weight = 0.5 * (snr[index - 1] - snr[index]) * (end - start)
            for estimator, found in parts.items():
                found.append(weight * (clean - estimator(evidence)).pow(2).sum((1, 2)))

    first = torch.zeros_like(tokens[:, 0])
    rounding = torch.stack([_rounding(chain, tokens, chain.noisy(clean, first, random)) for _ in range(ROUNDING_DRAWS)])
    bounds = {}
    for estimator, found in parts.items():
        diffusion = torch.stack(found).view(strata, draws, -1)
        terms = {"prior": prior, "diffusion": diffusion.mean(1).sum(0), "rounding": rounding.mean(0)}
        error = (_variance(diffusion).sum(0) + _variance(rounding[None])[0]).sqrt()
        bounds[estimator] = Likelihood(terms=terms, exact=False, error=error)
    return bounds


def stratum_edges(last: int, strata: int) -> list[int]:
    """Return the strata of the timesteps 1..last, as the first timestep of each and last + 1.

    Half of them are as for equal parts, where a good estimator has its errors; the widths of the others grow with the
    timestep, since the bound multiplies the errors at i by about 1 / i^2, which alone decides the plain bound. With
    `last` strata, every timestep is one.

    Raises:
        ValueError: Unless 1 <= strata <= last.

    >>> stratum_edges(2000, 8)
    [1, 7, 39, 162, 415, 757, 1147, 1566, 2001]
    """
    if not 1 <= strata <= last:
        raise ValueError(f"{strata} strata are impossible; choose 1 to {last}, the timesteps of the diffusion term")
    timesteps = np.arange(1, last + 2)
    reached = ((timesteps - 1) / last + np.log(timesteps) / np.log(last + 1)) / 2
    edges = [1]
    for quantile in np.interp(np.arange(1, strata + 1) / strata, reached, timesteps):
        edges.append(max(edges[-1] + 1, round(quantile)))
    return edges


def _rounding(chain: Chain, tokens: Tensor, x: Tensor) -> Tensor:
    """Return -ln p(w | x) (B,) for x (B, L, d) at index 0, summed over positions."""
    logits = _token_logits(chain.signal[0] / chain.nu[0] * x, chain.snr[0], chain.table)
    return F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none").sum(1)


def _variance(draws: Tensor) -> Tensor:
    """Return the variance (strata, B) of the mean of independent draws (strata, draws, B); NaN for one draw."""
    if draws.shape[1] == 1:
        return torch.full_like(draws[:, 0], torch.nan)
    return draws.var(1) / draws.shape[1]


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

"""Bounds: valid for every estimator, tight for a perfect network, and with an error that covers all that is drawn."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from eval.scoring.likelihood import FAMILY
from replication.diffusion.schedule import Sqrt
from replication.models.bound import Chain, Evidence, Interpolated, Plain, nll_bounds, stratum_edges
from replication.models.diffusion_lm import DiffusionLM
from replication.models.embeddings import Gaussian, Learned
from replication.util.generators import generator, seeded
from tests.support.small_scales import random_windows, small_scale

if TYPE_CHECKING:
    from collections.abc import Callable

    from replication.models.bound import Estimator
    from replication.training.model import Likelihood
    from replication.training.scales import Scale

CHOSEN = Interpolated()
EVERY: tuple[Estimator, ...] = (Plain(), *FAMILY)


@dataclass(frozen=True)
class Zero:
    """The estimate 0, for which the diffusion term has a closed form."""

    def __call__(self, evidence: Evidence) -> Tensor:
        return torch.zeros_like(evidence.predicted)


def chain_of(vocabulary: int, dimension: int, timesteps: int, *, clean_start: bool = False) -> Chain:
    table = torch.randn(vocabulary, dimension, generator=generator("table"), dtype=torch.float64)
    alpha_bar = torch.from_numpy(Sqrt().alpha_bar(timesteps))
    return Chain(table, alpha_bar, start_variance=(1 - alpha_bar[0]) * (not clean_start))


def bayes(chain: Chain) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the best prediction of x_0 for iid uniform tokens."""

    def denoise(x: Tensor, index: Tensor) -> Tensor:
        signal, nu, revealed = (values[index][:, None, None] for values in (chain.signal, chain.nu, chain.revealed))
        distance = (x[:, :, None] - signal[..., None] * chain.table).pow(2).sum(-1)  # (B, L, V)
        clean = (-distance / (2 * nu)).softmax(-1) @ chain.table
        return clean + revealed * (x - signal * clean)

    return denoise


def model_of(scale: Scale, *, vocabulary: int = 12, clean_start: bool = False) -> DiffusionLM:
    arm = Gaussian() if clean_start else Learned()
    with seeded("test", 0):
        model = DiffusionLM(arm, vocabulary=vocabulary, scale=scale, clean_start=clean_start).eval()
        for parameter in model.transformer.parameters():  # nonzero residual branches
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize("clean_start", [False, True])
@pytest.mark.parametrize(("vocabulary", "dimension"), [(32, 8), (60, 16)])
def test_the_bounds_of_the_bayes_denoiser_are_tight(vocabulary: int, dimension: int, clean_start: bool) -> None:
    chain = chain_of(vocabulary, dimension, 2000, clean_start=clean_start)
    tokens = torch.randint(vocabulary, (128, 8), generator=generator("tokens"))
    some = (Plain(), CHOSEN)
    bounds = nll_bounds(bayes(chain), chain, tokens, generator("bound"), estimators=some, strata=16, draws=2)
    for estimator in some:
        assert bounds[estimator].total.mean().item() / 8 == pytest.approx(math.log(vocabulary), abs=0.07)
    assert bounds[Plain()].total.mean() <= bounds[CHOSEN].total.mean()  # a perfect prediction needs no correction


@pytest.mark.parametrize("clean_start", [False, True])
def test_each_term_of_a_bound_has_its_closed_form(clean_start: bool) -> None:
    # Two words at -c and +c in one dimension, and an estimate that is 0 everywhere.
    c, abar = 0.7, torch.from_numpy(Sqrt().alpha_bar(50))
    sigma = 0 if clean_start else 1 - abar[0]
    table = torch.tensor([[-c], [c]], dtype=torch.float64)
    chain = Chain(table, abar, start_variance=torch.as_tensor(sigma, dtype=torch.float64))
    nu = 1 - abar * (1 - sigma)

    tokens = torch.randint(2, (count := 6000, 5), generator=generator("tokens"))
    bounds = nll_bounds(lambda x, _: x, chain, tokens, generator("bound"), estimators=(Zero(),), strata=49, draws=2)
    terms = bounds[Zero()].terms
    prior = 5 * 0.5 * (abar[-1] * c**2 + nu[-1] - 1 - nu[-1].log())
    torch.testing.assert_close(terms["prior"], prior.expand(count))
    snr = abar / nu
    diffusion = 5 * 0.5 * (snr[0] - snr[-1]) * c**2  # the sum over i telescopes; one timestep per stratum: exact
    torch.testing.assert_close(terms["diffusion"], diffusion.expand(count))
    # -ln p(w | x) of two Gaussians: E softplus(-2 a c (a c + s z) / s^2) with z normal.
    a, s = abar[0].sqrt() * c, nu[0].sqrt()
    z = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    rounding = 5 * torch.trapezoid(density * F.softplus(-2 * a * (a + s * z) / s**2), z)
    assert terms["rounding"].mean().item() == pytest.approx(rounding.item(), rel=0.05)


def test_estimators_are_what_their_formulas_say() -> None:
    chain = chain_of(7, 3, 100)
    index = torch.tensor([1, 30, 90])
    x = chain.noisy(chain.table[torch.randint(7, (3, 4), generator=generator("w"))], index, generator("x"))
    network = torch.randn(x.shape, generator=generator("f"), dtype=torch.float64)
    evidence = Evidence(chain, x, index, network)
    signal, nu, sigma = chain.signal[index], chain.nu[index], 1 - chain.signal[0] ** 2
    share = (signal * sigma / nu)[:, None, None]
    predicted = (network - share * x) / (1 - share * signal[:, None, None])
    given_x = -(x[:, :, None] - signal[:, None, None, None] * chain.table).pow(2).sum(-1) / (2 * nu[:, None, None])
    distance = (predicted[:, :, None] - chain.table).pow(2).sum(-1)
    torch.testing.assert_close(Plain()(evidence), predicted)
    for power, variance in ((0.0, 0.25), (1.0, 1.0), (8.0, 4.0)):
        rounded = (given_x - distance / (2 * variance)).softmax(-1) @ chain.table
        expected = predicted + given_x.softmax(-1).amax(-1, keepdim=True) ** power * (rounded - predicted)
        estimate = Interpolated(power=power, variance=variance)(evidence)
        torch.testing.assert_close(estimate, expected, rtol=1e-5, atol=1e-5)  # the mean is in single precision
    torch.testing.assert_close(Interpolated(power=1e6)(evidence), predicted, rtol=1e-3, atol=1e-3)


def test_estimators_share_all_noise_and_all_evaluations_of_the_network() -> None:
    chain, tokens = chain_of(12, 4, 50), random_windows(6, 9, 12)
    calls: list[Tensor] = []

    def denoise(x: Tensor, index: Tensor) -> Tensor:
        calls.append(index)
        return x

    def bounds(*estimators: Estimator) -> dict[Estimator, Likelihood]:
        return nll_bounds(denoise, chain, tokens, generator("one"), estimators=estimators, strata=5, draws=2)

    together = bounds(*EVERY)
    assert len(calls) == 10
    for estimator in (Plain(), CHOSEN):
        alone = bounds(estimator)[estimator]
        assert torch.equal(alone.total, together[estimator].total)
        assert torch.equal(alone.terms["rounding"], together[Plain()].terms["rounding"])


@pytest.mark.parametrize("estimator", [Plain(), CHOSEN])
def test_few_timesteps_agree_with_all_of_them_within_the_standard_error(estimator: Estimator) -> None:
    chain = chain_of(20, 6, 500)
    tokens = torch.randint(20, (128, 4), generator=generator("tokens"))

    def bound(strata: int, draws: int) -> Likelihood:
        random = generator("bound", strata)
        return nll_bounds(bayes(chain), chain, tokens, random, estimators=(estimator,), strata=strata, draws=draws)[
            estimator
        ]

    few, every = bound(4, 2), bound(499, 1)
    assert few.error is not None
    difference = few.total - every.total
    assert abs(difference.sum() / few.error.norm()) < 3
    assert difference.norm().item() == pytest.approx(few.error.norm().item(), rel=0.3)


@pytest.mark.parametrize("clean_start", [False, True])
@pytest.mark.parametrize("size", [1.0, 0.3])  # the rounding term has no noise; it has most of it
def test_the_error_is_the_deviation_of_the_bound_over_seeds(size: float, clean_start: bool) -> None:
    scale = small_scale(length=6, timesteps=2000, strata=16, dimension=4)
    model = model_of(scale, clean_start=clean_start)
    with torch.no_grad():
        model.embedding.weight.mul_(size)
    windows, draws = random_windows(4, 6, 12), 112  # windows of one call have noise of their own
    for estimator, bound in model.bounds(windows.repeat(draws, 1), (Plain(), CHOSEN), seed=0).items():
        assert bound.error is not None
        totals, stated = bound.total.view(draws, 4).sum(1), bound.error.view(draws, 4).norm(dim=1)
        assert stated.pow(2).mean().sqrt().item() == pytest.approx(totals.std().item(), rel=0.25), estimator


def test_with_all_strata_every_timestep_is_used_once() -> None:
    chain = chain_of(5, 2, 100)
    seen: list[Tensor] = []

    def denoise(x: Tensor, index: Tensor) -> Tensor:
        seen.append(index)
        return x

    nll_bounds(denoise, chain, torch.zeros(3, 4).long(), generator("once"), estimators=(Plain(),), strata=99, draws=1)
    assert torch.equal(torch.stack(seen), torch.arange(1, 100)[:, None].expand(99, 3))


def test_one_draw_has_no_error() -> None:
    bounds = nll_bounds(
        lambda x, _: x,
        chain_of(5, 2, 100),
        torch.zeros(3, 4).long(),
        generator("one"),
        estimators=EVERY,
        strata=9,
        draws=1,
    )
    assert all(bound.error is not None and bound.error.isnan().all() for bound in bounds.values())


@pytest.mark.parametrize("last", [1, 2, 3, 99, 1999])
def test_strata_cover_every_timestep_once_and_are_narrow_at_low_noise(last: int) -> None:
    for strata in sorted({1, (last + 1) // 2, last}):
        edges = stratum_edges(last, strata)
        assert (edges[0], edges[-1], len(edges)) == (1, last + 1, strata + 1)
        widths = [end - start for start, end in itertools.pairwise(edges)]
        assert min(widths) >= 1
        assert widths[0] <= widths[-1]
    with pytest.raises(ValueError, match=f"{last + 1} strata are impossible; choose 1 to {last}"):
        stratum_edges(last, last + 1)


@pytest.mark.parametrize("clean_start", [False, True])
@pytest.mark.parametrize("size", [0.3, 1.5])
def test_the_bounds_of_all_windows_sum_to_at_most_one_for_every_estimator(size: float, clean_start: bool) -> None:
    scale = small_scale(length=2, timesteps=50, strata=49, dimension=3)
    model = model_of(scale, vocabulary=3, clean_start=clean_start)
    with torch.no_grad():
        model.embedding.weight.mul_(size)
    windows = torch.tensor(list(itertools.product(range(3), repeat=2)))
    for estimator, bound in model.bounds(windows.repeat(21, 1), EVERY, seed=0).items():
        assert bound.error is not None
        shares = torch.exp(-bound.total.view(21, 9).mean(0))
        error = (shares * bound.error.view(21, 9).norm(dim=0) / 21).norm()
        assert 0 < (shares.sum() - 3 * error).item() <= 1, estimator

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch

from replication.diffusion.rounding import AsPredicted, Expectation, Nearest, nearest
from replication.diffusion.samplers import DDIM, Ancestral, DPMSolver, Euler, Renoised
from replication.diffusion.schedule import NoiseLevel, Sqrt
from replication.diffusion.selection import MinimumBayesRisk
from replication.models.diffusion_lm import DiffusionLM
from replication.models.embeddings import Learned
from replication.util.errors import UserError
from replication.util.files import describe
from replication.util.generators import generator, seeded
from tests.support.small_scales import small_scale

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from replication.diffusion.samplers import IterativeSampler, Sampler

FREE = AsPredicted()
EXACT: tuple[type[IterativeSampler], ...] = (
    Ancestral,
    DDIM,
    DPMSolver,
    Euler,
)  # exact in the limit of many steps, with the exact denoiser
EVERY: tuple[type[IterativeSampler], ...] = (*EXACT, Renoised)
EMPTY = torch.empty(0, 1)  # a table that is not used
ALPHA_BAR = torch.from_numpy(Sqrt().alpha_bar(2000))
MEAN, VARIANCE = 0.8, 0.4


def normal_noise(n: int, *, length: int = 1, dimension: int = 1, key: str = "noise") -> Callable[[], Tensor]:
    random = generator(key)
    return lambda: torch.randn(n, length, dimension, generator=random, dtype=torch.float64)


def of_gaussian(alpha_bar: Tensor) -> Callable[[Tensor, float], Tensor]:
    """Return E[x_0 | x_i] for data N(MEAN, VARIANCE)."""

    def denoise(x: Tensor, index: float) -> Tensor:
        kept = alpha_bar[int(index)].item()
        gain = math.sqrt(kept) * VARIANCE / (kept * VARIANCE + 1 - kept)
        return MEAN + gain * (x - math.sqrt(kept) * MEAN)

    return denoise


def of_words(table: Tensor, shares: Tensor, alpha_bar: Tensor) -> Callable[[Tensor, float], Tensor]:
    """Return E[x_0 | x_i] for iid words at their embeddings."""

    def denoise(x: Tensor, index: float) -> Tensor:
        kept = alpha_bar[int(index)]
        distances = (x[..., None, :] - kept.sqrt() * table).pow(2).sum(-1)
        return (shares.log() - distances / (2 * (1 - kept))).softmax(-1) @ table

    return denoise


@pytest.mark.parametrize("kind", EXACT)
def test_samples_of_gaussian_data_have_their_mean_and_variance(kind: type[IterativeSampler]) -> None:
    x = kind(steps=1000, rounding=FREE)(of_gaussian(ALPHA_BAR), EMPTY, ALPHA_BAR, normal_noise(20_000))
    # The last step returns a mean instead of a draw, which loses the variance VARIANCE s^2 / (a^2 VARIANCE + s^2).
    kept = ALPHA_BAR[1].item()
    lost = VARIANCE * (1 - kept) / (kept * VARIANCE + 1 - kept)
    assert x.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert VARIANCE - lost - 0.02 < x.var().item() < VARIANCE + 0.02


@pytest.mark.parametrize("kind", [Ancestral, Renoised, DDIM])
def test_for_constant_data_every_step_has_the_marginals_of_the_forward_process(kind: type[IterativeSampler]) -> None:
    # If the data are always 2, the best prediction is 2, and every x_i is exactly N(2 sqrt(abar_i), 1 - abar_i).
    seen: dict[int, Tensor] = {}

    def denoise(x: Tensor, index: float) -> Tensor:
        seen[int(index)] = x
        return torch.full_like(x, 2)

    x = kind(steps=20, rounding=FREE)(denoise, EMPTY, ALPHA_BAR, normal_noise(20_000))
    torch.testing.assert_close(x, torch.full_like(x, 2))
    assert len(seen) == 20
    for index, values in seen.items():
        assert values.mean().item() == pytest.approx(2 * ALPHA_BAR[index].sqrt().item(), abs=0.03)
        assert values.std().item() == pytest.approx((1 - ALPHA_BAR[index]).sqrt().item(), rel=0.04)


def ends(kind: type[IterativeSampler], steps: int) -> float:
    """Return the error of the ODE, solved from ln(a / s) = -3 to 3 in equal steps, for data N(MEAN, VARIANCE)."""
    alpha_bar = torch.sigmoid(2 * torch.linspace(3, -3, steps, dtype=torch.float64))
    seen: list[Tensor] = []

    def denoise(x: Tensor, index: float) -> Tensor:
        seen.append(x)
        return of_gaussian(alpha_bar)(x, index)

    start = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1, 1)
    kind(steps=steps, rounding=FREE)(denoise, EMPTY, alpha_bar, lambda: start)
    first, last = alpha_bar[-1], alpha_bar[0]
    spread = ((last * VARIANCE + 1 - last) / (first * VARIANCE + 1 - first)).sqrt()
    exact = last.sqrt() * MEAN + spread * (start - first.sqrt() * MEAN)
    return (seen[-1] - exact).abs().max().item()


@pytest.mark.parametrize(("kind", "order"), [(Euler, 1), (DDIM, 1), (DPMSolver, 2)])
def test_solvers_converge_to_the_exact_solution_with_their_order(kind: type[IterativeSampler], order: int) -> None:
    errors = [ends(kind, steps) for steps in (41, 81, 161, 321)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)


def test_second_order_needs_fewer_evaluations_for_the_same_error() -> None:
    assert ends(DPMSolver, 21) < ends(DDIM, 81)


@pytest.mark.parametrize("kind", EXACT)
def test_the_bayes_denoiser_of_iid_words_gives_their_distribution(kind: type[IterativeSampler]) -> None:
    table = torch.randn(5, 3, generator=generator("table"), dtype=torch.float64) * 2
    shares = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05], dtype=torch.float64)
    n = 1000
    sampler = kind(steps=400, rounding=FREE)
    x = sampler(of_words(table, shares, ALPHA_BAR), table, ALPHA_BAR, normal_noise(n, dimension=3))
    counts = torch.bincount(nearest(table, x).flatten(), minlength=5)
    assert ((counts - n * shares).pow(2) / (n * shares)).sum().item() < 18.5  # chi-square, 4 degrees: p = 0.001


def walked(sampler: Sampler, key: str = "noise") -> Tensor:
    """Return what a sampler gives with a denoiser that is neither linear nor exact."""
    return sampler(lambda x, i: torch.tanh(x + i / 2000), EMPTY, ALPHA_BAR, normal_noise(50, dimension=4, key=key))


def test_ddim_equals_euler_in_the_variance_exploding_variables() -> None:
    steps = 20
    x = normal_noise(50, dimension=4)()
    indices = [100 * (step + 1) - 1 for step in reversed(range(steps))]
    for here, there in pairwise([*indices, None]):
        assert here is not None
        kept = ALPHA_BAR[here].item()
        x_start = torch.tanh(x + here / 2000)
        exploding, sigma = x / kept**0.5, (1 / kept - 1) ** 0.5
        after = 1.0 if there is None else ALPHA_BAR[there].item()
        slope = (exploding - x_start) / sigma
        x = after**0.5 * (exploding + ((1 / after - 1) ** 0.5 - sigma) * slope)
    torch.testing.assert_close(walked(DDIM(steps=steps, rounding=FREE)), x)


def test_ddim_with_eta_one_equals_ancestral() -> None:
    for steps in (1, 7, 40):
        expected = walked(Ancestral(steps=steps, rounding=FREE))
        torch.testing.assert_close(walked(DDIM(steps=steps, rounding=FREE, eta=1)), expected)


def textbook(alpha_bar: Tensor, times: list[float]) -> Tensor:
    """Return the result of DDPM's sampling on a whole schedule, written with its betas."""
    noise = normal_noise(50, dimension=4)
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    beta = 1 - alpha_bar / before
    x = noise()
    for i in reversed(range(len(alpha_bar))):
        x_start = torch.tanh(x + times[i] / 2000)
        x = (before[i].sqrt() * beta[i] * x_start + (1 - beta[i]).sqrt() * (1 - before[i]) * x) / (1 - alpha_bar[i])
        if i:
            x = x + (beta[i] * (1 - before[i]) / (1 - alpha_bar[i])).sqrt() * noise()
    return x


def test_ancestral_at_all_timesteps_equals_the_textbook_recursion() -> None:
    expected = textbook(ALPHA_BAR, [float(i) for i in range(2000)])
    torch.testing.assert_close(walked(Ancestral(steps=2000, rounding=FREE)), expected, rtol=1e-6, atol=1e-9)


def test_ancestral_with_a_rebuilt_schedule_equals_the_recursion_on_it_with_early_times() -> None:
    few = torch.from_numpy(Sqrt().alpha_bar(200))
    expected = textbook(few, [10.0 * step for step in range(200)])
    torch.testing.assert_close(walked(Ancestral(steps=200, rounding=FREE, rebuilt=Sqrt())), expected)
    assert not torch.allclose(walked(Ancestral(steps=200, rounding=FREE)), expected)


def test_renoised_depends_only_on_the_prediction() -> None:
    alpha_bar = ALPHA_BAR[[999, 1999]]
    noise = normal_noise(8)
    first, second = noise(), noise()
    x = Renoised(steps=2, rounding=FREE)(lambda x, _: x.sin(), EMPTY, alpha_bar, normal_noise(8))
    kept = ALPHA_BAR[999]
    torch.testing.assert_close(x, (kept.sqrt() * first.sin() + (1 - kept).sqrt() * second).sin())


def test_renoised_loses_variance_even_with_the_exact_denoiser() -> None:
    # x' has the variance of the mean: v' = a'^2 g^2 v + s'^2, with g the gain of x in E[x_0 | x].
    steps, spread, gain = 250, 1.0, 0.0
    for index in reversed(range(2000 // steps - 1, 2000, 2000 // steps)):
        kept = ALPHA_BAR[index].item()
        spread = kept * gain**2 * spread + 1 - kept if index < 1999 else 1.0
        gain = kept**0.5 * VARIANCE / (kept * VARIANCE + 1 - kept)
    x = Renoised(steps=steps, rounding=FREE)(of_gaussian(ALPHA_BAR), EMPTY, ALPHA_BAR, normal_noise(20_000))
    assert x.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert x.var().item() == pytest.approx(gain**2 * spread, rel=0.04)
    assert x.var().item() < VARIANCE / 2


@pytest.mark.parametrize("kind", EVERY)
def test_nearest_rounds_only_in_the_last_fraction_of_the_timesteps(kind: type[IterativeSampler]) -> None:
    table = torch.randn(9, 4, generator=generator("table"), dtype=torch.float64)
    starts: dict[float, Tensor] = {}

    class Recorded(Nearest):
        def __call__(self, predicted: Tensor, level: NoiseLevel, table: Tensor) -> Tensor:
            starts[level.fraction] = super().__call__(predicted, level, table)
            return starts[level.fraction]

    sampler = kind(steps=10, rounding=Recorded(last=0.5))
    x = sampler(lambda x, _: 0.5 * x, table, ALPHA_BAR, normal_noise(3, length=5, dimension=4))
    rounded = {share: torch.equal(found, table[nearest(table, found)]) for share, found in starts.items()}
    assert rounded == {(step + 1) / 10: step < 5 for step in range(10)}
    torch.testing.assert_close(x, table[nearest(table, x)])


def test_expectation_is_nearest_without_noise_and_softer_with_it() -> None:
    table = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    predicted = torch.tensor([[[0.3]]], dtype=torch.float64)
    clean = Expectation()(predicted, NoiseLevel(0, 0.0, 1 - 1e-6), table)
    torch.testing.assert_close(clean, Nearest()(predicted, NoiseLevel(0, 0.0, 1 - 1e-6), table))
    # Two words at -1 and 1 have the variance 1: tanh(f / r) with r = s^2 / (a^2 + s^2) = 1 - abar.
    noisy = Expectation()(predicted, NoiseLevel(0, 1.0, 0.25), table)
    assert noisy.item() == pytest.approx(math.tanh(0.3 / 0.75))


def test_a_sampler_with_one_step_returns_the_prediction() -> None:
    for kind in EVERY:
        x = walked(kind(steps=1, rounding=FREE))
        torch.testing.assert_close(x, torch.tanh(normal_noise(50, dimension=4)() + 1999 / 2000))


EACH: tuple[Sampler, ...] = (
    *(kind(steps=4) for kind in EVERY),
    DDIM(steps=4, eta=0.5),
    Ancestral(steps=4, rebuilt=Sqrt()),
    Ancestral(steps=4, rounding=Expectation()),
    MinimumBayesRisk(sampler=DPMSolver(steps=2, rounding=FREE), candidates=3),
)


@pytest.mark.parametrize("sampler", EACH, ids=str)
def test_a_sample_depends_only_on_its_seed_and_index(sampler: Sampler) -> None:
    scale = replace(small_scale(length=10), sampler=sampler)
    with seeded("test", 0):
        model = DiffusionLM(Learned(), vocabulary=12, scale=scale).eval()
    asked: list[Any] = []
    model.transformer.register_forward_hook(lambda *_: asked.append(1))
    first = model.sample(range(4), seed=3)
    assert len(asked) == sampler.evaluations
    assert torch.equal(model.sample(range(2, 70), seed=3)[:2], first[2:])
    assert not torch.equal(model.sample(range(4), seed=4), first)


def test_descriptions_distinguish_all_samplers() -> None:
    assert len({str(describe(sampler)) for sampler in EACH}) == len(EACH)


@pytest.mark.parametrize("steps", [0, 2001])
def test_impossible_numbers_of_steps_are_errors(steps: int) -> None:
    samplers: tuple[Sampler, ...] = (Ancestral(steps=steps), Ancestral(steps=steps, rebuilt=Sqrt()), DDIM(steps=steps))
    for sampler in samplers:
        with pytest.raises(UserError, match=f"{steps} sampler steps"):
            walked(sampler)

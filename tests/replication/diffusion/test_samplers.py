from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch

from replication.diffusion.rounding import AsPredicted, Expectation, Nearest, nearest
from replication.diffusion.samplers import DDIM, Ancestral, DPMSolver, Euler, Renoised
from replication.diffusion.schedule import Level, Sqrt
from replication.diffusion.selection import MinimumBayesRisk, agreed, grams, overlap
from replication.models.diffusion_lm import DiffusionLM
from replication.models.embeddings import Learned
from replication.util.errors import UserError
from replication.util.files import describe
from replication.util.generators import generator, seeded
from tests.support.small_scales import small_scale

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from replication.diffusion.samplers import Sampler, Walk

FREE = AsPredicted()
EXACT: tuple[type[Walk], ...] = (Ancestral, DDIM, DPMSolver, Euler)  # with ever more steps, for the right denoiser
EVERY: tuple[type[Walk], ...] = (*EXACT, Renoised)
EMPTY = torch.empty(0, 1)  # a table that nobody looks at
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
def test_gaussian_data_come_out_with_their_mean_and_variance(kind: type[Walk]) -> None:
    x = kind(steps=1000, rounding=FREE)(of_gaussian(ALPHA_BAR), EMPTY, ALPHA_BAR, normal_noise(20_000))
    # The last step takes a mean for a draw, and loses its variance: VARIANCE s^2 / (a^2 VARIANCE + s^2) at index 1.
    kept = ALPHA_BAR[1].item()
    lost = VARIANCE * (1 - kept) / (kept * VARIANCE + 1 - kept)
    assert x.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert VARIANCE - lost - 0.02 < x.var().item() < VARIANCE + 0.02


@pytest.mark.parametrize("kind", [Ancestral, Renoised, DDIM])
def test_data_without_a_choice_keep_the_marginals_of_the_forward_process(kind: type[Walk]) -> None:
    # For data that are always 2 the best prediction is 2, and then every x_i is N(2 sqrt(abar_i), 1 - abar_i) exactly.
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


def ends(kind: type[Walk], steps: int) -> float:
    """Return the error of the ODE solved from the half-log SNR -3 to 3 in equal steps, for data N(MEAN, VARIANCE)."""
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
def test_solvers_converge_to_the_exact_solution_in_their_order(kind: type[Walk], order: int) -> None:
    errors = [ends(kind, steps) for steps in (41, 81, 161, 321)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)


def test_the_second_order_needs_fewer_evaluations_for_the_same_error() -> None:
    assert ends(DPMSolver, 21) < ends(DDIM, 81)


@pytest.mark.parametrize("kind", EXACT)
def test_the_bayes_denoiser_of_iid_words_gives_their_distribution(kind: type[Walk]) -> None:
    table = torch.randn(5, 3, generator=generator("table"), dtype=torch.float64) * 2
    shares = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05], dtype=torch.float64)
    n = 1000
    sampler = kind(steps=400, rounding=FREE)
    x = sampler(of_words(table, shares, ALPHA_BAR), table, ALPHA_BAR, normal_noise(n, dimension=3))
    counts = torch.bincount(nearest(table, x).flatten(), minlength=5)
    assert ((counts - n * shares).pow(2) / (n * shares)).sum().item() < 18.5  # chi-square, 4 degrees: p = 0.001


def walked(sampler: Sampler, key: str = "noise") -> Tensor:
    """Return where a sampler gets with a denoiser that is neither linear nor right."""
    return sampler(lambda x, i: torch.tanh(x + i / 2000), EMPTY, ALPHA_BAR, normal_noise(50, dimension=4, key=key))


def test_ddim_is_euler_in_the_variance_exploding_variables() -> None:
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


def test_ddim_with_eta_one_is_ancestral_with_the_respaced_variance() -> None:
    for steps in (1, 7, 40):
        expected = walked(Ancestral(steps=steps, rounding=FREE))
        torch.testing.assert_close(walked(DDIM(steps=steps, rounding=FREE, eta=1)), expected)


def textbook(alpha_bar: Tensor, times: list[float]) -> Tensor:
    """Return what p_sample of DDPM gives on a whole schedule, written with its betas."""
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


def test_ancestral_at_all_timesteps_is_the_textbook_recursion() -> None:
    expected = textbook(ALPHA_BAR, [float(i) for i in range(2000)])
    torch.testing.assert_close(walked(Ancestral(steps=2000, rounding=FREE)), expected, rtol=1e-6, atol=1e-9)


def test_the_published_short_cut_is_the_recursion_on_a_schedule_of_few_timesteps_told_early() -> None:
    few = torch.from_numpy(Sqrt().alpha_bar(200))
    expected = textbook(few, [10.0 * step for step in range(200)])
    torch.testing.assert_close(walked(Ancestral(steps=200, rounding=FREE, rebuilt=Sqrt())), expected)
    assert not torch.allclose(walked(Ancestral(steps=200, rounding=FREE)), expected)


def test_renoising_forgets_where_it_was() -> None:
    alpha_bar = ALPHA_BAR[[999, 1999]]
    noise = normal_noise(8)
    first, second = noise(), noise()
    x = Renoised(steps=2, rounding=FREE)(lambda x, _: x.sin(), EMPTY, alpha_bar, normal_noise(8))
    kept = ALPHA_BAR[999]
    torch.testing.assert_close(x, (kept.sqrt() * first.sin() + (1 - kept).sqrt() * second).sin())


def test_renoising_leans_to_what_is_frequent_even_with_the_right_denoiser() -> None:
    # x' is as narrow as the mean: v' = a'^2 g^2 v + s'^2, with g the gain of x in E[x_0 | x].
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
def test_rounding_begins_where_it_is_told(kind: type[Walk]) -> None:
    table = torch.randn(9, 4, generator=generator("table"), dtype=torch.float64)
    starts: dict[float, Tensor] = {}

    class Watched(Nearest):
        def __call__(self, predicted: Tensor, level: Level, table: Tensor) -> Tensor:
            starts[level.share] = super().__call__(predicted, level, table)
            return starts[level.share]

    sampler = kind(steps=10, rounding=Watched(last=0.5))
    x = sampler(lambda x, _: 0.5 * x, table, ALPHA_BAR, normal_noise(3, length=5, dimension=4))
    rounded = {share: torch.equal(found, table[nearest(table, found)]) for share, found in starts.items()}
    assert rounded == {(step + 1) / 10: step < 5 for step in range(10)}
    torch.testing.assert_close(x, table[nearest(table, x)])


def test_the_mean_embedding_is_the_nearest_one_without_noise_and_softer_with_it() -> None:
    table = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    predicted = torch.tensor([[[0.3]]], dtype=torch.float64)
    clean = Expectation()(predicted, Level(0, 0.0, 1 - 1e-6), table)
    torch.testing.assert_close(clean, Nearest()(predicted, Level(0, 0.0, 1 - 1e-6), table))
    # Two words at -1 and 1, whose own variance is 1: tanh(f / r) with r = s^2 / (a^2 + s^2) = 1 - abar.
    noisy = Expectation()(predicted, Level(0, 1.0, 0.25), table)
    assert noisy.item() == pytest.approx(math.tanh(0.3 / 0.75))


def test_a_solver_in_one_step_returns_the_prediction() -> None:
    for kind in EVERY:
        x = walked(kind(steps=1, rounding=FREE))
        torch.testing.assert_close(x, torch.tanh(normal_noise(50, dimension=4)() + 1999 / 2000))


def test_windows_agree_by_what_they_say_not_where() -> None:
    tune, later, other = [1, 5, 6, 7, 8, 2, 0, 0], [1, 9, 5, 6, 7, 8, 2, 0], [1, 8, 7, 6, 5, 2, 0, 0]
    assert overlap(grams(tune), grams(tune)) == 1
    assert overlap(grams(tune), grams(later)) > overlap(grams(tune), grams(other))
    assert overlap(grams(tune), grams(later)) == overlap(grams(later), grams(tune))
    assert overlap(grams([3, 3]), grams([4, 4])) == 0
    assert overlap(grams([0, 0]), grams([0, 0])) == 0
    # 2 of 2 and 3 words, 1 of 1 and 2 pairs, 0 of 0 and 1 triples.
    assert overlap(grams([3, 4]), grams([3, 4, 5])) == pytest.approx((4 / 5 + 2 / 3) / 4)


def test_the_candidate_that_others_agree_with_is_chosen() -> None:
    assert agreed([[3, 4, 5, 6], [7, 8, 9, 10], [3, 4, 5, 11]]) == 0
    assert agreed([[7, 8, 9, 10], [3, 4, 5, 6], [3, 4, 5, 6]]) == 1


def test_of_several_candidates_each_sample_keeps_its_own_best() -> None:
    table = torch.randn(9, 2, generator=generator("table"), dtype=torch.float64)
    inner = Ancestral(steps=3)

    def draw(sampler: Sampler, noise: Callable[[], Tensor]) -> Tensor:
        return sampler(lambda x, _: x, table, ALPHA_BAR, noise)

    noise = normal_noise(6, length=8, dimension=2)
    candidates = [nearest(table, draw(inner, noise)) for _ in range(4)]
    best = draw(MinimumBayesRisk(sampler=inner, candidates=4), normal_noise(6, length=8, dimension=2))
    for row, words in enumerate(nearest(table, best).tolist()):
        own = [candidate[row].tolist() for candidate in candidates]
        assert words == own[agreed(own)]
    assert MinimumBayesRisk(sampler=inner, candidates=4).evaluations == 12
    with pytest.raises(UserError, match="1 candidates"):
        draw(MinimumBayesRisk(sampler=inner, candidates=1), noise)


EACH: tuple[Sampler, ...] = (
    *(kind(steps=4) for kind in EVERY),
    DDIM(steps=4, eta=0.5),
    Ancestral(steps=4, rebuilt=Sqrt()),
    Ancestral(steps=4, rounding=Expectation()),
    MinimumBayesRisk(sampler=DPMSolver(steps=2, rounding=FREE), candidates=3),
)


@pytest.mark.parametrize("sampler", EACH, ids=str)
def test_a_sample_depends_on_its_seed_and_number_alone(sampler: Sampler) -> None:
    scale = replace(small_scale(length=10), sampler=sampler)
    with seeded("test", 0):
        model = DiffusionLM(Learned(), vocabulary=12, scale=scale).eval()
    asked: list[Any] = []
    model.transformer.register_forward_hook(lambda *_: asked.append(1))
    first = model.sample(range(4), seed=3)
    assert len(asked) == sampler.evaluations
    assert torch.equal(model.sample(range(2, 70), seed=3)[:2], first[2:])
    assert not torch.equal(model.sample(range(4), seed=4), first)


def test_choices_are_described_in_full() -> None:
    assert len({str(describe(sampler)) for sampler in EACH}) == len(EACH)


@pytest.mark.parametrize("steps", [0, 2001])
def test_impossible_numbers_of_steps_are_refused(steps: int) -> None:
    samplers: tuple[Sampler, ...] = (Ancestral(steps=steps), Ancestral(steps=steps, rebuilt=Sqrt()), DDIM(steps=steps))
    for sampler in samplers:
        with pytest.raises(UserError, match=f"{steps} sampler steps"):
            walked(sampler)

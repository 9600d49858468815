from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F

from replication.diffusion.schedule import Sqrt
from replication.models.diffusion_lm import DiffusionLM, _error, clean_estimate, nll_bound, time_features
from replication.models.embeddings import Gaussian, Learned
from replication.training.backbones import Bert
from replication.training.scales import SCALES
from replication.util.generators import generator, seeded
from tests.support.small_scales import job, loss_terms, random_windows, small_scale

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from replication.models.embeddings import Embedding
    from replication.training.model import Likelihood
    from replication.training.scales import Scale

VOCABULARY = 12


def build(scale: Scale, arm: Embedding | None = None, vocabulary: int = VOCABULARY) -> DiffusionLM:
    with seeded("test", 0):
        model = DiffusionLM(arm or Learned(), vocabulary=vocabulary, scale=scale).eval()
        for parameter in model.transformer.parameters():  # nonzero residual branches
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def bayes(table: Tensor, alpha_bar: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the best prediction of the noisy x_0 for iid uniform tokens."""
    sigma = 1 - alpha_bar[0]

    def denoise(x: Tensor, index: Tensor) -> Tensor:
        signal, nu = alpha_bar[index].sqrt()[:, None, None], (1 - alpha_bar[index] * (1 - sigma))[:, None, None]
        distance = (x[:, :, None] - signal[..., None] * table).pow(2).sum(-1)  # (B, L, V)
        clean = (-distance / (2 * nu)).softmax(-1) @ table
        return clean + signal * sigma / nu * (x - signal * clean)

    return denoise


def test_the_published_model_has_the_published_number_of_parameters() -> None:
    model = DiffusionLM(Learned(), vocabulary=821, scale=SCALES["paper"])
    assert isinstance(SCALES["paper"].backbone, Bert)
    assert model.parameters_count() == 87_129_749


def test_time_features_are_cosines_then_sines() -> None:
    features = time_features(torch.tensor([0.0, 500.0]))
    assert features.shape == (2, 128)
    torch.testing.assert_close(features[0], torch.cat((torch.ones(64), torch.zeros(64))))
    assert features[1, 0].item() == pytest.approx(math.cos(500), abs=1e-4)
    assert features[1, 65].item() == pytest.approx(math.sin(500 * 10_000 ** (-1 / 64)), abs=1e-3)


def test_the_terms_are_the_published_ones() -> None:
    scale = small_scale(timesteps=1)  # one timestep: i is 0, the target is the clean embedding
    model = build(scale)
    tokens = random_windows(4, scale.length, VOCABULARY)
    terms = loss_terms(model, tokens, generator("terms"))
    random = generator("terms")
    table, abar = model.embedding.weight, model.alpha_bar.float()
    noise = torch.randn(*tokens.shape, scale.dimension, generator=random)
    x_start = table[tokens] + (1 - abar[0]).sqrt() * noise
    index = torch.randint(1, (4,), generator=random)
    noise = torch.randn(*tokens.shape, scale.dimension, generator=random)
    x = abar[0].sqrt() * x_start + (1 - abar[0]).sqrt() * noise
    expected = {
        "mse": (table[tokens] - model(x, index)).pow(2).mean(),
        "rounding": F.cross_entropy((x_start @ table.T).transpose(1, 2), tokens),
        "prior": abar[0] * x_start.pow(2).mean(),
    }
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def test_the_rounding_term_is_small_before_any_training() -> None:
    # The paper's bits per word: 0.27 nats at V=220, d=16 and embeddings N(0, 1), for any network.
    scale = small_scale(timesteps=2000, dimension=16, length=66)
    model = build(scale, vocabulary=220)
    tokens = torch.randint(220, (64, 66), generator=generator("tokens"))
    assert loss_terms(model, tokens, generator("rounding"))["rounding"].item() == pytest.approx(0.27, abs=0.06)


def test_every_parameter_except_frozen_embeddings_gets_a_gradient() -> None:
    for arm in (Learned(), Gaussian()):
        model = build(small_scale(), arm)
        terms = loss_terms(model, random_windows(8, 34, VOCABULARY), generator("gradient"))
        sum(terms.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        for name, parameter in model.named_parameters():
            moved = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
            assert moved == (arm.trainable or name != "embedding.weight"), name


@pytest.mark.parametrize(("vocabulary", "dimension"), [(32, 8), (60, 16)])
def test_the_bound_of_the_bayes_denoiser_is_tight(vocabulary: int, dimension: int) -> None:
    table = torch.randn(vocabulary, dimension, generator=generator("table"), dtype=torch.float64)
    alpha_bar = torch.from_numpy(Sqrt().alpha_bar(2000))
    tokens = torch.randint(vocabulary, (512, 8), generator=generator("tokens"))
    bound = nll_bound(
        clean_estimate(bayes(table, alpha_bar), table, alpha_bar),
        table,
        alpha_bar,
        tokens,
        generator("bound"),
        strata=64,
    )
    per_token = bound.total.mean().item() / 8
    assert per_token == pytest.approx(math.log(vocabulary), abs=0.05)


def test_each_term_of_the_bound_has_its_closed_form() -> None:
    # Two words at -c and +c in one dimension, and an estimate that is 0 everywhere.
    c, abar = 0.7, torch.from_numpy(Sqrt().alpha_bar(50))
    table = torch.tensor([[-c], [c]], dtype=torch.float64)
    sigma = 1 - abar[0]
    nu = 1 - abar * (1 - sigma)

    tokens = torch.randint(2, (2000, 5), generator=generator("tokens"))
    terms = nll_bound(lambda x, _: torch.zeros_like(x), table, abar, tokens, generator("bound"), strata=49).terms
    prior = 5 * 0.5 * (abar[-1] * c**2 + nu[-1] - 1 - nu[-1].log())
    torch.testing.assert_close(terms["prior"], prior.expand(2000))
    snr = abar / nu
    diffusion = 5 * 0.5 * (snr[0] - snr[-1]) * c**2  # the sum over i telescopes; one timestep per stratum: exact
    torch.testing.assert_close(terms["diffusion"], diffusion.expand(2000))
    # -ln p(w | x) of two Gaussians: E softplus(-2 a c (a c + s z) / s^2) with z normal.
    a, s = abar[0].sqrt() * c, nu[0].sqrt()
    z = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    rounding = 5 * torch.trapezoid(density * F.softplus(-2 * a * (a + s * z) / s**2), z)
    assert terms["rounding"].mean().item() == pytest.approx(rounding.item(), rel=0.05)


def test_few_timesteps_agree_with_all_of_them_within_the_standard_error() -> None:
    table = torch.randn(20, 6, generator=generator("table"), dtype=torch.float64)
    alpha_bar = torch.from_numpy(Sqrt().alpha_bar(500))
    tokens = torch.randint(20, (128, 4), generator=generator("tokens"))
    estimate = clean_estimate(bayes(table, alpha_bar), table, alpha_bar)
    few, every = (
        nll_bound(estimate, table, alpha_bar, tokens, generator("bound", strata), strata=strata) for strata in (8, 499)
    )
    agree_within_errors(few, every)


def test_few_timesteps_agree_with_all_of_them_on_a_trained_model(tmp_path: Path) -> None:
    scale = small_scale(steps=120, learning_rate=3e-3, log_every=40, validate_every=40, checkpoint_every=40, strata=9)
    model = build(scale)
    model.fit(job(tmp_path, scale))
    windows = random_windows(128, scale.length, VOCABULARY, seed=2)
    agree_within_errors(model.nll(windows, seed=0), model.nll(windows, seed=0, strata=scale.timesteps - 1))


def agree_within_errors(few: Likelihood, every: Likelihood) -> None:
    assert few.error is not None
    assert every.error is not None
    difference = few.terms["diffusion"] - every.terms["diffusion"]
    variance = few.error**2 + every.error**2
    assert every.error.norm() < few.error.norm()
    assert abs(difference.sum() / variance.sum().sqrt()) < 3
    assert 0.4 < difference.norm() / variance.sum().sqrt() < 1.2  # collapsed strata overestimate the error


def test_with_all_strata_every_timestep_is_used_once() -> None:
    table, alpha_bar = torch.randn(5, 2, dtype=torch.float64), torch.from_numpy(Sqrt().alpha_bar(100))
    seen: list[Tensor] = []

    def estimate(x: Tensor, index: Tensor) -> Tensor:
        seen.append(index)
        return x

    nll_bound(estimate, table, alpha_bar, torch.zeros(3, 4).long(), generator("once"), strata=99)
    assert torch.equal(torch.stack(seen), torch.arange(1, 100)[:, None].expand(99, 3))


@pytest.mark.parametrize("strata", [2, 3, 6, 7])
def test_the_error_of_a_stratified_sum_equals_the_deviation_of_repeated_draws(strata: int) -> None:
    draws = torch.randn(strata, 20_000, generator=generator("draws"), dtype=torch.float64) * 3
    assert _error(draws).pow(2).mean().item() == pytest.approx(draws.sum(0).var().item(), rel=0.05)
    assert (_error(draws + torch.arange(strata)[:, None]).mean() > _error(draws).mean()).item()


def test_the_error_of_one_draw_is_nan() -> None:
    assert _error(torch.ones(1, 3)).isnan().all()


def test_the_bounds_of_all_windows_sum_to_at_most_one() -> None:
    scale = small_scale(length=2, timesteps=50, strata=49, dimension=3)
    model = build(scale, vocabulary=3)
    windows = torch.tensor(list(itertools.product(range(3), repeat=2)))
    total = torch.stack([model.nll(windows, seed=seed).total for seed in range(40)]).mean(0)
    mass = torch.exp(-total).sum().item()
    assert 0 < mass <= 1


def test_equal_seeds_give_equal_samples_regardless_of_other_draws() -> None:
    model = build(small_scale(length=10))
    first = model.sample(range(70), seed=3)
    assert first.shape == (70, 10)
    torch.manual_seed(99)  # the global generator is not used
    torch.testing.assert_close(model.sample(range(70), seed=3), first)
    torch.testing.assert_close(model.sample(range(60, 67), seed=3), first[60:67])
    assert not torch.equal(model.sample(range(70), seed=4), first)


def test_fitting_lowers_the_bound_and_saving_keeps_it(tmp_path: Path) -> None:
    scale = small_scale(steps=120, learning_rate=3e-3, log_every=40, validate_every=40, checkpoint_every=40)
    task = job(tmp_path, scale)
    model = build(scale)
    before = model.nll(task.validation.long(), seed=0)
    model.fit(task)
    after = model.nll(task.validation.long(), seed=0)
    assert after.total.mean() < before.total.mean()
    assert not after.exact
    assert set(after.terms) == {"prior", "diffusion", "rounding"}
    model.save(tmp_path / "model.safetensors")
    again = build(scale)
    again.load(tmp_path / "model.safetensors")
    torch.testing.assert_close(again.nll(task.validation.long(), seed=0).total, after.total)

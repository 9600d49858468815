from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F

from replication.models.diffusion_lm import DiffusionLM, time_features
from replication.models.embeddings import Gaussian, Learned
from replication.training.backbones import Bert
from replication.training.scales import SCALES
from replication.util.generators import generator, seeded
from tests.support.small_scales import job, loss_terms, random_windows, small_scale

if TYPE_CHECKING:
    from pathlib import Path

    from replication.models.embeddings import Embedding
    from replication.training.scales import Scale

VOCABULARY = 12


def build(
    scale: Scale, arm: Embedding | None = None, vocabulary: int = VOCABULARY, *, clean_start: bool = False
) -> DiffusionLM:
    with seeded("test", 0):
        model = DiffusionLM(arm or Learned(), vocabulary=vocabulary, scale=scale, clean_start=clean_start).eval()
        for parameter in model.transformer.parameters():  # nonzero residual branches
            torch.nn.init.normal_(parameter, std=0.2)
    return model


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


def test_the_official_loss_of_frozen_embeddings_is_the_arms_without_start_noise_and_rounding() -> None:
    scale = small_scale()
    arm, official = (build(scale, Gaussian(), clean_start=clean_start) for clean_start in (False, True))
    tokens = random_windows(8, scale.length, VOCABULARY)
    start, index, step = official.noise(tokens, random=generator("official"))
    index[0] = 0
    expected = arm.terms(tokens, torch.zeros_like(start), index, step)
    assert official.terms(tokens, start, index, step) == {"mse": expected["mse"]}
    weights = list(arm.down.parameters()), list(official.down.parameters())
    for loss, own in zip((expected["mse"], official.terms(tokens, start, index, step)["mse"]), weights, strict=True):
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        assert all(weight.grad is not None for weight in own)
    for one, other in zip(*weights, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)


def test_trained_embeddings_cannot_start_clean() -> None:
    with pytest.raises(ValueError, match=r"Learned\(.*\) cannot start clean: .* collapse"):
        build(small_scale(), Learned(), clean_start=True)


def test_the_rounding_term_is_small_before_any_training() -> None:
    # The paper's bits per word: 0.27 nats at V=220, d=16 and embeddings N(0, 1), for any network.
    scale = small_scale(timesteps=2000, dimension=16, length=66)
    model = build(scale, vocabulary=220)
    tokens = torch.randint(220, (64, 66), generator=generator("tokens"))
    assert loss_terms(model, tokens, generator("rounding"))["rounding"].item() == pytest.approx(0.27, abs=0.06)


def test_every_parameter_that_is_not_frozen_gets_a_gradient() -> None:
    for arm, clean_start in ((Learned(), False), (Gaussian(), False), (Gaussian(), True)):
        model = build(small_scale(), arm, clean_start=clean_start)
        terms = loss_terms(model, random_windows(8, 34, VOCABULARY), generator("gradient"))
        sum(terms.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        for name, parameter in model.named_parameters():
            moved = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
            frozen = {"embedding.weight": not arm.trainable, "rounding_bias": clean_start}
            assert moved != frozen.get(name, False), name
            assert moved == parameter.requires_grad


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

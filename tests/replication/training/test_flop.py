from __future__ import annotations

import pytest
import torch

from baselines.autoregressive import Autoregressive
from replication.models.diffusion_lm import TIME_WIDTH, DiffusionLM
from replication.models.embeddings import Gaussian, Learned
from replication.training.backbones import Bert, PreNorm, encoder_weights
from replication.training.flop import step_flop
from replication.training.scales import SCALES
from tests.support.small_scales import small_scale

WORDS, LENGTH = 12, 10
BACKBONES = (
    PreNorm(layers=2, width=32, heads=2, feedforward=48),
    Bert(layers=2, width=32, heads=4, feedforward=64, dropout=0.1),
)


def layers_forward(backbone: Bert | PreNorm, length: int) -> int:
    """Return the operations of the layers on one window: matrices, and attention twice L^2 H."""
    return 2 * length * encoder_weights(backbone) + backbone.layers * 4 * length**2 * backbone.width


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("masked", [False, True])
def test_the_operations_of_the_autoregressive_model_by_hand(backbone: Bert | PreNorm, masked: bool) -> None:
    scale = small_scale(length=LENGTH, backbone=backbone)
    model = Autoregressive(vocabulary=WORDS, scale=scale, masked=masked)
    positions = LENGTH - 1
    forward = layers_forward(backbone, positions) + 2 * positions * backbone.width * WORDS
    assert step_flop(model, batch=5, length=LENGTH) == 5 * 3 * forward  # backward is twice forward


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_operations_of_diffusion_by_hand(backbone: Bert | PreNorm) -> None:
    scale = small_scale(length=LENGTH, backbone=backbone)
    width, dimension = backbone.width, scale.dimension
    ends = 2 * LENGTH * (2 * (dimension * width + width**2) + dimension * WORDS)
    time = 2 * (TIME_WIDTH * 4 * TIME_WIDTH + 4 * TIME_WIDTH * width)
    without = 2 * TIME_WIDTH * 4 * TIME_WIDTH  # no gradient of the features of time
    forward = layers_forward(backbone, LENGTH) + ends + time
    learned, frozen = (
        step_flop(DiffusionLM(arm, vocabulary=WORDS, scale=scale), batch=1, length=LENGTH)
        for arm in (Learned(), Gaussian())
    )
    assert learned == 3 * forward - without
    # Frozen embeddings need no gradient, neither from the network nor from rounding; x_0 in rounding needs none either.
    assert frozen == learned - 2 * LENGTH * dimension * width - 2 * 2 * LENGTH * dimension * WORDS


def test_counting_changes_neither_the_model_nor_the_global_generator() -> None:
    model = DiffusionLM(Learned(), vocabulary=WORDS, scale=small_scale(backbone=BACKBONES[1])).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    step_flop(model, batch=1, length=LENGTH)
    assert torch.equal(torch.rand(2), expected)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["smoke", "cpu"])
def test_equal_steps_of_diffusion_and_of_the_autoregressive_model_are_about_equal_operations(name: str) -> None:
    scale = SCALES[name]
    ours = step_flop(DiffusionLM(Learned(), vocabulary=150, scale=scale), batch=1, length=scale.length)
    other = step_flop(Autoregressive(vocabulary=150, scale=scale), batch=1, length=scale.length)
    assert other == pytest.approx(ours, rel=0.1)

from __future__ import annotations

import pytest
import torch

from replication.models.transformer import Transformer
from replication.training.backbones import Backbone, Bert, PreNorm

SMALL: list[Backbone] = [
    PreNorm(layers=2, width=16, heads=2, feedforward=32),
    Bert(layers=2, width=16, heads=2, feedforward=32, positions=12, dropout=0.0),
]


def build(config: Backbone, *, causal: bool) -> Transformer:
    torch.manual_seed(0)
    network = Transformer(config, length=10, causal=causal).eval()
    for parameter in network.parameters():  # nonzero residual branches, without which the laws hold trivially
        torch.nn.init.normal_(parameter, std=0.3)
    return network


@pytest.mark.parametrize("config", SMALL, ids=lambda config: type(config).__name__)
def test_a_causal_position_does_not_depend_on_later_ones(config: Backbone) -> None:
    x = torch.randn(2, 10, 16)
    changed = x.clone()
    changed[:, 6:] = torch.randn(2, 4, 16)
    causal = build(config, causal=True)
    torch.testing.assert_close(causal(x)[:, :6], causal(changed)[:, :6])
    bidirectional = build(config, causal=False)
    assert (bidirectional(x)[:, :6] - bidirectional(changed)[:, :6]).abs().max() > 0.01


@pytest.mark.parametrize("config", SMALL, ids=lambda config: type(config).__name__)
def test_the_cache_does_not_change_the_output(config: Backbone) -> None:
    network = build(config, causal=True)
    x = torch.randn(3, 10, 16)
    cache = network.new_cache()
    steps = [network(x[:, position : position + 1], cache) for position in range(10)]
    torch.testing.assert_close(torch.cat(steps, dim=1), network(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", SMALL, ids=lambda config: type(config).__name__)
def test_positions_matter(config: Backbone) -> None:
    network = build(config, causal=False)
    x = torch.randn(1, 10, 16)
    order = torch.randperm(10)
    assert (network(x)[:, order] - network(x[:, order])).abs().max() > 0.01


def test_prenorm_starts_as_the_identity_before_its_norm() -> None:
    network = Transformer(SMALL[0], length=10, causal=False)
    x = torch.randn(2, 10, 16)
    torch.testing.assert_close(network(x), network.norm(x))


def test_bert_has_the_published_number_of_parameters() -> None:
    network = Transformer(Bert(), length=64, causal=False)
    layers = sum(parameter.numel() for parameter in network.layers.parameters())
    assert layers == 85_054_464
    assert sum(parameter.numel() for parameter in network.parameters()) == layers + 512 * 768 + 2 * 768


def test_impossible_sizes_are_errors() -> None:
    with pytest.raises(ValueError, match="windows of 600 tokens"):
        Transformer(Bert(), length=600, causal=False)
    with pytest.raises(ValueError, match="width 16 is not a multiple of 3"):
        Transformer(PreNorm(layers=1, width=16, heads=3, feedforward=8), length=4, causal=False)

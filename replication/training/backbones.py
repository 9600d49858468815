"""Configurations of `Transformer`; separate from it, so that the tables of experiments can be read without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Bert:
    """BERT-base as Diffusion-LM builds it: post-norm, GELU, learned positions, torch's default initialisation.

    The published code does not use BERT's own initialisation, so the positions are initialised as N(0, 1).

    Attributes:
        layers: Number of layers.
        width: Width H of the hidden states.
        heads: Attention heads per layer.
        feedforward: Width of the feed-forward layers.
        dropout: Dropout probability.
        positions: Number of learned positions.
    """

    layers: int = 12
    width: int = 768
    heads: int = 12
    feedforward: int = 3072
    dropout: float = 0.1
    positions: int = 512


@dataclass(frozen=True, kw_only=True)
class PreNorm:
    """A later design that trains faster with small budgets: pre-norm RMSNorm, rotary positions, no biases.

    Rotary positions: Su et al. 2021. RMSNorm: Zhang and Sennrich 2019. Residual branches are initialised to zero.

    Attributes:
        layers: Number of layers.
        width: Width H of the hidden states.
        heads: Attention heads per layer.
        feedforward: Width of the feed-forward layers.
        dropout: Dropout probability.
    """

    layers: int = 4
    width: int = 128
    heads: int = 4
    feedforward: int = 512
    dropout: float = 0.0


Backbone = Bert | PreNorm


@dataclass(frozen=True)
class Smaller:
    """A change of a backbone: fewer heads of the same width each, with the same number of layers.

    With a factor of 3, BERT-base becomes ELECTRA-small (Clark et al. 2020): 4 heads instead of 12, width 256 instead of
    768, and feed-forward layers of 1,024 instead of 3,072, with 12 layers.

    Attributes:
        factor: Divisor of the number of heads.
    """

    factor: int = 3

    def __call__(self, backbone: Backbone) -> Backbone:
        """Return the smaller backbone, with at least one head; the feed-forward width shrinks with the width."""
        heads = max(1, round(backbone.heads / self.factor))
        return replace(
            backbone,
            heads=heads,
            width=backbone.width * heads // backbone.heads,
            feedforward=backbone.feedforward * heads // backbone.heads,
        )

"""Configurations of `Transformer`; separate from it, so that the tables of experiments can be read without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from replication.util.errors import UserError


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


MIN_WIDTHS = 2  # the least ratio of the width of a backbone to the dimension d of the embeddings that it denoises


def encoder_weights(backbone: Backbone) -> int:
    """Return the number of weights in the matrices of the layers: layers (4 H^2 + 2 H F).

    Biases, norms, positions and everything outside of the layers are not counted.

    >>> encoder_weights(Bert())
    84934656
    """
    width = backbone.width
    return backbone.layers * (4 * width**2 + 2 * width * backbone.feedforward)


@dataclass(frozen=True)
class Larger:
    """A change of a backbone: the heads are rounded up to a multiple of a factor, so that `Smaller` can divide them.

    All widths grow with the number of heads. BERT-base, with 12 heads, stays as it is.

    Attributes:
        factor: Divisor of the number of heads.
    """

    factor: int = 3

    def __call__(self, backbone: Backbone, *, dimension: int) -> Backbone:  # noqa: ARG002 - as `Smaller`
        """Return the larger backbone."""
        return _with_heads(backbone, math.ceil(backbone.heads / self.factor) * self.factor)

    def comparison(self, backbone: Backbone) -> str:
        """Return a sentence that compares the size with that of a scale's backbone."""
        larger = self(backbone, dimension=0)
        ratio = encoder_weights(larger) / encoder_weights(backbone)
        return (
            f"Its layers have {ratio:.3g} times the weights of the scale's backbone: {encoder_weights(larger):,}, with"
            f" width {larger.width}."
        )


@dataclass(frozen=True)
class Smaller:
    """A change of a backbone: that of `Larger` with fewer heads of the same width each, and as many layers.

    With a factor of 3, BERT-base becomes ELECTRA-small (Clark et al. 2020): 4 heads instead of 12, width 256 instead of
    768, and feed-forward layers of 1,024 instead of 3,072, with 12 layers: 9 times fewer weights.

    Attributes:
        factor: Divisor of the number of heads.
    """

    factor: int = 3

    def __call__(self, backbone: Backbone, *, dimension: int) -> Backbone:
        """Return the smaller backbone; all widths shrink with the number of heads.

        Args:
            backbone: Backbone of the scale.
            dimension: Dimension d of the embeddings. A backbone that is hardly wider than what it predicts is a
                bottleneck, so that the comparison would be about the width and not about the size.

        Raises:
            UserError: If the smaller backbone has a width below 2 d.
        """
        larger = Larger(self.factor)(backbone, dimension=dimension)
        smaller = _with_heads(larger, larger.heads // self.factor)
        if smaller.width < MIN_WIDTHS * dimension:
            raise UserError(
                f"the smaller backbone has width {smaller.width}, below {MIN_WIDTHS} times d = {dimension}; use a scale"
                f" whose backbone is wider than {backbone.width}, or embeddings of fewer dimensions"
            )
        return smaller

    def comparison(self, backbone: Backbone) -> str:
        """Return a sentence that compares the size with that of the larger backbone."""
        larger, smaller = Larger(self.factor)(backbone, dimension=0), self(backbone, dimension=0)
        ratio = encoder_weights(larger) / encoder_weights(smaller)
        return (
            f"Its layers have {ratio:.3g} times fewer weights than those of the larger backbone:"
            f" {encoder_weights(smaller):,} instead of {encoder_weights(larger):,}, with width {smaller.width} instead"
            f" of {larger.width}."
        )


BackboneChange = Larger | Smaller


def _with_heads(backbone: Backbone, heads: int) -> Backbone:
    """Return a backbone with another number of heads of the same width each."""
    return replace(
        backbone,
        heads=heads,
        width=backbone.width * heads // backbone.heads,
        feedforward=backbone.feedforward * heads // backbone.heads,
    )

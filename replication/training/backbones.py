"""The sizes and designs of `Transformer`, apart from it so that tables of experiments can be read without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Bert:
    """BERT-base as Diffusion-LM builds it: post-norm, GELU, learned positions, torch's default initialisation.

    The original encoder is made without BERT's own initialisation, so positions are N(0, 1).
    """

    layers: int = 12
    width: int = 768
    heads: int = 12
    feedforward: int = 3072
    dropout: float = 0.1
    positions: int = 512


@dataclass(frozen=True, kw_only=True)
class PreNorm:
    """A later design that trains faster at small budgets: pre-norm RMSNorm, rotary positions, no biases.

    Rotary positions: Su et al. 2021. RMSNorm: Zhang and Sennrich 2019. Residual branches start at zero.
    """

    layers: int = 4
    width: int = 128
    heads: int = 4
    feedforward: int = 512
    dropout: float = 0.0


Backbone = Bert | PreNorm


@dataclass(frozen=True)
class Smaller:
    """A backbone with one `factor`-th of the heads, of the same width each, and of as many layers.

    A third is what ELECTRA-small (Clark et al. 2020) is of BERT-base: 4 heads of 12, width 256 of 768, feed-forward
    layers of 1,024 of 3,072, at 12 layers.
    """

    factor: int = 3

    def __call__(self, backbone: Backbone) -> Backbone:
        """Return the smaller backbone: at least one head, the feed-forward layers in proportion to the width."""
        heads = max(1, round(backbone.heads / self.factor))
        return replace(
            backbone,
            heads=heads,
            width=backbone.width * heads // backbone.heads,
            feedforward=backbone.feedforward * heads // backbone.heads,
        )

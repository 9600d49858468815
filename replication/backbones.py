"""The sizes and designs of `Transformer`, apart from it so that tables of experiments can be read without torch."""

from __future__ import annotations

from dataclasses import dataclass


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

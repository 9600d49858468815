"""The Transformer that the diffusion and the autoregressive model share; it maps hidden states to hidden states."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.training.backbones import Backbone, Bert, PreNorm


class KeyValueCache:
    """The keys and values of the positions that a causal Transformer has processed."""

    def __init__(self, layers: int) -> None:
        self.length = 0
        self._layers: list[tuple[Tensor, Tensor] | None] = [None] * layers

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, heads, 1, width/heads) keys and values; return all of the layer so far."""
        before = self._layers[layer]
        if before is not None:
            key, value = torch.cat((before[0], key), dim=2), torch.cat((before[1], value), dim=2)
        self._layers[layer] = key, value
        return key, value


def _rotation(length: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines (length, width/2) of rotary position embeddings."""
    frequency = 10_000 ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    angle = torch.arange(length, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate the pairs of features of (B, heads, L, width) by the angles of their positions."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1)


def attend(query: Tensor, key: Tensor, value: Tensor, *, dropout: float, causal: bool) -> Tensor:
    """Return the attention softmax(q k' / sqrt(width)) v.

    On CPUs in bfloat16 it is written out as matrix products, because torch's kernel is several times slower there, most
    of all in the backward pass.

    Args:
        query: (B, heads, L, width).
        key: (B, heads, L, width).
        value: (B, heads, L, width).
        dropout: Dropout probability of the attention weights.
        causal: Whether a position attends only to itself and earlier positions.

    Returns:
        (B, heads, L, width).
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=causal)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(future, -torch.inf)
    weights = scores.float().softmax(-1).to(value.dtype)
    return F.dropout(weights, dropout) @ value


class Attention(nn.Module):
    """Multi-head self-attention over all positions, or causal; with rotary positions if `rotary` is their number."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, *, width: int, heads: int, causal: bool, dropout: float, bias: bool, rotary: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads, self.causal, self.dropout, self.rotary = heads, causal, dropout, rotary > 0
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)
        cosine, sine = _rotation(rotary, width // heads)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def forward(self, x: Tensor, layer: int, cache: KeyValueCache | None) -> Tensor:
        """Map (B, L, H) to (B, L, H). With a cache, L is 1 and the keys and values of the past come from the cache."""
        batch, length, width = x.shape
        # (3, B, heads, L, H/heads)
        query, key, value = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.rotary:
            start = cache.length if cache else 0
            cosine, sine = self.cosine[start : start + length], self.sine[start : start + length]
            # Angles are in single precision, rotated vectors in the precision of the matrix products.
            query, key = (_rotate(part, cosine, sine).to(value.dtype) for part in (query, key))
        if cache is not None:
            key, value = cache.extend(layer, key, value)
        dropout = self.dropout if self.training else 0.0
        mixed = attend(query, key, value, dropout=dropout, causal=self.causal and cache is None)
        return torch.as_tensor(self.out(mixed.transpose(1, 2).reshape(batch, length, width)))


class _TransformerLayer(nn.Module):
    """Attention and a feed-forward network, with a norm before (PreNorm) or after (Bert) each of them."""

    def __init__(self, config: Backbone, *, causal: bool, length: int) -> None:
        super().__init__()
        self.post_norm = isinstance(config, Bert)
        bias = self.post_norm
        self.attention = Attention(
            width=config.width,
            heads=config.heads,
            causal=causal,
            dropout=config.dropout,
            bias=bias,
            rotary=0 if self.post_norm else length,
        )
        self.widen = nn.Linear(config.width, config.feedforward, bias=bias)
        self.narrow = nn.Linear(config.feedforward, config.width, bias=bias)
        self.dropout = nn.Dropout(config.dropout)
        self.norms = nn.ModuleList(_norm(config) for _ in range(2))

    def zero_residuals(self) -> None:
        """Initialise the outputs of both residual branches to zero."""
        nn.init.zeros_(self.attention.out.weight)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Tensor, layer: int, cache: KeyValueCache | None) -> Tensor:
        first, second = self.norms
        if self.post_norm:
            x = first(x + self.dropout(self.attention(x, layer, cache)))
            return torch.as_tensor(second(x + self.dropout(self._feedforward(x))))
        x = x + self.dropout(self.attention(first(x), layer, cache))
        return x + torch.as_tensor(self.dropout(self._feedforward(second(x))))

    def _feedforward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.narrow(F.gelu(self.widen(x))))


def _norm(config: Backbone) -> nn.Module:
    return nn.LayerNorm(config.width, eps=1e-12) if isinstance(config, Bert) else nn.RMSNorm(config.width)


class Transformer(nn.Module):
    """A stack of Transformer layers.

    Args:
        config: Design and sizes.
        length: Maximum length of a sequence, in tokens.
        causal: Whether a position attends only to itself and earlier positions.

    Raises:
        ValueError: If the length exceeds the learned positions of `Bert`, or the width is not a multiple of the heads.
    """

    def __init__(self, config: Backbone, *, length: int, causal: bool) -> None:
        super().__init__()
        if isinstance(config, Bert) and length > config.positions:
            raise ValueError(f"windows of {length} tokens do not fit into {config.positions} learned positions")
        self.positions = nn.Embedding(config.positions, config.width) if isinstance(config, Bert) else None
        self.layers = nn.ModuleList(
            _TransformerLayer(config, causal=causal, length=length) for _ in range(config.layers)
        )
        self.norm = _norm(config)  # on the input (Bert) or on the output (PreNorm)
        self.dropout = nn.Dropout(config.dropout)
        if isinstance(config, PreNorm):
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features))
            for module in self.modules():
                if isinstance(module, _TransformerLayer):
                    module.zero_residuals()

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the weights."""
        return next(self.parameters()).dtype

    def new_cache(self) -> KeyValueCache:
        """Return an empty cache for processing one position at a time."""
        return KeyValueCache(len(self.layers))

    def forward(self, x: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Map (B, L, H) to (B, L, H). With a cache (causal only), x is the next position, (B, 1, H).

        The residual stream is kept in the precision of the weights, whatever the precision of the matrix products.
        """
        x = x.to(self.dtype)
        if self.positions is not None:
            start = cache.length if cache else 0
            x = x + self.positions.weight[start : start + x.shape[1]]
            x = self.norm(x)
        x = self.dropout(x)
        for index, layer in enumerate(self.layers):
            x = layer(x, index, cache)
        if cache is not None:
            cache.length += 1
        return x if self.positions is not None else self.norm(x)

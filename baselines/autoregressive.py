"""The autoregressive baseline: the same Transformer, causal, with an exact likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.models.transformer import Transformer
from replication.tokens.protocol import CLS, PAD, SEP
from replication.training.model import Likelihood, token_counts
from replication.training.trainable import CHUNK, Trainable
from replication.util.generators import generator

if TYPE_CHECKING:
    from replication.training.scales import Scale


class Autoregressive(Trainable):
    """p(w) = prod_i p(w_i | w_<i), with w_0 = [CLS] given and [PAD] after [SEP] for certain."""

    def __init__(self, *, vocabulary: int, scale: Scale) -> None:
        super().__init__()
        self.length = scale.length
        width = scale.backbone.width
        self.embedding = nn.Embedding(vocabulary, width)
        # Small, so that training decides what the table says: it is pretrained vectors for another experiment.
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.transformer = Transformer(scale.backbone, length=scale.length, causal=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return ln p(next token) (B, L, V) after each of (B, L) tokens."""
        return _log_probabilities(self.head(self.transformer(self.embedding(tokens))), tokens)

    def amounts(self, tokens: Tensor) -> Tensor:
        """Return the tokens that each window has to say."""
        return token_counts(tokens)

    def terms(self, tokens: Tensor, *noise: Tensor) -> dict[str, Tensor]:  # noqa: ARG002 - no noise here
        """Return the mean negative log-likelihood per token."""
        return {"nll": self._nats(tokens).sum() / token_counts(tokens).sum()}

    def _nats(self, tokens: Tensor) -> Tensor:
        log_probabilities = self(tokens[:, :-1])
        return F.nll_loss(log_probabilities.transpose(1, 2), tokens[:, 1:], reduction="none").sum(1)

    @torch.no_grad()
    def nll(self, tokens: Tensor, *, seed: int) -> Likelihood:  # noqa: ARG002 - exact, so nothing is drawn
        """Return -ln p(window); infinite for windows that the marks' grammar rules out."""
        nats = torch.cat([self._nats(part) for part in torch.split(tokens, CHUNK)]).double()
        nats = nats.masked_fill(tokens[:, 0] != CLS, torch.inf)
        return Likelihood(terms={"nll": nats}, exact=True)

    def draw(self, indices: range, *, seed: int) -> Tensor:
        """Draw windows (CHUNK, L) at temperature 1, with cached keys and values."""
        device = self.head.weight.device
        # One uniform number per token, in double precision: single precision would sharpen the distribution.
        uniform = torch.stack(
            [torch.rand(self.length, generator=generator("sample", seed, i), dtype=torch.float64) for i in indices]
        ).to(device)
        tokens = torch.full((len(indices), 1), CLS, device=device)
        cache = self.transformer.new_cache()
        for position in range(1, self.length):
            last = tokens[:, -1:]  # tells whether the window is over: see `_log_probabilities`
            logits = self.head(self.transformer(self.embedding(last), cache))
            cumulative = _log_probabilities(logits, last)[:, 0].double().exp().cumsum(-1)
            target = uniform[:, position, None] * cumulative[:, -1:]
            tokens = torch.cat((tokens, torch.searchsorted(cumulative, target, right=True)), dim=1)
        return tokens


def _log_probabilities(logits: Tensor, tokens: Tensor) -> Tensor:
    """Normalise (B, L, V) over what may follow: after [SEP] or [PAD] only [PAD], else all but [PAD] and [CLS]."""
    over = ((tokens == SEP) | (tokens == PAD))[..., None]
    marks = torch.arange(logits.shape[-1], device=logits.device)
    barred = torch.where(over, marks != PAD, (marks == PAD) | (marks == CLS))
    return torch.as_tensor(logits.float().masked_fill(barred, -torch.inf).log_softmax(-1))

"""The autoregressive baseline: the same Transformer, causal, with an exact likelihood."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.models.transformer import Transformer
from replication.tokens.protocol import CLS, PAD, SEP
from replication.training.model import Likelihood, token_counts
from replication.training.neural_model import CHUNK, NeuralModel
from replication.util.generators import generator

if TYPE_CHECKING:
    from replication.training.model import Job
    from replication.training.scales import Scale


class Autoregressive(NeuralModel):
    """A causal Transformer: p(w) = prod_i p(w_i | w_<i), where w_0 = [CLS] is given.

    Every other token is predicted, padding included, as in diffusion: -ln p(window) is a sum over L - 1 positions.

    Args:
        vocabulary: Number of words V.
        scale: Sizes and budget.
        masked: Whether the grammar of the special tokens is given, in training, likelihood and sampling: [PAD] is
            certain after [SEP], and nowhere else is there [PAD] or [CLS]. Padding then costs nothing.
    """

    def __init__(self, *, vocabulary: int, scale: Scale, masked: bool = False) -> None:
        super().__init__()
        self.scale, self.masked = scale, masked
        width = scale.backbone.width
        self.embedding = nn.Embedding(vocabulary, width)
        # Small, so that training determines the table, which another experiment uses as pretrained vectors.
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.transformer = Transformer(scale.backbone, length=scale.length, causal=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return ln p(next token) (B, L, V) after each of the tokens (B, L)."""
        return self._log_probabilities(self.head(self.transformer(self.embedding(tokens))), tokens)

    def fit(self, job: Job) -> None:
        """Train with the model's own scale; see `train_network`."""
        super().fit(replace(job, scale=self.scale))

    def window_weights(self, tokens: Tensor) -> Tensor:
        """Return the number of tokens of each window as all likelihoods count them, (B,)."""
        return token_counts(tokens)

    def terms(self, tokens: Tensor, *noise: Tensor) -> dict[str, Tensor]:  # noqa: ARG002 - no noise here
        """Return the negative log-likelihood of the batch in nats, divided by its tokens as `token_counts` counts."""
        return {"nll": self._nats(tokens).sum() / token_counts(tokens).sum()}

    def _nats(self, tokens: Tensor) -> Tensor:
        """Return -ln p(window) (B,) of windows (B, L) that begin with [CLS]."""
        log_probabilities = self(tokens[:, :-1])
        return F.nll_loss(log_probabilities.transpose(1, 2), tokens[:, 1:], reduction="none").sum(1)

    @torch.no_grad()
    def nll(self, tokens: Tensor, *, seed: int) -> Likelihood:  # noqa: ARG002 - exact, so nothing is drawn
        """Return -ln p(window), infinite without [CLS] in front; if masked, for all windows that break the grammar."""
        nats = torch.cat([self._nats(part) for part in torch.split(tokens, CHUNK)]).double()
        nats = nats.masked_fill(tokens[:, 0] != CLS, torch.inf)
        return Likelihood(terms={"nll": nats}, exact=True)

    def draw_chunk(self, indices: range, *, seed: int) -> Tensor:
        """Draw windows (CHUNK, L) at temperature 1, with cached keys and values."""
        device, length = self.head.weight.device, self.scale.length
        # One uniform number per token, in double precision, because single precision would sharpen the distribution.
        uniform = torch.stack(
            [torch.rand(length, generator=generator("sample", seed, i), dtype=torch.float64) for i in indices]
        ).to(device)
        tokens = torch.full((len(indices), 1), CLS, device=device)
        cache = self.transformer.new_cache()
        for position in range(1, length):
            last = tokens[:, -1:]
            logits = self.head(self.transformer(self.embedding(last), cache))
            cumulative = self._log_probabilities(logits, last)[:, 0].double().exp().cumsum(-1)
            target = uniform[:, position, None] * cumulative[:, -1:]
            tokens = torch.cat((tokens, torch.searchsorted(cumulative, target, right=True)), dim=1)
        return tokens

    def _log_probabilities(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Normalise logits (B, L, V) over the words that may follow each of the tokens (B, L).

        These are all words. If masked, after [SEP] and [PAD] only [PAD], and else all except [PAD] and [CLS].
        """
        logits = logits.float()
        if self.masked:
            ended = ((tokens == SEP) | (tokens == PAD))[..., None]
            words = torch.arange(logits.shape[-1], device=logits.device)
            excluded = torch.where(ended, words != PAD, (words == PAD) | (words == CLS))
            logits = logits.masked_fill(excluded, -torch.inf)
        return logits.log_softmax(-1)

"""The autoregressive baseline: the same Transformer, causal, with an exact likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from replication.files import atomic
from replication.model import Likelihood, token_counts
from replication.randomness import generator
from replication.tokens import CLS, PAD, SEP
from replication.train import Trainable, load_weights, read_tensors, sgd
from replication.transformer import Transformer

if TYPE_CHECKING:
    from pathlib import Path

    from replication.model import Job
    from replication.scales import Scale

CHUNK = 64  # windows that are sampled together: always this many, so that a sample does not depend on the others


class Autoregressive(Trainable):
    """p(w) = prod_i p(w_i | w_<i), with w_0 = [CLS] given and [PAD] after [SEP] for certain."""

    def __init__(self, *, vocabulary: int, scale: Scale) -> None:
        super().__init__()
        self.length = scale.length
        width = scale.backbone.width
        self.embedding = nn.Embedding(vocabulary, width)
        self.transformer = Transformer(scale.backbone, length=scale.length, causal=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return ln p(next token) (B, L, V) after each of (B, L) tokens."""
        return _log_probabilities(self.head(self.transformer(self.embedding(tokens))), tokens)

    def terms(self, tokens: Tensor, *, random: torch.Generator) -> dict[str, Tensor]:  # noqa: ARG002 - no noise here
        """Return the mean negative log-likelihood per token."""
        return {"nll": self._nats(tokens).sum() / token_counts(tokens).sum()}

    def _nats(self, tokens: Tensor) -> Tensor:
        log_probabilities = self(tokens[:, :-1])
        return F.nll_loss(log_probabilities.transpose(1, 2), tokens[:, 1:], reduction="none").sum(1)

    def fit(self, job: Job) -> None:
        """Train; see `sgd`."""
        self.load_state_dict(sgd(self, job).state_dict())
        self.eval()

    def save(self, path: Path) -> None:
        """Write the weights."""
        with atomic(path) as draft:
            save_file(self.state_dict(), draft)

    def load(self, path: Path) -> None:
        """Read the weights."""
        load_weights(self, read_tensors(path)[0], path)
        self.eval()

    def parameters_count(self) -> int:
        """Count the parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    @torch.no_grad()
    def nll(self, tokens: Tensor, *, seed: int) -> Likelihood:  # noqa: ARG002 - exact, so nothing is drawn
        """Return -ln p(window); infinite for windows that the marks' grammar rules out."""
        nats = torch.cat([self._nats(part) for part in torch.split(tokens, CHUNK)]).double()
        nats = nats.masked_fill(tokens[:, 0] != CLS, torch.inf)
        return Likelihood(terms={"nll": nats}, exact=True)

    @torch.no_grad()
    def sample(self, indices: range, *, seed: int) -> Tensor:
        """Draw windows at temperature 1 with cached keys and values; returns (len(indices), L) on the CPU."""
        device = self.head.weight.device
        done = []
        for first in range(indices.start - indices.start % CHUNK, indices.stop, CHUNK):
            # One uniform number per token, in double precision: single precision would sharpen the distribution.
            uniform = torch.stack(
                [
                    torch.rand(self.length, generator=generator("sample", seed, index), dtype=torch.float64)
                    for index in range(first, first + CHUNK)
                ]
            ).to(device)
            tokens = torch.full((CHUNK, 1), CLS, device=device)
            cache = self.transformer.new_cache()
            for position in range(1, self.length):
                last = tokens[:, -1:]
                logits = self.head(self.transformer(self.embedding(last), cache))
                # A position's predecessor tells whether [SEP] has come: after [SEP] or [PAD], only [PAD].
                cumulative = _log_probabilities(logits, last)[:, 0].double().exp().cumsum(-1)
                target = uniform[:, position, None] * cumulative[:, -1:]
                tokens = torch.cat((tokens, torch.searchsorted(cumulative, target, right=True)), dim=1)
            done.append(tokens.cpu())
        skip = indices.start % CHUNK
        return torch.cat(done)[skip : skip + len(indices)]


def _log_probabilities(logits: Tensor, tokens: Tensor) -> Tensor:
    """Normalise (B, L, V) over what may follow: after [SEP] or [PAD] only [PAD], else all but [PAD] and [CLS]."""
    over = ((tokens == SEP) | (tokens == PAD))[..., None]
    marks = torch.arange(logits.shape[-1], device=logits.device)
    barred = torch.where(over, marks != PAD, (marks == PAD) | (marks == CLS))
    return torch.as_tensor(logits.float().masked_fill(barred, -torch.inf).log_softmax(-1))

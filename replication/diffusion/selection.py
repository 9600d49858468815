"""Select a sample among several candidates: the one with which the others agree most."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from replication.diffusion.rounding import nearest
from replication.tokens.protocol import PAD
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from replication.diffusion.samplers import Sampler

NGramCounts = Counter[tuple[int, ...]]  # occurrences of each n-gram
ORDERS = (1, 2, 3, 4)  # of the n-grams, as in BLEU


@dataclass(frozen=True, kw_only=True)
class MinimumBayesRisk:
    """A sampler that selects, of S candidates, the one with the greatest mean `ngram_overlap` with the others.

    This is minimum Bayes risk decoding (Li et al. 2022, section 5.2). The candidates of a sample are drawn one after
    another from the sample's own noise.

    Attributes:
        sampler: Sampler of the candidates.
        candidates: S, at least 2.
    """

    sampler: Sampler
    candidates: int

    @property
    def evaluations(self) -> int:  # noqa: D102 - see Sampler
        return self.candidates * self.sampler.evaluations

    def __call__(  # noqa: D102 - see Sampler
        self,
        denoise: Callable[[Tensor, float], Tensor],
        table: Tensor,
        alpha_bar: Tensor,
        noise: Callable[[], Tensor],
    ) -> Tensor:
        import torch

        if self.candidates < 2:  # noqa: PLR2004 - agreement takes two
            raise UserError(f"{self.candidates} candidates are too few; use at least 2")
        drawn = torch.stack([self.sampler(denoise, table, alpha_bar, noise) for _ in range(self.candidates)], 1)
        chosen = [most_agreed(words) for words in nearest(table, drawn).tolist()]
        return drawn[torch.arange(len(drawn)), chosen]


def most_agreed(candidates: Sequence[Sequence[int]]) -> int:
    """Return the index of the window with the greatest mean `ngram_overlap` with the others; the first if equal."""
    counted = [ngram_counts(words) for words in candidates]
    utilities = [0.0] * len(candidates)
    for one, other in combinations(range(len(candidates)), 2):
        utility = ngram_overlap(counted[one], counted[other])
        utilities[one] += utility
        utilities[other] += utility
    return max(range(len(utilities)), key=utilities.__getitem__)


def ngram_overlap(one: Sequence[NGramCounts], other: Sequence[NGramCounts]) -> float:
    """Return the similarity of two windows, 0..1: the mean over n = 1..4 of 2 |A & B| / (|A| + |B|).

    A and B are the multisets of their n-grams. Positions do not matter: a phrase that begins one token later still
    agrees, as in BLEU, the paper's utility. Unlike BLEU, this measure is symmetric, so that no candidate gains by being
    long or short, and its mean over n is arithmetic, so that windows without a common 4-gram need no smoothing.

    >>> round(ngram_overlap(ngram_counts([3, 4]), ngram_counts([3, 4, 5])), 4)
    0.3667
    """
    shares = [2 * (a & b).total() / max(1, a.total() + b.total()) for a, b in zip(one, other, strict=True)]
    return sum(shares) / len(shares)


def ngram_counts(words: Sequence[int]) -> list[NGramCounts]:
    """Count the n-grams of a window for n = 1..4, without padding."""
    tokens = [word for word in words if word != PAD]
    return [Counter(zip(*(tokens[start:] for start in range(order)), strict=False)) for order in ORDERS]

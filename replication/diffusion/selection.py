"""Selection of samples: of several candidates the one that the others agree with most."""

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

Grams = Counter[tuple[int, ...]]  # how often each n-gram comes
ORDERS = (1, 2, 3, 4)  # of n-grams, as BLEU has them


@dataclass(frozen=True, kw_only=True)
class MinimumBayesRisk:
    """Of S candidates the one with the greatest mean `overlap` with the others (Li et al. 2022, section 5.2).

    The candidates of a sample are drawn one after another from its own noise.

    Attributes:
        sampler: draws the candidates.
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

        if self.candidates < 2:  # noqa: PLR2004 - there is no other to agree with
            raise UserError(f"{self.candidates} candidates: choosing one takes 2 or more")
        drawn = torch.stack([self.sampler(denoise, table, alpha_bar, noise) for _ in range(self.candidates)], 1)
        chosen = [agreed(words) for words in nearest(table, drawn).tolist()]
        return drawn[torch.arange(len(drawn)), chosen]


def agreed(candidates: Sequence[Sequence[int]]) -> int:
    """Return which of S windows has the greatest mean `overlap` with the others; of equal ones the first."""
    counted = [grams(words) for words in candidates]
    utilities = [0.0] * len(candidates)
    for one, other in combinations(range(len(candidates)), 2):
        utility = overlap(counted[one], counted[other])
        utilities[one] += utility
        utilities[other] += utility
    return max(range(len(utilities)), key=utilities.__getitem__)


def overlap(one: Sequence[Grams], other: Sequence[Grams]) -> float:
    """Return how much two windows have in common, 0 to 1: the mean over n = 1..4 of 2 |A & B| / (|A| + |B|).

    A and B are the multisets of their n-grams. What is said counts, not where: a phrase that begins a token later still
    agrees, as in BLEU, the paper's utility. Unlike BLEU it is symmetric, so that no candidate gains by being long or
    short, and its mean over n is arithmetic, so that windows without a common 4-gram need no smoothing.
    """
    shares = [2 * (a & b).total() / max(1, a.total() + b.total()) for a, b in zip(one, other, strict=True)]
    return sum(shares) / len(shares)


def grams(words: Sequence[int]) -> list[Grams]:
    """Return the n-grams of a window for n = 1..4, padding left out."""
    said = [word for word in words if word != PAD]
    return [Counter(zip(*(said[start:] for start in range(order)), strict=False)) for order in ORDERS]

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from replication.diffusion.rounding import nearest
from replication.diffusion.samplers import Ancestral
from replication.diffusion.schedule import Sqrt
from replication.diffusion.selection import MinimumBayesRisk, most_agreed, ngram_counts, ngram_overlap
from replication.util.errors import UserError
from replication.util.generators import generator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from replication.diffusion.samplers import Sampler

ALPHA_BAR = torch.from_numpy(Sqrt().alpha_bar(2000))


def overlap(one: Sequence[int], other: Sequence[int]) -> float:
    return ngram_overlap(ngram_counts(one), ngram_counts(other))


def fresh_noise() -> Callable[[], Tensor]:
    random = generator("noise")
    return lambda: torch.randn(6, 8, 2, generator=random, dtype=torch.float64)


def test_overlap_ignores_positions() -> None:
    tune, later, other = [1, 5, 6, 7, 8, 2, 0, 0], [1, 9, 5, 6, 7, 8, 2, 0], [1, 8, 7, 6, 5, 2, 0, 0]
    assert overlap(tune, tune) == 1
    assert overlap(tune, later) > overlap(tune, other)
    assert overlap(tune, later) == overlap(later, tune)
    assert overlap([3, 3], [4, 4]) == 0
    assert overlap([0, 0], [0, 0]) == 0
    # 2 of 2 and 3 words, 1 of 1 and 2 pairs, 0 of 0 and 1 triples.
    assert overlap([3, 4], [3, 4, 5]) == pytest.approx((4 / 5 + 2 / 3) / 4)


def test_the_candidate_with_the_greatest_overlap_is_selected() -> None:
    assert most_agreed([[3, 4, 5, 6], [7, 8, 9, 10], [3, 4, 5, 11]]) == 0
    assert most_agreed([[7, 8, 9, 10], [3, 4, 5, 6], [3, 4, 5, 6]]) == 1


def test_each_sample_gets_the_best_of_its_own_candidates() -> None:
    table = torch.randn(9, 2, generator=generator("table"), dtype=torch.float64)
    inner = Ancestral(steps=3)

    def draw(sampler: Sampler, noise: Callable[[], Tensor]) -> Tensor:
        return sampler(lambda x, _: x, table, ALPHA_BAR, noise)

    noise = fresh_noise()
    candidates = [nearest(table, draw(inner, noise)) for _ in range(4)]
    best = draw(MinimumBayesRisk(sampler=inner, candidates=4), fresh_noise())
    for row, words in enumerate(nearest(table, best).tolist()):
        own = [candidate[row].tolist() for candidate in candidates]
        assert words == own[most_agreed(own)]
    assert MinimumBayesRisk(sampler=inner, candidates=4).evaluations == 12
    with pytest.raises(UserError, match="1 candidates"):
        draw(MinimumBayesRisk(sampler=inner, candidates=1), noise)

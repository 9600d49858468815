"""The rule of the verdicts, for made-up differences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from eval.claims.verdicts import EndpointScale, Evidence, Refusal, Ruling, Verdict, judge
from eval.statistics.paired import contrast, detectable_effect, holm

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FLOORS = EndpointScale(unit=" floors", margin=0.5, better=-1)


def evidence(differences: ArrayLike, *, scale: EndpointScale = FLOORS, reservation: str = "") -> Evidence:
    return Evidence(scale=scale, contrast=contrast(differences, margin=scale.margin), reservation=reservation)


def verdict(differences: ArrayLike, *, scale: EndpointScale = FLOORS, reservation: str = "") -> Verdict:
    (found,) = judge([("C1", "It is so.", evidence(differences, scale=scale, reservation=reservation))])
    return found


@pytest.mark.parametrize(
    ("differences", "ruling"),
    [
        ([-1.0, -1.2, -0.9, -1.1], Ruling.REPRODUCED),
        ([1.0, 1.2, 0.9, 1.1], Ruling.CONTRADICTED),
        ([0.1, -0.1, 0.05, -0.05], Ruling.EQUIVALENT),
        ([-0.10, -0.11, -0.12, -0.10], Ruling.EQUIVALENT),  # certain, and without meaning
        ([-2.0, 1.0, 0.5, -1.0], Ruling.INCONCLUSIVE),
        ([-0.7, -0.5, -0.4, -0.6], Ruling.REPRODUCED),  # excludes 0 and reaches into the margin
        ([-3.0], Ruling.INCONCLUSIVE),
        ([], Ruling.INCONCLUSIVE),
        ([-1.0, math.nan, -1.0], Ruling.INCONCLUSIVE),
        ([0.0, 0.0, 0.0], Ruling.EQUIVALENT),
    ],
)
def test_the_four_verdicts(differences: list[float], ruling: Ruling) -> None:
    found = verdict(differences)
    assert found.verdict is ruling
    assert found.sentence.startswith(f"{ruling.capitalize()}: ")


def test_the_claimed_direction_is_a_choice() -> None:
    upwards = EndpointScale(unit="", margin=0.2, better=1)
    assert verdict([0.8, 0.9, 0.85], scale=upwards).verdict is Ruling.REPRODUCED
    assert verdict([-0.8, -0.9, -0.85], scale=upwards).verdict is Ruling.CONTRADICTED


def test_sentences_have_verdict_difference_interval_and_seeds() -> None:
    assert verdict([-1.0, -1.2, -0.9, -1.1]).sentence == "Reproduced: -1.05 floors [-1.26, -0.84], 4 seeds."
    assert verdict([0.1, -0.1, 0.05, -0.05]).sentence == (
        "No meaningful difference: +0.00 floors [-0.15, +0.15], 4 seeds, smaller than the margin of 0.5."
    )
    opened = verdict([-2.0, 1.0, 0.5, -1.0])
    assert opened.sentence.startswith(
        "Inconclusive: -0.38 floors [-2.57, +1.82], 4 seeds; 4 seeds find a difference of"
    )
    assert verdict([-3.0]).sentence == "Inconclusive: a claim about a method needs 2 seeds (-3.00 floors, 1 seed)."


def test_intervals_stay_in_the_possible_range() -> None:
    scale = EndpointScale(unit="", margin=0.2, better=1, low=-1.0, high=1.0)
    assert "[-1.00, +1.00]" in verdict([0.9, -0.9, 0.2], scale=scale).sentence


def test_a_reservation_makes_every_verdict_inconclusive() -> None:
    found = verdict([-1.0, -1.2, -0.9, -1.1], reservation="the test has no power here")
    assert found.verdict is Ruling.INCONCLUSIVE
    assert found.sentence == "Inconclusive: the test has no power here (-1.05 floors [-1.26, -0.84], 4 seeds)."


def test_both_p_values_are_adjusted_for_the_number_of_claims() -> None:
    rng = np.random.default_rng(0)
    given = [evidence(rng.normal(-0.6, 0.5, 5)) for _ in range(4)]
    refused = Refusal(ruling=Ruling.NOT_TESTED, reason="e2e was not run")
    claims: list[Evidence | Refusal] = [*given, refused]
    named = [(f"C{index}", "", one) for index, one in enumerate(claims)]
    found = judge(named)
    # A claim that could not be judged was planned all the same.
    assert [one.p for one in found[:4]] == holm([one.contrast.p for one in given], tests=5)
    assert [one.p_equivalent for one in found[:4]] == holm([one.contrast.p_equivalent for one in given], tests=5)
    assert found[0].detectable == pytest.approx(detectable_effect(5, given[0].contrast.deviation, tests=5))
    more = judge(named, declared=8)
    assert more[0].p == holm([one.contrast.p for one in given], tests=8)[0] > found[0].p
    assert found[4].verdict is Ruling.NOT_TESTED
    assert found[4].sentence == "Not tested: e2e was not run."


def test_a_difference_that_one_claim_shows_may_be_lost_among_many() -> None:
    close = [-0.8, -1.6, -2.2, -0.9]  # p = 0.03
    assert verdict(close).verdict is Ruling.REPRODUCED
    others = [evidence([-2.0, 1.0, 0.5, -1.0]) for _ in range(4)]
    found = judge([("C1", "", evidence(close)), *((f"C{index}", "", one) for index, one in enumerate(others, 2))])
    assert found[0].verdict is Ruling.INCONCLUSIVE


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_wrong_verdicts_are_rare_and_more_seeds_settle_every_claim(seeds: int) -> None:
    rng, draws = np.random.default_rng(seeds), 400
    nothing = [verdict(rng.normal(0.0, 0.6, seeds)).verdict for _ in range(draws)]
    assert sum(one in {Ruling.REPRODUCED, Ruling.CONTRADICTED} for one in nothing) < 0.05 * draws + 3 * 4.4
    at_margin = [verdict(rng.normal(0.5, 0.6, seeds)).verdict for _ in range(draws)]
    assert sum(one is Ruling.EQUIVALENT for one in at_margin) < 0.05 * draws + 3 * 4.4
    for mean, ruling in ((0.0, Ruling.EQUIVALENT), (-1.5, Ruling.REPRODUCED), (1.5, Ruling.CONTRADICTED)):
        many = [verdict(rng.normal(mean, 0.6, 60)).verdict for _ in range(20)]
        assert many.count(ruling) >= 19

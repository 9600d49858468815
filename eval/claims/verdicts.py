"""Reach the verdicts on claims by a rule that was fixed before the results.

A claim is about a method, so its unit is the training seed. Each claim has one primary endpoint, in which its two
sides are compared seed by seed (`eval.statistics.paired.contrast`), and a margin, below which a difference has no
meaning. Two tests are made of each claim: that the difference is 0, and that it is at least the margin (two one-sided
tests). The p values of each kind are adjusted for the number of declared claims by Holm's procedure. At level 0.05 the
verdict is

    no meaningful difference  if the difference is shown to be smaller than the margin, even if it is not 0,
    reproduced                otherwise, if it is shown to differ from 0 in the claimed direction,
    contradicted              otherwise, if it is shown to differ from 0 in the other direction,
    inconclusive              otherwise, and always with fewer than 2 seeds,
    not testable here         if the endpoint cannot tell permuted pitches or shuffled onsets from this real music,
    not tested                if a model or one of these controls was not run, or sets of unequal size were scored.

The 95 % interval that is printed is that of a single claim. Where several claims are judged, an interval may exclude 0
without a verdict, and since equivalence at level 0.05 corresponds to a 90 % interval, it may leave the margin a little.
The probability of any wrong verdict is at most 0.05 for each of the two kinds, 0.1 together.

Equivalence comes first because a difference smaller than the margin does not become meaningful by being certain. With
more seeds every interval ends up on one side of 0 or within the margin. Secondary measures are reported with their
intervals, and never make a verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from eval.statistics.paired import ALPHA, detectable_effect, holm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eval.statistics.paired import Contrast

MIN_SEEDS = 2  # a standard deviation needs two


class Ruling(StrEnum):
    """Possible verdicts on a claim."""

    REPRODUCED = "reproduced"
    CONTRADICTED = "contradicted"
    EQUIVALENT = "no meaningful difference"
    INCONCLUSIVE = "inconclusive"
    NOT_TESTABLE = "not testable here"
    NOT_TESTED = "not tested"


@dataclass(frozen=True, kw_only=True)
class EndpointScale:
    """The scale on which the primary endpoint of a claim is measured.

    Attributes:
        unit: Unit of a difference with a space before it; empty for a number without unit.
        margin: Differences smaller than this have no meaning.
        better: Sign of a difference that is for the claim.
        of: What the number of cases counts, in the singular.
        low: Smallest possible difference.
        high: Largest possible difference.
    """

    unit: str
    margin: float
    better: int
    of: str = "seed"
    low: float = -math.inf
    high: float = math.inf


class Secondary(NamedTuple):
    """The result of a secondary measure.

    Attributes:
        measure: Label of the measure, with its unit.
        contrast: Comparison of the two sides over seeds.
    """

    measure: str
    contrast: Contrast


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a claim is judged by.

    Attributes:
        scale: Scale of the primary endpoint.
        contrast: Comparison of the two sides over seeds, on that scale.
        secondary: Other measures; they do not count.
        notes: What has to be known beside the verdict, as sentences without a full stop.
        reservation: Reason why a difference proves nothing here; empty if there is none.
    """

    scale: EndpointScale
    contrast: Contrast
    secondary: tuple[Secondary, ...] = ()
    notes: tuple[str, ...] = ()
    reservation: str = ""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a claim was not judged.

    Attributes:
        ruling: `Ruling.NOT_TESTED` or `Ruling.NOT_TESTABLE`.
        reason: Reason, without a full stop.
    """

    ruling: Ruling
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on a claim, and the reason.

    Attributes:
        name: Name of the claim.
        statement: Claim in one sentence.
        verdict: Ruling by the rule of this module.
        sentence: Verdict, difference, interval and seeds in one short sentence.
        evidence: What it was judged by; None if the claim was not judged.
        p: p value of a difference, adjusted for the number of claims.
        p_equivalent: p value of equivalence, adjusted likewise.
        detectable: Smallest difference that this number of seeds finds with power 0.8, given the deviation over seeds.
    """

    name: str
    statement: str
    verdict: Ruling
    sentence: str
    evidence: Evidence | None = None
    p: float = math.nan
    p_equivalent: float = math.nan
    detectable: float = math.nan

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be known beside the verdict, as sentences without a full stop."""
        return self.evidence.notes if self.evidence else ()


def judge(claims: Sequence[tuple[str, str, Evidence | Refusal]], *, declared: int | None = None) -> list[Verdict]:
    """Return the verdicts on claims by the rule of this module.

    Args:
        claims: Name, statement and evidence of each.
        declared: Number of claims that were declared together, for which p values are adjusted, whether or not all of
            them could be judged; None for the number of `claims`.
    """
    judged = [found.contrast for *_, found in claims if isinstance(found, Evidence)]
    tests = len(claims) if declared is None else declared
    different = holm([one.p for one in judged], tests=tests)
    equal = holm([one.p_equivalent for one in judged], tests=tests)
    adjusted = zip(different, equal, strict=True)
    verdicts = []
    for name, statement, found in claims:
        if isinstance(found, Refusal):
            sentence = f"{found.ruling.capitalize()}: {found.reason}."
            verdicts.append(Verdict(name=name, statement=statement, verdict=found.ruling, sentence=sentence))
            continue
        p, p_equivalent = next(adjusted)
        ruling = _ruling(found, p, p_equivalent)
        detectable = detectable_effect(found.contrast.n, found.contrast.deviation, tests=tests)
        verdicts.append(
            Verdict(
                name=name,
                statement=statement,
                verdict=ruling,
                sentence=f"{ruling.capitalize()}: {_reason(found, ruling, detectable)}.",
                evidence=found,
                p=p,
                p_equivalent=p_equivalent,
                detectable=detectable,
            )
        )
    return verdicts


def _ruling(found: Evidence, p: float, p_equivalent: float) -> Ruling:
    if found.contrast.n < MIN_SEEDS or found.reservation:
        return Ruling.INCONCLUSIVE
    if p_equivalent <= ALPHA:
        return Ruling.EQUIVALENT
    if p <= ALPHA:
        return Ruling.REPRODUCED if found.contrast.difference * found.scale.better > 0 else Ruling.CONTRADICTED
    return Ruling.INCONCLUSIVE


def _reason(found: Evidence, ruling: Ruling, detectable: float) -> str:
    """Return difference, interval and seeds as text, and what an open claim would take."""
    one, unit = found.contrast, found.scale.unit
    units = f"1 {found.scale.of}" if one.n == 1 else f"{one.n} {found.scale.of}s"
    if not one.n:
        return f"the two sides have no {found.scale.of} in common"
    if math.isnan(one.difference):
        return f"a value of the {units} is missing or infinite"
    low, high = max(one.low, found.scale.low), min(one.high, found.scale.high)
    between = "" if math.isnan(one.low) else f" [{low:+.2f}, {high:+.2f}]"
    numbers = f"{one.difference:+.2f}{unit}{between}, {units}"
    if found.reservation:
        return f"{found.reservation} ({numbers})"
    if one.n < MIN_SEEDS:
        return f"a claim about a method needs {MIN_SEEDS} seeds ({numbers})"
    return numbers + {
        Ruling.EQUIVALENT: f", smaller than the margin of {found.scale.margin:g}",
        Ruling.INCONCLUSIVE: f"; {units} find a difference of {detectable:.2g} with power 0.8"
        if math.isfinite(detectable)
        else "",
    }.get(ruling, "")

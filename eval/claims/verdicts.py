"""Compute the verdict on a claim, and the sentence that explains it, by a rule that was fixed before the results.

A claim is about a method, so its unit is the training seed. Each claim has a family of measures. In each measure, two
models are compared seed by seed (`eval.statistics.paired.contrast`), and the p values of the family are adjusted
by Holm's procedure. A measure is for or against the claim, by the sign of the difference, if its adjusted two-sided p
is at most 0.05. The claim is

    reproduced      if at least one measure is for it and none against it,
    not reproduced  if at least one measure is against it and none for it,
    inconclusive    otherwise, and always with fewer than 2 seeds,
    not tested      if one of its models was not run, or if the models were scored with unequal numbers of windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from eval.statistics.intervals import deviation
from eval.statistics.paired import ALPHA, Procedure, contrast, detectable_effect, holm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from eval.statistics.paired import Contrast

MIN_SEEDS = 2  # a standard deviation needs two


class Finding(StrEnum):
    """Result of one measure for a claim."""

    FOR = "for"
    AGAINST = "against"
    OPEN = "open"


class Ruling(StrEnum):
    """Possible verdicts on a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"
    NOT_TESTED = "not tested"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure that a claim is judged by.

    Attributes:
        name: Name of the measure in the table of values.
        label: Name of the measure in a sentence.
        unit: Unit of a difference with a space before it; empty for a number without unit.
        low: Smallest possible difference.
        high: Largest possible difference.
    """

    name: str
    label: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf


class Row(NamedTuple):
    """Result of one measure for a claim, with its numbers.

    Attributes:
        measure: Name of the measure.
        difference: Mean over seeds of ours minus other, or of the rank correlation.
        low: Lower end of its unadjusted 95 % t interval over seeds, clipped to the possible range.
        high: Upper end of the interval, clipped to the possible range.
        p: Two-sided p value; NaN if there is no test.
        test: Test that p is from.
        p_holm: p adjusted for the family of the claim.
        seeds: Number of seeds that both models have.
        detectable: Smallest true difference that one test of the family detects with power 0.8.
        finding: Whether the measure is for the claim, against it, or neither.
    """

    measure: str
    difference: float
    low: float
    high: float
    p: float
    test: Procedure
    p_holm: float
    seeds: int
    detectable: float
    finding: Finding


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on a claim, and the reason.

    Attributes:
        name: Name of the claim.
        statement: Claim in one sentence.
        verdict: Ruling by the rule of this module.
        sentence: Ruling with the decisive numbers.
        rows: One row per measure; none if the claim was not tested.
    """

    name: str
    statement: str
    verdict: Ruling
    sentence: str
    rows: tuple[Row, ...] = ()


class Comparison(NamedTuple):
    """A measure with the contrast of its differences over seeds."""

    measure: Measure
    contrast: Contrast
    detectable: float

    @classmethod
    def of(cls, measure: Measure, differences: NDArray[Any], *, tests: int, resolution: float = 0.0) -> Comparison:
        """Test (seeds,) differences, as one of `tests` in a family; see `eval.statistics.paired.contrast`."""
        nothing = [0.0] * len(differences)
        found = contrast(differences.tolist(), nothing, tests=tests, resolution=resolution)
        spread = deviation(differences, resolution=resolution) if found.test is not Procedure.NONE else math.nan
        return cls(measure, found, detectable_effect(found.n, spread, tests=tests))


def verdict(name: str, statement: str, comparisons: Sequence[Comparison], *, better: int, note: str = "") -> Verdict:
    """Return the verdict by the rule of this module.

    Args:
        name: Name of the claim.
        statement: Claim in one sentence.
        comparisons: One comparison per measure.
        better: Sign of a difference that is for the claim.
        note: End of the sentence.
    """

    def finding(found: Contrast, adjusted: float) -> Finding:
        if found.n < MIN_SEEDS or not adjusted <= ALPHA:
            return Finding.OPEN
        return Finding.FOR if found.difference * better > 0 else Finding.AGAINST

    rows = tuple(
        Row(
            measure.name,
            *(found.difference, max(found.low, measure.low), min(found.high, measure.high), found.p, found.test),
            adjusted,
            found.n,
            detectable,
            finding(found, adjusted),
        )
        for (measure, found, detectable), adjusted in zip(
            comparisons, holm([each.contrast.p for each in comparisons]), strict=True
        )
    )
    findings = {row.finding for row in rows} - {Finding.OPEN}
    ruling = {
        frozenset({Finding.FOR}): Ruling.REPRODUCED,
        frozenset({Finding.AGAINST}): Ruling.NOT_REPRODUCED,
    }.get(frozenset(findings), Ruling.INCONCLUSIVE)
    sentence = f"{ruling.capitalize()}: {_reason([each.measure for each in comparisons], rows)}{note}."
    return Verdict(name=name, statement=statement, verdict=ruling, sentence=sentence, rows=rows)


def _reason(measures: Sequence[Measure], rows: Sequence[Row]) -> str:
    """Return the reason for the verdict as text."""
    named = list(zip(measures, rows, strict=True))
    tested = [each for each in named if not math.isnan(each[1].p)]
    seeds = max(row.seeds for row in rows)
    if seeds < MIN_SEEDS:
        of_one = f" ({_several(tested, rows)})" if tested else ""
        return f"a claim about a method needs {MIN_SEEDS} seeds, and there {'is 1' if seeds else 'are none'}{of_one}"
    prefix = f"with {seeds} seeds "
    untested = ", ".join(measure.label for measure, row in named if math.isnan(row.p))
    also = f"; not tested, because values are not finite or all equal: {untested}" if untested else ""
    if not tested:
        return f"{prefix}there is nothing to test{also}"
    decisive = {
        finding: [each for each in tested if each[1].finding is finding] for finding in (Finding.FOR, Finding.AGAINST)
    }
    if any(decisive.values()):
        sides = [
            f"{finding} it: " + (f"{len(some)} of {len(rows)} ({_several(some, rows)})" if some else "none")
            for finding, some in decisive.items()
        ]
        return f"{prefix}measures {'; '.join(sides)}{also}"
    closest = min(tested, key=lambda each: (each[1].p_holm, each[1].p))
    none = f"none of {len(rows)} measures differs" if len(rows) > 1 else "nothing is found"
    power = f"a difference of {closest[1].detectable:.2g}{closest[0].unit} would be detected with power 0.8"
    return f"{prefix}{none} ({'closest: ' * (len(rows) > 1)}{_several([closest], rows)}; {power}){also}"


def _several(named: Sequence[tuple[Measure, Row]], rows: Sequence[Row]) -> str:
    """Return the numbers of some rows of a claim as text."""
    return "; ".join(_numbers(*each, adjusted=len(rows) > 1) for each in named)


def _numbers(measure: Measure, row: Row, *, adjusted: bool) -> str:
    between = "" if math.isnan(row.low) else f" [{row.low:.3g}, {row.high:.3g}]"
    p = f"p = {row.p_holm:.2g}{' after Holm' * adjusted}"
    return f"{measure.label} {row.difference:+.3g}{measure.unit}{between}, {p}"

"""The verdict on a claim, and the sentence that says why: written by code, by a rule that was there before the numbers.

A claim is about a method, so that its unit is the training seed. Each claim has a family of measures; in each measure,
two models are compared seed by seed (`eval.statistics.paired.contrast`), and the p values of the family are
adjusted by Holm's procedure. A measure speaks for the claim or against it, by the sign of the difference, where its
adjusted p is at most 0.05, two-sided. The claim is

    reproduced      if at least one measure speaks for it and none against it,
    not reproduced  if at least one measure speaks against it and none for it,
    inconclusive    otherwise, and always below 2 seeds,
    not tested      where a model that it takes was not run, or where models were scored at unequal sizes.
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

LEAST_SEEDS = 2  # a deviation takes two


class Finding(StrEnum):
    """What one measure says of a claim."""

    FOR = "for"
    AGAINST = "against"
    OPEN = "open"


class Ruling(StrEnum):
    """What becomes of a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"
    NOT_TESTED = "not tested"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a claim is judged by.

    Attributes:
        name: of the measure in the table of values.
        label: in a sentence.
        unit: of a difference, with a space before it; none for a number without.
        low: no difference is less.
        high: no difference is more.
    """

    name: str
    label: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf


class Row(NamedTuple):
    """What one measure says of a claim.

    Attributes:
        measure: its name.
        difference: mean over seeds of ours minus other, or of the rank correlation.
        low: lower end of its 95 % t interval over seeds, not adjusted, but no less than is possible.
        high: upper end, no more than is possible.
        p: two-sided p value; NaN where there is no test.
        test: what p is of.
        p_holm: p adjusted for the claim's family.
        seeds: number of seeds that both models have.
        detectable: smallest true difference found with power 0.8 at the level that the whole family leaves to one test.
        finding: for the claim, against it, or neither.
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
    """What becomes of a claim, and why.

    Attributes:
        name: of the claim.
        statement: the claim.
        verdict: by the rule above.
        sentence: the decisive numbers.
        rows: one for each measure, none where the claim was not tested.
    """

    name: str
    statement: str
    verdict: Ruling
    sentence: str
    rows: tuple[Row, ...] = ()


class Compared(NamedTuple):
    """A measure with its differences over seeds."""

    measure: Measured
    contrast: Contrast
    detectable: float

    @classmethod
    def of(cls, measure: Measured, differences: NDArray[Any], *, tests: int, resolution: float = 0.0) -> Compared:
        """Return what (seeds,) differences say, one of so many tests; see `eval.statistics.paired.contrast`."""
        nothing = [0.0] * len(differences)
        found = contrast(differences.tolist(), nothing, tests=tests, resolution=resolution)
        spread = deviation(differences, resolution=resolution) if found.test is not Procedure.NONE else math.nan
        return cls(measure, found, detectable_effect(found.n, spread, tests=tests))


def verdict(name: str, statement: str, compared: Sequence[Compared], *, better: int, note: str = "") -> Verdict:
    """Return the verdict by the rule of this module.

    Args:
        name: of the claim.
        statement: the claim.
        compared: a measure each.
        better: the sign of a difference that speaks for the claim.
        note: what the sentence ends with.
    """

    def finding(found: Contrast, adjusted: float) -> Finding:
        if found.n < LEAST_SEEDS or not adjusted <= ALPHA:
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
            compared, holm([each.contrast.p for each in compared]), strict=True
        )
    )
    findings = {row.finding for row in rows} - {Finding.OPEN}
    ruling = {
        frozenset({Finding.FOR}): Ruling.REPRODUCED,
        frozenset({Finding.AGAINST}): Ruling.NOT_REPRODUCED,
    }.get(frozenset(findings), Ruling.INCONCLUSIVE)
    sentence = f"{ruling.capitalize()}: {_grounds([each.measure for each in compared], rows)}{note}."
    return Verdict(name=name, statement=statement, verdict=ruling, sentence=sentence, rows=rows)


def _grounds(measures: Sequence[Measured], rows: Sequence[Row]) -> str:
    """Say why the verdict is what it is."""
    named = list(zip(measures, rows, strict=True))
    tested = [each for each in named if not math.isnan(each[1].p)]
    seeds = max(row.seeds for row in rows)
    if seeds < LEAST_SEEDS:
        of_one = f" ({_several(tested, rows)})" if tested else ""
        return f"a claim about a method takes {LEAST_SEEDS} seeds, and there {'is 1' if seeds else 'are none'}{of_one}"
    said = f"with {seeds} seeds "
    untested = ", ".join(measure.label for measure, row in named if math.isnan(row.p))
    also = f"; not tested, for want of finite and different values: {untested}" if untested else ""
    if not tested:
        return f"{said}there is nothing to test{also}"
    speaking = {
        finding: [each for each in tested if each[1].finding is finding] for finding in (Finding.FOR, Finding.AGAINST)
    }
    if any(speaking.values()):
        sides = [
            f"{finding} it: " + (f"{len(some)} of {len(rows)} ({_several(some, rows)})" if some else "none")
            for finding, some in speaking.items()
        ]
        return f"{said}measures {'; '.join(sides)}{also}"
    closest = min(tested, key=lambda each: (each[1].p_holm, each[1].p))
    none = f"none of {len(rows)} measures differs" if len(rows) > 1 else "nothing is found"
    power = f"one of {closest[1].detectable:.2g}{closest[0].unit} would have been found with power 0.8"
    return f"{said}{none} ({'closest: ' * (len(rows) > 1)}{_several([closest], rows)}; {power}){also}"


def _several(named: Sequence[tuple[Measured, Row]], rows: Sequence[Row]) -> str:
    """Return the numbers of some of a claim's rows."""
    return "; ".join(_numbers(*each, adjusted=len(rows) > 1) for each in named)


def _numbers(measure: Measured, row: Row, *, adjusted: bool) -> str:
    between = "" if math.isnan(row.low) else f" [{row.low:.3g}, {row.high:.3g}]"
    p = f"p = {row.p_holm:.2g}{' after Holm' * adjusted}"
    return f"{measure.label} {row.difference:+.3g}{measure.unit}{between}, {p}"

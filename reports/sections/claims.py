"""The tables of the claims: the verdict on each, and every contrast that it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.claims.claims import CLAIMS, Contrasted, verdicts_on
from eval.statistics.intervals import Interval
from reports.format.facts import INTERVALS, setting
from reports.format.table import Table, cell, plain, probability, span

if TYPE_CHECKING:
    from eval.results.frames import Results

_TUNED = " Arms were tuned alike before, by the same points and the same budget, as the table of the grid shows."


def claims(results: Results) -> Table:
    """Return the verdict on each claim."""
    rows = [
        {
            "Claim": plain("claim", verdict.name),
            "Statement": plain("statement", verdict.statement),
            "Verdict": plain("verdict", verdict.verdict.value),
            "Grounds": plain("sentence", verdict.sentence),
        }
        for verdict in verdicts_on(results)
    ]
    caption = (
        f"What becomes of the claims. {setting(results)} Claims, measures and the rule were declared before anything "
        "was run, and the verdicts are computed. A claim is about a method, so that its unit is the training seed: "
        "models are compared seed by seed in a few measures, whose p values are adjusted for their number (Holm) at "
        "level 0.05, two-sided. Reproduced: at least one measure speaks for the claim and none against it. Not "
        "reproduced: at least one speaks against it and none for it. Inconclusive: anything else, above all where too "
        "few seeds tell nothing. Values below the noise floor count as 1: to be nearer than real music is to itself is "
        f"no merit.{_TUNED if results.about['tuned'] else ''} The table of contrasts has the numbers."
    )
    return Table.of("claims", rows=rows, caption=caption, notes=() if rows else ("No claim was judged.",))


def contrasts(results: Results) -> Table:
    """Return every measure of every claim."""
    labels = _labels()
    rows = [
        {
            "Claim": plain("claim", verdict.name),
            "Measure": plain("measure", labels[row.measure]),
            "Difference": span("difference", Interval(row.difference, row.low, row.high), 3, sign="+"),
            "p": probability("p", row.p),
            "Test": plain("test", row.test.value),
            "p (Holm)": probability("p_holm", row.p_holm),
            "Seeds": plain("seeds", row.seeds),
            "Detectable": cell("detectable", row.detectable, 3),
            "Finding": plain("finding", row.finding.value),
        }
        for verdict in verdicts_on(results)
        for row in verdict.rows
    ]
    caption = (
        f"What the verdicts rest on. {setting(results)} Differences are paired by seed, the model of the claim minus "
        f"the other: less is closer to real music, but for a correlation. Brackets: {INTERVALS}. Holm: adjusted for "
        "the measures of a claim. Detectable: the smallest true difference that is found with power 0.8 at the level "
        "that the claim leaves to one test, with this many seeds and the deviation observed; open does not mean that "
        "there is no smaller one. Seeds that only one of the two models has are left out. A bound on the likelihood is "
        "never ranked against an exact value."
    )
    return Table.of("contrasts", rows=rows, caption=caption, notes=() if rows else ("There is nothing to compare.",))


def _labels() -> dict[str, str]:
    """Return the names for people of the measures that claims are judged by, with their units."""
    families = [claim.measures if isinstance(claim, Contrasted) else (claim.measure,) for claim in CLAIMS]
    found = [measure for family in families for measure in family]
    return {
        one.name: f"{one.label[0].upper()}{one.label[1:]}" + (f" ({one.unit.strip()})" if one.unit else "")
        for one in found
    }

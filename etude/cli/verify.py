"""`etude verify`: compare the trials of this machine with reference results and name what differs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from etude.cli.options import CorpusName, Root, Scale  # noqa: TC001 - tyro reads the annotations
from etude.runner.plan import PUBLISHED, make_plan
from eval.claims.declaration import status
from eval.claims.judgement import verdicts_on
from eval.claims.verdicts import Ruling
from eval.results.agreement import RULES, compare, different_hashes, different_parts, environments, same_class
from replication.util.errors import UserError

if TYPE_CHECKING:
    from eval.results.agreement import Compared
    from eval.results.frames import Results

HASHED = ("weights", "samples")
WIDTH = 60  # characters of a value that are shown


def verify(
    scale: Scale = "auto",
    corpus: CorpusName = None,
    *,
    reference: Annotated[
        Path | None,
        tyro.conf.arg(
            metavar="PATH",
            help="report to compare with",
            help_behavior_hint="(default: the published report of scale and corpus)",
        ),
    ] = None,
    root: Root = Path(),
) -> int:
    """Compare the trials with the published results, or with another report.

    The exit code is 1 if they differ by more than the rules allow.
    """
    from eval.results.files import read_results
    from eval.results.frames import gather

    plan = make_plan(scale=scale, corpus=corpus, root=root)
    report = reference or PUBLISHED / f"{plan.scale.name}-{plan.corpus.name}"
    if not (report / "results").is_dir():
        raise UserError(
            f"{report} has no results to compare with: give --reference, a report of the same scale and corpus"
        )
    here, there = gather(plan.comparison), read_results(report / "results")
    lines, differences = [f"{plan.comparison} against {report}"], other_data(here, there)
    if not differences:
        agreed, differences = agreement(here, there)
        lines += agreed
    print("\n".join([*lines, *(f"differs: {line}" for line in differences)]))
    print(f"Differences: {len(differences)}." if differences else "The results agree with the reference.")
    return 1 if differences else 0


def other_data(here: Results, there: Results) -> list[str]:
    """Return the differences in configuration and windows, which make it pointless to compare numbers."""
    ours, theirs = here.about["configuration"], there.about["configuration"]
    found = [f"{key} is {ours.get(key)} here, {theirs[key]} there" for key in theirs if ours.get(key) != theirs[key]]
    digests = [dict(zip(run.encodings["name"], run.encodings["digest"], strict=True)) for run in (here, there)]
    return found + [
        f"the windows in encoding {name}"
        for name, digest in digests[1].items()
        if digests[0].get(name, digest) != digest
    ]


def other_points(here: Results, there: Results) -> list[str]:
    """Return the trials of both runs whose arms were tuned to another point."""
    ours = here.about["tuned"]
    return [
        f"{name} seed {seed} was tuned to {ours[name][seed]} here, {point} there"
        for name, points in there.about["tuned"].items()
        for seed, point in points.items()
        if ours.get(name, {}).get(seed, point) != point
    ]


def agreement(here: Results, there: Results) -> tuple[list[str], list[str]]:
    """Return lines about how far two runs agree, and a line for each difference that is larger than allowed.

    Raises:
        UserError: If they have no trial in common.
    """
    if not environments(here).keys() & environments(there).keys():
        raise UserError("no trial of the reference has been run here: run some of them, or give another --reference")
    rows, rulings = compare(here, there), _rulings(here, there)
    hashes = {what: different_hashes(here, there, what) for what in HASHED}
    bits = ", ".join(f"{what} equal in {n - len(keys)} of {n} trials" for what, (keys, n) in hashes.items())
    equal = sum(one == other for _, one, other in rulings)
    lines = [
        *_machines(here, there),
        f"bits: {bits}",
        *_measures(rows),
        *(
            f"verdicts {where}: {found.standing}. {found.reason}"
            for where, found in (("here", status(here)), ("there", status(there)))
        ),
        f"verdicts: {equal} of {len(rulings)} that both runs have are equal",
    ]
    keys = dict.fromkeys(key for keys, _ in hashes.values() for key in keys if same_class(here, there, key))
    return lines, [
        *other_points(here, there),
        *(f"the bits of {name} seed {seed}, on a machine of the same class" for name, seed in keys),
        *(
            f"{row.measure} of {row.of}, by {row.difference:.3g} (allowed: {row.tolerance:.3g})"
            for row in rows
            if row.differs
        ),
        *(f"the verdict on {name}: {one} here, {other} there" for name, one, other in rulings if one != other),
    ]


def _machines(here: Results, there: Results) -> list[str]:
    """Return a line for each part in which the machines of the common trials differ, with the number of trials."""
    ours, theirs = environments(here), environments(there)
    both = [key for key in theirs if key in ours]
    same = sum(same_class(here, there, key) for key in both)
    found = Counter(
        f"  {name}: {_short(one)} here, {_short(other)} there"
        for key in both
        for name, (one, other) in different_parts(ours[key], theirs[key]).items()
    )
    return [
        f"machines: of the same class in {same} of {len(both)} trials",
        *(f"{line} ({n})" for line, n in found.items()),
    ]


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else "not recorded" if value is None else str(value)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."


def _measures(rows: list[Compared]) -> list[str]:
    """Return a table with the largest difference of each measure, the measures without any, and the rules."""
    worst: dict[str, Compared] = {}
    for row in rows:
        worst[row.measure] = max(
            worst.get(row.measure, row), row, key=lambda each: each.difference / (each.tolerance or 1e-300)
        )
    table = [
        f"  {row.measure:<18} {row.difference:>10.3g} {row.tolerance:>8.2g}  {row.of}, rule {row.rule!r}"
        for row in worst.values()
        if row.difference
    ]
    same = [row.measure for row in worst.values() if not row.difference]
    return [
        *([f"  {'measure':<18} {'difference':>10} {'allowed':>8}  largest in", *table] if table else []),
        *([f"no difference in {len(same)} measures: {', '.join(same)}"] if same else []),
        *(f"rule {rule!r}: {RULES[rule]}" for rule in dict.fromkeys(row.rule for row in rows)),
    ]


def _rulings(here: Results, there: Results) -> list[tuple[str, Ruling, Ruling]]:
    """Return the verdicts on claims that were tested in both runs."""
    ours, theirs = ({each.name: each.verdict for each in verdicts_on(run)} for run in (here, there))
    pairs = [(name, ours[name], ruling) for name, ruling in theirs.items() if name in ours]
    return [pair for pair in pairs if not {Ruling.NOT_TESTED, Ruling.NOT_TESTABLE} & set(pair)]

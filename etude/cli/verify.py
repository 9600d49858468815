"""`etude verify`: whether the trials of this machine come to what reference results say, and what differs if not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from etude.cli.options import CorpusName, Root, Scale  # noqa: TC001 - tyro reads the annotations
from etude.runner import plan as suite
from eval.claims.claims import verdicts_on
from eval.claims.verdicts import Ruling
from eval.results.agreement import TOLERANCES, apart, compare, is_alike, places, unequal
from replication.util.errors import UserError

if TYPE_CHECKING:
    from eval.results.agreement import Compared
    from eval.results.frames import Results

PUBLISHED = Path(__file__).parents[2] / "reports" / "published"
HASHED = ("weights", "samples")
WIDTH = 60  # characters of a value that are shown


def verify(
    scale: Scale = "auto",
    corpus: CorpusName = None,
    *,
    reference: Annotated[
        Path | None, tyro.conf.arg(metavar="PATH", help="a report; if not given the published one of scale and corpus")
    ] = None,
    root: Root = Path(),
) -> int:
    """Compare what the trials have left with reference results; exit code 1 where they differ by more than they may."""
    from eval.results.files import read_results
    from eval.results.frames import gather

    plan = suite.plan(scale=scale, corpus=corpus, root=root)
    report = reference or PUBLISHED / f"{plan.scale.name}-{plan.corpus.name}"
    if not (report / "results").is_dir():
        raise UserError(
            f"{report} has no results to compare with: give --reference, a report of the same scale and corpus"
        )
    here, there = gather(plan.comparison), read_results(report / "results")
    said, differences = [f"{plan.comparison} against {report}"], other_data(here, there)
    if not differences:
        agreed, differences = agreement(here, there)
        said += agreed
    print("\n".join([*said, *(f"differs: {line}" for line in differences)]))
    print(f"{len(differences)} things differ." if differences else "The results are those of the reference.")
    return 1 if differences else 0


def other_data(here: Results, there: Results) -> list[str]:
    """Return where the configuration or the windows differ: then no numbers can be compared."""
    ours, theirs = here.about["configuration"], there.about["configuration"]
    found = [f"{key} is {ours.get(key)} here, {theirs[key]} there" for key in theirs if ours.get(key) != theirs[key]]
    digests = [dict(zip(run.encodings["name"], run.encodings["digest"], strict=True)) for run in (here, there)]
    return found + [
        f"the windows in encoding {name} are others"
        for name, digest in digests[1].items()
        if digests[0].get(name, digest) != digest
    ]


def other_points(here: Results, there: Results) -> list[str]:
    """Return which arms were tuned to another point."""
    return [
        f"{name} was tuned to {here.about['tuned'][name]} here, {point} there"
        for name, point in there.about["tuned"].items()
        if here.about["tuned"].get(name, point) != point
    ]


def agreement(here: Results, there: Results) -> tuple[list[str], list[str]]:
    """Return lines that say how far two runs agree, and a line for each thing that differs by more than it may.

    Raises:
        UserError: if they have no trial in common.
    """
    if not places(here).keys() & places(there).keys():
        raise UserError("no trial of the reference has been run here: run some of them, or give another --reference")
    rows, rulings = compare(here, there), _rulings(here, there)
    equal = sum(one == other for _, one, other in rulings)
    verdicts = f"verdicts: {equal} of {len(rulings)} that both runs have are equal"
    keys = [key for what in HASHED for key in unequal(here, there, what)[0] if is_alike(here, there, key)]
    return [*_machines(here, there), *_bits(here, there), *_measures(rows), verdicts], [
        *other_points(here, there),
        *(f"the bits of {name} seed {seed}, on the same machine" for name, seed in dict.fromkeys(keys)),
        *(
            f"{row.measure}, {row.of}: by {row.difference:.3g}, allowed {row.tolerance:.3g}"
            for row in rows
            if row.differs
        ),
        *(f"the verdict on {name}: {one} here, {other} there" for name, one, other in rulings if one != other),
    ]


def _machines(here: Results, there: Results) -> list[str]:
    """Return what is different about where the trials were run."""
    ours, theirs = places(here), places(there)
    both = [key for key in theirs if key in ours]
    alike = sum(is_alike(here, there, key) for key in both)
    found = Counter(
        f"  {name}: {_short(one)} here, {_short(other)} there"
        for key in both
        for name, (one, other) in apart(ours[key], theirs[key]).items()
    )
    return [
        f"machine: the same, by all that decides the bits, in {alike} of {len(both)} trials",
        *(f"{line} ({n})" for line, n in found.items()),
    ]


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else "not said" if value is None else str(value)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."


def _bits(here: Results, there: Results) -> list[str]:
    counts = {what: unequal(here, there, what) for what in HASHED}
    return [
        f"bits: {', '.join(f'{what} equal in {n - len(keys)} of {n} trials' for what, (keys, n) in counts.items())}"
    ]


def _measures(rows: list[Compared]) -> list[str]:
    """Return the largest difference of each measure against its tolerance, which measures have none, and the rules."""
    worst: dict[str, Compared] = {}
    for row in rows:
        name = "of real music" if row.rule == "real" else row.measure
        worst[name] = max(worst.get(name, row), row, key=lambda each: each.difference / (each.tolerance or 1e-300))
    table = [f"  {'measure':<18} {'difference':>10} {'allowed':>8}  largest in, rule"]
    for name, row in worst.items():
        of = f"{row.measure}, {row.of}" if row.rule == "real" else row.of
        table.append(f"  {name:<18} {row.difference:>10.3g} {row.tolerance:>8.2g}  {of}, {row.rule}")
    different = [line for line, row in zip(table[1:], worst.values(), strict=True) if row.difference]
    same = [name for name, row in worst.items() if not row.difference]
    return [
        *([table[0], *different] if different else []),
        *([f"no difference at all in {len(same)} measures: {', '.join(same)}"] if same else []),
        "tolerances:",
        *(f"  {rule}: {TOLERANCES[rule].reason}" for rule in dict.fromkeys(row.rule for row in rows)),
    ]


def _rulings(here: Results, there: Results) -> list[tuple[str, Ruling, Ruling]]:
    """Return the verdicts on claims that were tested in both runs."""
    ours, theirs = ({each.name: each.verdict for each in verdicts_on(run)} for run in (here, there))
    pairs = [(name, ours[name], ruling) for name, ruling in theirs.items() if name in ours]
    return [pair for pair in pairs if Ruling.NOT_TESTED not in pair]

"""`etude verify`: whether the trials of this machine come to what reference results say, and what differs if not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from eval import suite
from eval.agreement import TOLERANCES, apart, compare, is_alike, places, unequal
from eval.options import CorpusName, Root, Scale  # noqa: TC001 - tyro reads the annotations
from eval.verdicts import Ruling
from replication.errors import UserError

if TYPE_CHECKING:
    from eval.agreement import Compared
    from eval.results import Results

PUBLISHED = Path(__file__).parent.parent / "reports" / "published"
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
    from eval.results import gather
    from eval.results_file import read_results

    plan = suite.plan(scale=scale, corpus=corpus, root=root)
    report = reference or PUBLISHED / f"{plan.scale.name}-{plan.corpus.name}"
    if not (report / "results").is_dir():
        raise UserError(
            f"{report} has no results to compare with: give --reference, a report of the same scale and corpus"
        )
    here, there = gather(plan.comparison), read_results(report / "results")
    differences = other_data(here, there)
    print(f"{plan.comparison} against {report}")
    if not differences:
        differences = [*other_points(here, there), *_show(here, there)]
    print("\n".join(f"differs: {line}" for line in differences) or "The results are those of the reference.")
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


def _show(here: Results, there: Results) -> list[str]:
    """Print how far two runs agree; return what is out of tolerance."""
    rows = compare(here, there)
    if not rows:
        raise UserError("no trial of the reference has been run here: run some of them, or give another --reference")
    print("\n".join([*_machines(here, there), *_bits(here, there), *_measures(rows), *_verdicts(here, there)]))
    differing = [key for what in HASHED for key in unequal(here, there, what)[0] if is_alike(here, there, key)]
    return [
        *(f"the bits of {name} seed {seed}, on a machine of the same class" for name, seed in dict.fromkeys(differing)),
        *(
            f"{row.measure} of {row.of} by {row.difference:.3g}, allowed {row.tolerance:.3g}"
            for row in rows
            if row.differs
        ),
        *(
            f"the verdict on {name}: {one} here, {other} there"
            for name, one, other in _rulings(here, there)
            if one != other
        ),
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
    """Return the largest difference of each measure against its tolerance, and the rules."""
    table = [f"{'measure':<18} {'difference':>10} {'allowed':>8}  of"]
    names = dict.fromkeys("real music" if row.rule == "real" else row.measure for row in rows)
    for name in names:
        some = [row for row in rows if name in {row.measure, "real music" if row.rule == "real" else ""}]
        worst = max(some, key=lambda row: (row.differs, row.difference / (row.tolerance or 1)))
        what = f"{worst.measure}, {worst.of}" if worst.rule == "real" else worst.of
        table.append(f"{name:<18} {worst.difference:>10.3g} {worst.tolerance:>8.2g}  {what} ({worst.rule})")
    return [*table, *(f"{name}: {TOLERANCES[name].reason}" for name in dict.fromkeys(row.rule for row in rows))]


def _verdicts(here: Results, there: Results) -> list[str]:
    rulings = _rulings(here, there)
    equal = sum(one == other for _, one, other in rulings)
    return [f"verdicts: {equal} of {len(rulings)} that both runs have are equal"]


def _rulings(here: Results, there: Results) -> list[tuple[str, Ruling, Ruling]]:
    """Return the verdicts on claims that were tested in both runs."""
    ours, theirs = ({each.name: each.verdict for each in run.claims} for run in (here, there))
    pairs = [(name, ours[name], ruling) for name, ruling in theirs.items() if name in ours]
    return [pair for pair in pairs if Ruling.NOT_TESTED not in pair]

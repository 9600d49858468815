"""What a comparison would settle: the power of its claims, given how much its models vary over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etude.runner.comparison import at_chosen
from etude.runner.plan import PUBLISHED
from eval.claims.claims import CLAIMS, MARGIN, ContrastClaim
from eval.results.schema import as_written
from eval.scoring.measures import DISTANCE
from eval.statistics.intervals import deviation
from eval.statistics.paired import POWER, detectable_effect, equivalence_deviation
from replication.training.scales import SCALES
from replication.util.files import read_json
from replication.util.text import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from etude.runner.plan import Plan

    Floors = Mapping[tuple[str, int], float]  # distance in noise floors by experiment and seed


def power_lines(plan: Plan) -> list[str]:
    """Return lines on the smallest differences that the claims of a plan would settle with probability `POWER`.

    The deviation over seeds of a difference is that of the trials done here; if fewer than two seeds are done, that of
    the published report of the corpus, at the same scale if there is one. Distances below the noise floor count as 1,
    as they do for the claims.
    """
    names = {row.name for row in plan.experiments}
    claims = [claim for claim in CLAIMS if isinstance(claim, ContrastClaim) and {claim.ours, claim.other} <= names]
    if not claims:
        return []
    n, sources = len(plan.scale.seeds), [_done_here(plan), *_published(plan)]
    lines = [
        f"{n} seeds settle with probability {POWER:g}, in noise floors, if differences vary over seeds as seen so far:"
    ]
    for claim in claims:
        found = "not known, since no two seeds of both have been run"
        for place, floors in sources:
            seeds = [seed for name, seed in floors if name == claim.ours and (claim.other, seed) in floors]
            if len(seeds) > 1:
                seen = deviation([floors[claim.ours, seed] - floors[claim.other, seed] for seed in seeds])
                settled = detectable_effect(n, seen, tests=len(CLAIMS))
                found = f"differences from {settled:.2f} (deviation {seen:.2f}, {len(seeds)} seeds {place})"
                break
        lines.append(f"  {claim.name} {claim.ours} and {claim.other}: {found}")
    largest = equivalence_deviation(n, MARGIN, tests=len(CLAIMS))
    lines.append(f"  that equal methods differ by less than {MARGIN:g}: if the deviation is at most {largest:.2f}")
    return lines


def _done_here(plan: Plan) -> tuple[str, Floors]:
    """Return the distances of the finished trials of a plan."""
    floors = {}
    for trial in at_chosen(plan):
        if trial.is_done():
            with as_written(trial.folder):
                ratio = number(read_json(trial.folder / "scores.json")["measures"][DISTANCE]["ratio"])
            floors[trial.experiment.name, trial.seed] = max(ratio, 1.0)
    return "done here", floors


def _published(plan: Plan) -> Iterator[tuple[str, Floors]]:
    """Yield the distances in the published reports of the corpus of a plan, those of its scale first."""
    import pandas as pd

    for scale in dict.fromkeys((plan.scale.name, *SCALES)):
        report = PUBLISHED / f"{scale}-{plan.corpus.name}"
        path = report / "results" / "measures.parquet"
        if path.exists():
            with as_written(path):
                table = pd.read_parquet(path, columns=["experiment", "seed", "measure", "ratio"])
                table = table[table["measure"] == DISTANCE].set_index(["experiment", "seed"])["ratio"].clip(lower=1)
                yield f"of reports/published/{report.name}", dict(table)

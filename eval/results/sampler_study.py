"""The samplers that the sampler study compares, and the results of the study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval.scoring.measures import scoring_version
from replication.diffusion.rounding import AsPredicted, Expectation, Nearest
from replication.diffusion.samplers import DDIM, Ancestral, DPMSolver, Euler, Renoised
from replication.diffusion.schedule import Sqrt
from replication.diffusion.selection import MinimumBayesRisk
from replication.util.files import digest, read_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from replication.diffusion.samplers import Sampler

EDITION = 1  # raise it when a sampler draws other samples or a result changes its meaning
EVALUATIONS = (10, 20, 50, 100, 200)
REFERENCE = "ancestral"  # the published sampler, also measured with all timesteps
CANDIDATES = 5  # divides every number of evaluations
COLUMNS = ("sampler", "evaluations", "distance", "classifier_auc", "validity", "entropy", "seconds")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of `SAMPLERS`.

    Attributes:
        name: Name in files and in tables of numbers.
        label: Name in reports.
        sampler: Function that builds the sampler for a number of network evaluations.
        colour: Colour of its line; samplers that differ only in rounding share one.
        dashes: Line style, as matplotlib names them.
    """

    name: str
    label: str
    sampler: Callable[[int], Sampler]
    colour: str
    dashes: str = "-"


SAMPLERS: tuple[Row, ...] = (
    Row(name=REFERENCE, label="Ancestral, as published", sampler=lambda n: Ancestral(steps=n), colour="#0072B2"),
    Row(
        name="ancestral-rebuilt",
        label="Ancestral, schedule rebuilt",
        sampler=lambda n: Ancestral(steps=n, rebuilt=Sqrt()),
        colour="#56B4E9",
    ),
    Row(
        name="ancestral-late",
        label="Ancestral, rounded in the last half",
        sampler=lambda n: Ancestral(steps=n, rounding=Nearest(last=0.5)),
        colour="#0072B2",
        dashes="--",
    ),
    Row(
        name="ancestral-expectation",
        label="Ancestral, mean embedding",
        sampler=lambda n: Ancestral(steps=n, rounding=Expectation()),
        colour="#0072B2",
        dashes="-.",
    ),
    Row(
        name="ancestral-unrounded",
        label="Ancestral, unrounded",
        sampler=lambda n: Ancestral(steps=n, rounding=AsPredicted()),
        colour="#0072B2",
        dashes=":",
    ),
    Row(name="renoised", label="Re-noised", sampler=lambda n: Renoised(steps=n), colour="#D55E00"),
    Row(
        name="renoised-unrounded",
        label="Re-noised, unrounded",
        sampler=lambda n: Renoised(steps=n, rounding=AsPredicted()),
        colour="#D55E00",
        dashes=":",
    ),
    Row(
        name="ddim",
        label="DDIM",
        sampler=lambda n: DDIM(steps=n, rounding=AsPredicted()),
        colour="#009E73",
    ),
    Row(
        name="dpm-solver",
        label="DPM-Solver++(2M)",
        sampler=lambda n: DPMSolver(steps=n, rounding=AsPredicted()),
        colour="#CC79A7",
    ),
    Row(name="euler", label="Euler", sampler=lambda n: Euler(steps=n, rounding=AsPredicted()), colour="#8A6D00"),
    Row(
        name="renoised-mbr",
        label=f"Re-noised, best of {CANDIDATES} (MBR)",
        sampler=lambda n: MinimumBayesRisk(sampler=Renoised(steps=n // CANDIDATES), candidates=CANDIDATES),
        colour="#332288",
    ),
)


def sampler_of(row: str, evaluations: int) -> Sampler:
    """Return the sampler of the named row of `SAMPLERS` for a number of evaluations."""
    return next(one.sampler for one in SAMPLERS if one.name == row)(evaluations)


def sampler_paths(folder: Path, weights: str, data: str, timesteps: int, samples: int) -> dict[tuple[str, int], Path]:
    """Return the result file of each row and number of evaluations, named by a digest of weights and sampler."""
    made_of = (EDITION, scoring_version(), weights, data, samples)
    keys = [(row.name, n) for row in SAMPLERS for n in EVALUATIONS if n <= timesteps] + [(REFERENCE, timesteps)]
    return {
        (row, n): folder / "samplers" / f"{row}-{n}-{digest(*made_of, sampler_of(row, n))[:16]}.json"
        for row, n in dict.fromkeys(keys)
    }


def sampler_rows(folder: Path) -> pd.DataFrame | None:
    """Return the results of the study on the weights that scores.json names; None if there are none."""
    import pandas as pd

    if not (folder / "samplers").exists():
        return None
    config: dict[str, Any] = read_json(folder / "trial.json")["config"]
    scale = config["scale"]
    weights = read_json(folder / "scores.json").get("weights", "")  # by hash: a report does not need the weights
    paths = sampler_paths(folder, weights, config["data"], scale["timesteps"], scale["samples"]).values()
    rows = [read_json(path) for path in paths if path.exists()]
    return pd.DataFrame(rows, columns=list(COLUMNS)) if rows else None

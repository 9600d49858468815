"""The study of samplers: which are compared, and what was found of each."""

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

EDITION = 1  # raise it when a sampler comes to draw other samples, or a result to mean something else


EVALUATIONS = (10, 20, 50, 100, 200)


REFERENCE = "ancestral"  # the published sampler, which is measured at all timesteps too


CANDIDATES = 5  # as many as divide all evaluations


FOUND = ("sampler", "evaluations", "distance", "classifier_auc", "validity", "entropy", "seconds")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of `SAMPLERS`.

    Attributes:
        name: for files and tables of numbers.
        label: for people.
        sampler: makes one of so many network evaluations.
        colour: of its line: samplers that differ in rounding alone share it.
        dashes: of its line, as matplotlib names them.
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
    """Return the sampler of a row of `SAMPLERS` at a number of evaluations."""
    return next(one.sampler for one in SAMPLERS if one.name == row)(evaluations)


def sampler_paths(folder: Path, weights: str, data: str, timesteps: int, samples: int) -> dict[tuple[str, int], Path]:
    """Return where the results of a trial lie, by row and evaluations: other weights or samplers have other names."""
    made_of = (EDITION, scoring_version(), weights, data, samples)
    keys = [(row.name, n) for row in SAMPLERS for n in EVALUATIONS if n <= timesteps] + [(REFERENCE, timesteps)]
    return {
        (row, n): folder / "samplers" / f"{row}-{n}-{digest(*made_of, sampler_of(row, n))[:16]}.json"
        for row, n in dict.fromkeys(keys)
    }


def sampler_rows(folder: Path) -> pd.DataFrame | None:
    """Return what the study found of the weights that a trial's scores name: the columns of FOUND; None if nothing."""
    import pandas as pd

    if not (folder / "samplers").exists():
        return None
    config: dict[str, Any] = read_json(folder / "trial.json")["config"]
    scale = config["scale"]
    weights = read_json(folder / "scores.json").get("weights", "")  # by name: a report needs none of them
    paths = sampler_paths(folder, weights, config["data"], scale["timesteps"], scale["samples"]).values()
    rows = [read_json(path) for path in paths if path.exists()]
    return pd.DataFrame(rows, columns=list(FOUND)) if rows else None

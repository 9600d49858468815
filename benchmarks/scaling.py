"""Measure how time and memory grow with the size of the work: `nox -s bench -- scaling`.

Each series is measured at four or more sizes, which take turns, and at one small size that stands for the fixed cost.
The exponents are slopes between logarithms, of the time and of the time above the fixed cost.

There is no series over machines: Ray nodes on one machine share its cores, so they do not show the effect of more
machines.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from benchmarks.race import Contender, Row, exponent, race
from benchmarks.table import Output, Record, command, present
from replication.training.scales import SCALES
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.race import Lap
    from replication.training.scales import Scale

VOCABULARY = 220  # about that of the paper's encoding


@dataclass(frozen=True, kw_only=True)
class Series:
    """A series of sizes to measure.

    Attributes:
        unit: Unit of the sizes.
        small: Size that stands for the fixed cost.
        sizes: Other sizes, four or more.
        contender: Function that returns the contender of a size. Its unit of work has the amount 1.
        laps: Number of laps of each size; few if one lap is long enough to be precise.
    """

    unit: str
    small: int
    sizes: tuple[int, ...]
    contender: Callable[[int], Contender]
    laps: int = 3


def measure(name: str, series: Series) -> dict[str, Record]:
    """Return records of the seconds at each size and of the exponents of time and memory."""
    rows = [
        Row(
            name=f"{name}, {size} {series.unit}",
            unit="1/s",
            contender=series.contender(size),
            threads=os.cpu_count() or 1,
        )
        for size in (series.small, *series.sizes)
    ]
    measured = race(rows, laps=series.laps)
    result: dict[str, Record] = {
        row.name: {
            "value": 1 / measured[row.name].rate,
            "unit": "s",
            "start_s": measured[row.name].start,
            "peak_memory_MB": measured[row.name].memory,
        }
        for row in rows
    }
    larger = [measured[row.name] for row in rows[-len(series.sizes) :]]
    seconds = [1 / one.rate for one in larger]
    fits = {
        "exponent of time": exponent(series.sizes, seconds),
        "exponent of memory": exponent(series.sizes, [one.memory for one in larger]),
        "exponent of time above the fixed cost": exponent(series.sizes, seconds, fixed=1 / measured[rows[0].name].rate),
    }
    return result | {f"{name}, {fit}": {"value": value, "unit": ""} for fit, value in fits.items()}


def step(lap: Lap, *, scale: Scale) -> None:
    """Take training steps of diffusion as trials do."""
    from benchmarks.models import train

    tokens = scale.budget.batch * scale.length
    train(lambda amount: lap(amount / tokens), experiment="e2e", scale=scale, vocabulary=VOCABULARY)


def fit(lap: Lap, *, steps: int) -> None:
    """Train models from start to end, including checkpoints and validation."""
    from benchmarks.models import job, model

    budget = replace(CPU.budget, steps=steps, log_every=1, validate_every=steps, checkpoint_every=steps, compile=False)
    scale = replace(CPU, budget=budget)
    while True:
        with tempfile.TemporaryDirectory() as folder:
            model("e2e", scale, VOCABULARY).fit(job(scale, VOCABULARY, Path(folder), log=lambda *_: None))
        lap(1)


def sample(lap: Lap, *, steps: int) -> None:
    """Sample a chunk of windows with a given number of network evaluations."""
    from benchmarks.models import sample as sample_windows
    from replication.diffusion.samplers import Ancestral
    from replication.training.neural_model import CHUNK

    scale = replace(CPU, sampler=Ancestral(steps=steps))
    sample_windows(lap, experiment="e2e", scale=scale, vocabulary=VOCABULARY, amount=1 / CHUNK)


def run(lap: Lap, *, trials: int) -> None:
    """Run a number of small trials from the corpus to the report, as a user does."""
    while True:
        with tempfile.TemporaryDirectory() as folder:
            only = ("--only", "autoregressive", "--seeds", str(trials), "--root", folder)
            words = [sys.executable, "-m", "etude", "run", "--scale", "smoke", *only]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - runs Etude itself
        lap(1)


def prepare(lap: Lap, *, files: int) -> None:
    """Prepare an archive with a given number of files, without a cache."""
    from benchmarks.data import prepare as prepare_corpus
    from benchmarks.data import write_many
    from replication.corpora.corpus import folder_corpus

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{files}.tar"
        write_many(None, {path: files})
        prepare_corpus(lambda count: lap(count / files), corpus=folder_corpus(path), length=CPU.length)


CPU = SCALES["cpu"]


def _batch(size: int) -> Contender:
    return partial(step, scale=replace(CPU, budget=replace(CPU.budget, batch=size)))


SERIES: dict[str, Series] = {
    "training step against batch": Series(unit="windows", small=2, sizes=(8, 16, 32, 64), contender=_batch),
    "training step against length": Series(
        unit="tokens",
        small=10,
        sizes=(34, 66, 130, 258),
        contender=lambda size: partial(step, scale=replace(CPU, length=size)),
    ),
    "fit against steps": Series(
        unit="steps", small=1, sizes=(25, 50, 100, 200), contender=lambda size: partial(fit, steps=size)
    ),
    "sampling against evaluations": Series(
        unit="evaluations", small=1, sizes=(5, 10, 20, 40), contender=lambda size: partial(sample, steps=size)
    ),
    "run against trials": Series(
        unit="trials", small=1, sizes=(2, 4, 8, 16), contender=lambda size: partial(run, trials=size), laps=1
    ),
    "preparation against files": Series(
        unit="files", small=25, sizes=(100, 200, 400, 800), contender=lambda size: partial(prepare, files=size)
    ),
}


def scaling(
    only: Annotated[
        tuple[str, ...],
        tyro.conf.arg(metavar="WORD ...", help="last words of series: batch, length, steps ..."),
    ] = (),
    *,
    output: Output = None,
) -> None:
    """Measure how time and memory grow with batch, window length, steps, evaluations, trials and files."""
    chosen = {name: series for name, series in SERIES.items() if not only or name.endswith(only)}
    if not chosen:
        raise UserError(f"--only {' '.join(only)}: unknown series; choose from {', '.join(SERIES)}")
    rows: dict[str, Record] = {}
    for name, series in chosen.items():
        rows |= measure(name, series)
    present(rows, output)


if __name__ == "__main__":
    command(scaling)

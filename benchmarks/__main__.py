"""Benchmark training, sampling, preparation and scoring: `nox -s bench`.

Ratios within one run mean more than absolute numbers. Each row is measured in its own process, and the rows of a group
take turns; see `benchmarks.race`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import tyro

from benchmarks.race import LAPS, SECONDS, Row, race
from benchmarks.table import Output, Record, command, present, records
from etude.cli.options import Scale as ScaleName  # noqa: TC001 - tyro reads the annotations
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replication.training.scales import Scale

EVALUATIONS = (10, 50, 200)  # network evaluations per diffusion sample


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The settings that all rows of a run share.

    Attributes:
        scale: Scale that gives the sizes.
        vocabulary: Vocabulary size V of the paper's encoding.
        batch: Windows per training step, here and in the published step. None for the batch of the scale here and the
            published batch there.
        reference: Whether transformers is installed.
    """

    scale: Scale
    vocabulary: int
    batch: int | None
    reference: bool

    @property
    def threads(self) -> int:
        """The number of CPU threads of this machine."""
        return os.cpu_count() or 1


def train(setting: Setting) -> list[Row]:
    """Return rows for matrix products, training as trials do it, alone and side by side, and the published step."""
    import torch

    from benchmarks import models, reference
    from etude.runner.executors import default_workers, threads_per_worker
    from replication.training.precision import has_bfloat16

    scale, vocabulary, cores = setting.scale, setting.vocabulary, setting.threads
    scale = replace(scale, budget=replace(scale.budget, batch=setting.batch or scale.budget.batch))
    copies = default_workers()
    dtypes = {"fp32": torch.float32}
    if has_bfloat16(models.device()):  # elsewhere trials use single precision, and emulation takes minutes
        dtypes["bf16"] = torch.bfloat16
    rows = [
        Row(
            name=f"matrix product, {name}",
            unit="GFLOP/s",
            contender=partial(models.matrix, dtype=dtype),
            threads=cores,
            flop=1e9,
        )
        for name, dtype in dtypes.items()
    ]
    peaks = tuple(row.name for row in rows)
    if copies > 1:
        rows += [replace(row, name=f"{row.name}, 1 thread", threads=1) for row in rows]
    batch = setting.batch or reference.BATCH
    published = f"train, published step, batch {batch}"
    for experiment, ends in (("e2e", models.diffusion_ends), ("autoregressive", models.autoregressive_ends)):
        row = Row(
            name=f"train {experiment}, batch {scale.budget.batch}",
            unit="tokens/s",
            contender=partial(models.train, experiment=experiment, scale=scale, vocabulary=vocabulary),
            threads=cores,
            against=published if setting.reference and experiment == "e2e" else None,
            flop=models.training_flop(scale.backbone, length=scale.length, ends=ends(scale, vocabulary)),
            peaks=peaks,
        )
        rows.append(row)
        if copies > 1:
            name = f"{row.name}, trials side by side"
            rows.append(replace(row, name=name, threads=threads_per_worker(copies), copies=copies))
    if setting.reference:
        flop = models.training_flop(scale.backbone, length=scale.length, ends=models.diffusion_ends(scale, vocabulary))
        contender = partial(reference.published_step, scale=scale, vocabulary=vocabulary, batch=batch)
        rows.append(Row(name=published, unit="tokens/s", contender=contender, threads=cores, flop=flop, peaks=peaks))
    return rows


def sample(setting: Setting) -> list[Row]:
    """Return rows for diffusion sampling by number of network evaluations, and autoregression against `generate`."""
    from benchmarks import models, reference
    from replication.diffusion.samplers import Ancestral

    scale, vocabulary, threads = setting.scale, setting.vocabulary, setting.threads
    draw = partial(models.sample, vocabulary=vocabulary)
    rows = [
        Row(
            name=f"sample e2e, {steps} evaluations",
            unit="windows/s",
            contender=partial(draw, experiment="e2e", scale=replace(scale, sampler=Ancestral(steps=steps)), amount=1),
            threads=threads,
        )
        for steps in EVALUATIONS
        if steps <= scale.timesteps
    ]
    generated = "sample GPT-2, generate of transformers"
    rows.append(
        Row(
            name="sample autoregressive",
            unit="tokens/s",
            contender=partial(draw, experiment="autoregressive", scale=scale, amount=scale.length - 1),
            threads=threads,
            against=generated if setting.reference else None,
        )
    )
    if setting.reference:
        contender = partial(reference.generate, scale=scale, vocabulary=vocabulary)
        rows.append(Row(name=generated, unit="tokens/s", contender=contender, threads=threads))
    return rows


def prepare(setting: Setting) -> list[Row]:
    """Return rows for reading and encoding synthetic files in one process, against muspy and MidiTok."""
    from benchmarks.data import contents, reading_rows

    return reading_rows(tuple(contents(None)), length=setting.scale.length)


def score(setting: Setting) -> list[Row]:
    """Return rows for scoring windows on one thread, against muspy's functions."""
    from benchmarks.scores import scoring_rows

    return scoring_rows(length=setting.scale.length)


GROUPS: Mapping[str, Callable[[Setting], list[Row]]] = {
    "train": train,
    "sample": sample,
    "prepare": prepare,
    "score": score,
}


def bench(
    scale: ScaleName = "cpu",
    *,
    only: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="GROUP ...", help=f"groups to measure: {', '.join(GROUPS)}")
    ] = (),
    batch: Annotated[
        int | None, tyro.conf.arg(metavar="N", help="windows per training step, for Etude and for the published step")
    ] = None,
    laps: Annotated[int, tyro.conf.arg(metavar="N", help="laps of each row")] = LAPS,
    seconds: Annotated[float, tyro.conf.arg(metavar="S", help="minimum length of a lap")] = SECONDS,
    output: Output = None,
) -> None:
    """Measure training, sampling, preparation and scoring.

    Use --scale paper --only train --batch 16 for the published size, BERT-base on windows of 130 tokens.
    """
    from benchmarks import reference
    from etude.runner.plan import find_scale
    from replication.tokens.encodings import ENCODINGS

    if unknown := [name for name in only if name not in GROUPS]:
        raise UserError(f"--only {unknown[0]}: unknown group; choose from {', '.join(GROUPS)}")
    if laps < 1 or (batch is not None and batch < 1):
        raise UserError("--laps and --batch: give a number of at least 1")
    setting = Setting(
        scale=find_scale(scale),
        vocabulary=len(ENCODINGS["paper"].vocabulary),
        batch=batch,
        reference=reference.available(),
    )
    if not setting.reference:
        print(reference.MISSING, file=sys.stderr)
    rows: dict[str, Record] = {}
    for name in only or GROUPS:
        contenders = GROUPS[name](setting)
        rows |= records(contenders, race(contenders, laps=laps, seconds=seconds))
    present(rows, output, scale=setting.scale.name)


if __name__ == "__main__":
    command(bench)

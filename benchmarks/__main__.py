"""Speed on this machine: `nox -s bench`. Ratios from one run mean more than the numbers.

Every row is measured in a process of its own, and all rows of a group in turn; see `benchmarks.race`.
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

EVALUATIONS = (10, 50, 200)  # of the network, per diffusion sample


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the rows of a run share.

    Attributes:
        scale: the sizes.
        vocabulary: V, of the paper's encoding.
        batch: windows per step on both sides; None: the scale's on ours, the published one on the other.
        reference: whether transformers is there.
    """

    scale: Scale
    vocabulary: int
    batch: int | None
    reference: bool

    @property
    def threads(self) -> int:
        """All cores."""
        return os.cpu_count() or 1


def train(setting: Setting) -> list[Row]:
    """Training as trials do it, alone and side by side, against the published step; and matrix products."""
    import torch

    from benchmarks import models as ours
    from benchmarks import reference as theirs
    from etude.runner.executors import default_workers, threads_per_worker

    scale, vocabulary, cores = setting.scale, setting.vocabulary, setting.threads
    scale = replace(scale, budget=replace(scale.budget, batch=setting.batch or scale.budget.batch))
    copies = default_workers()
    rows = [
        Row(name=f"matrix product, {name}", unit="GFLOP/s", contender=contender, threads=cores, flop=1e9)
        for name, contender in (
            ("fp32", partial(ours.matrix, dtype=torch.float32)),
            ("bf16", partial(ours.matrix, dtype=torch.bfloat16)),
        )
    ]
    peaks = tuple(row.name for row in rows)
    if copies > 1:
        rows += [replace(row, name=f"{row.name}, 1 thread", threads=1) for row in rows]
    batch = setting.batch or theirs.BATCH
    published = f"train, published step, batch {batch}"
    for experiment, ends in (("e2e", ours.diffusion_ends), ("autoregressive", ours.autoregressive_ends)):
        row = Row(
            name=f"train {experiment}, batch {scale.budget.batch}",
            unit="tokens/s",
            contender=partial(ours.train, experiment=experiment, scale=scale, vocabulary=vocabulary),
            threads=cores,
            against=published if setting.reference and experiment == "e2e" else None,
            flop=ours.training_flop(scale.backbone, length=scale.length, ends=ends(scale, vocabulary)),
            peaks=peaks,
        )
        rows.append(row)
        if copies > 1:
            name = f"{row.name}, trials side by side"
            rows.append(replace(row, name=name, threads=threads_per_worker(copies), copies=copies))
    if setting.reference:
        flop = ours.training_flop(scale.backbone, length=scale.length, ends=ours.diffusion_ends(scale, vocabulary))
        contender = partial(theirs.published_step, scale=scale, vocabulary=vocabulary, batch=batch)
        rows.append(Row(name=published, unit="tokens/s", contender=contender, threads=cores, flop=flop, peaks=peaks))
    return rows


def sample(setting: Setting) -> list[Row]:
    """Sampling: diffusion by evaluations of the network, autoregression against `generate`."""
    from benchmarks import models as ours
    from benchmarks import reference as theirs
    from replication.diffusion.samplers import Ancestral

    scale, vocabulary, threads = setting.scale, setting.vocabulary, setting.threads
    drawn = partial(ours.sample, vocabulary=vocabulary)
    rows = [
        Row(
            name=f"sample e2e, {steps} evaluations",
            unit="windows/s",
            contender=partial(drawn, experiment="e2e", scale=replace(scale, sampler=Ancestral(steps=steps)), amount=1),
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
            contender=partial(drawn, experiment="autoregressive", scale=scale, amount=scale.length - 1),
            threads=threads,
            against=generated if setting.reference else None,
        )
    )
    if setting.reference:
        contender = partial(theirs.generate, scale=scale, vocabulary=vocabulary)
        rows.append(Row(name=generated, unit="tokens/s", contender=contender, threads=threads))
    return rows


def prepare(setting: Setting) -> list[Row]:
    """Reading and encoding synthetic files in one process, against muspy and MidiTok."""
    from benchmarks.data import contents, reading_rows

    return reading_rows(tuple(contents(None)), length=setting.scale.length)


def score(setting: Setting) -> list[Row]:
    """Scoring windows on one thread, against muspy's functions."""
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
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="GROUP ...", help=f"of {', '.join(GROUPS)}")] = (),
    batch: Annotated[
        int | None, tyro.conf.arg(metavar="N", help="windows per training step, of ours and of the published step")
    ] = None,
    laps: Annotated[int, tyro.conf.arg(metavar="N", help="turns of each row")] = LAPS,
    seconds: Annotated[float, tyro.conf.arg(metavar="S", help="of each turn, at least")] = SECONDS,
    output: Output = None,
) -> None:
    """Measure training, sampling, preparation and scoring.

    The published size, BERT-base on windows of 130 tokens: --scale paper --only train --batch 16.
    """
    from benchmarks import reference as bench_reference
    from etude.runner.plan import find_scale
    from replication.tokens.encodings import ENCODINGS

    if unknown := [name for name in only if name not in GROUPS]:
        raise UserError(f"--only {unknown[0]}: choose of {', '.join(GROUPS)}")
    if laps < 1 or (batch is not None and batch < 1):
        raise UserError("--laps and --batch: at least one is needed")
    setting = Setting(
        scale=find_scale(scale),
        vocabulary=len(ENCODINGS["paper"].vocabulary),
        batch=batch,
        reference=bench_reference.available(),
    )
    if not setting.reference:
        print(bench_reference.MISSING, file=sys.stderr)
    rows: dict[str, Record] = {}
    for name in only or GROUPS:
        contenders = GROUPS[name](setting)
        rows |= records(contenders, race(contenders, laps=laps, seconds=seconds))
    present(rows, output, scale=setting.scale.name)


if __name__ == "__main__":
    command(bench)

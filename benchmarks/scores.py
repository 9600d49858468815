"""Benchmark scoring: `nox -s bench -- scores --corpus bach`.

Ratios within one run mean more than absolute numbers.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from benchmarks.race import Row, exponent, race, repeat
from benchmarks.table import Output, command, present, records
from etude.cli.options import Root  # noqa: TC001 - tyro reads the annotation
from eval.distances.noise_floor import LEAST_WINDOWS
from replication.util.errors import UserError

if TYPE_CHECKING:
    from benchmarks.race import Lap
    from eval.metrics.windows import Windows

WINDOWS = 128  # windows per unit of work for metrics


def bench(
    corpus: Annotated[str, tyro.conf.arg(metavar="NAME", help="a corpus with enough training windows")] = "bach",
    samples: Annotated[int, tyro.conf.arg(metavar="N", help="windows to compare with as many real ones")] = 1024,
    root: Root = Path(),
    output: Output = None,
) -> None:
    """Measure metrics, and the whole panel of one model at four sizes, on one thread."""
    if samples < (least := 8 * LEAST_WINDOWS):
        raise UserError(f"--samples {samples}: give at least {least}, because an eighth of them is compared too")
    sizes = [samples // 8, samples // 4, samples // 2, samples]
    rows = [
        *scoring_rows(length=66),
        *(
            Row(
                name=f"panel, {size} against {size}",
                unit="windows/s",
                contender=partial(panel, corpus=corpus, samples=samples, size=size, root=root),
                threads=1,
            )
            for size in sizes
        ),
    ]
    measured = race(rows, laps=3)
    seconds = [size / measured[row.name].rate for row, size in zip(rows[-len(sizes) :], sizes, strict=True)]
    result = records(rows, measured)
    result["panel, exponent of time"] = {"value": exponent(sizes, seconds), "unit": ""}
    present(result, output, corpus=corpus)


def scoring_rows(*, length: int) -> list[Row]:
    """Return rows for computing all metrics of synthetic windows on one thread, with Etude and with muspy."""
    row = partial(Row, unit="windows/s", threads=1)
    return [
        row(name="score", contender=partial(score, length=length), against="score, muspy"),
        row(name="score, muspy", contender=partial(score_with_muspy, length=length)),
    ]


def score(lap: Lap, *, length: int) -> None:
    """Compute all metrics, each time on a new `Windows` object, because it caches what metrics share."""
    from eval.metrics.table import score as score_all

    windows = _windows(length)
    repeat(lambda: score_all(windows.take(range(WINDOWS))), WINDOWS, lap)


def score_with_muspy(lap: Lap, *, length: int) -> None:
    """Compute muspy's metrics, of which there are fewer."""
    from eval.metrics.muspy_values import score_raw

    windows = _windows(length)
    repeat(lambda: score_raw(windows.take(range(WINDOWS))), WINDOWS, lap)


def _windows(length: int) -> Windows:
    from eval.scoring.sample_set import read
    from replication.corpora.catalogue import Published
    from replication.corpora.corpus import CORPORA
    from replication.midi.piece import PAPER_GRID, Piece
    from replication.tokens.encodings import ENCODINGS

    encoding, source = ENCODINGS["paper"], CORPORA["synthetic"].source
    assert not isinstance(source, Published)
    pieces = [item for item in source.items(PAPER_GRID) if isinstance(item, Piece)]
    tokens = np.concatenate([encoding.windows(piece.notes, length)[0] for piece in pieces])
    return read(tokens[:WINDOWS], encoding).scored.windows


def panel(lap: Lap, *, corpus: str, samples: int, size: int, root: Path) -> None:
    """Decode samples and compute the whole panel: metrics, distances and copying."""
    from etude.runner.plan import make_plan, windows
    from eval.distances.copying import TrainingIndex
    from eval.scoring.reference import ReferenceSet
    from eval.scoring.sample_set import read
    from replication.tokens.encodings import encoding_on

    plan = make_plan(scale="cpu", corpus=corpus, root=root)
    (name,) = plan.encodings
    encoding, train = encoding_on(name, plan.corpus.reading.grid), windows(plan, name).splits["train"]
    if len(train.tokens) < 2 * samples:
        raise UserError(
            f"corpus {corpus} has {len(train.tokens)} training windows: choose --samples of at most half as many"
        )
    # Samples are real windows too, because the cost depends on their number only. Halves of the reference have the size
    # of the samples.
    real = read(np.asarray(train.tokens[: 2 * samples]), encoding, train.groups[: 2 * samples].astype(np.int64))
    tokens, known = np.asarray(train.tokens[-samples:])[:size], TrainingIndex.of(train.tokens, encoding)
    scale = replace(plan.scale, samples=size)
    reference = ReferenceSet(real=real, training=known, encoding=encoding, scale=scale, teacher=None, seed=0)
    repeat(lambda: reference.compare(read(tokens, encoding)), size, lap)


if __name__ == "__main__":
    command(bench)

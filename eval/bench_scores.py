"""Speed of scoring on this machine: `python -m eval.bench_scores --corpus bach`.

Ratios from one run mean more than the numbers.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

if TYPE_CHECKING:
    from collections.abc import Callable

    from eval.judge import Judge
    from eval.music import Music

MUSPY = 128  # windows that muspy is timed on


def bench(
    corpus: Annotated[str, tyro.conf.arg(metavar="NAME", help="a corpus with enough training windows")] = "bach",
    samples: Annotated[int, tyro.conf.arg(metavar="N", help="windows that are compared with as many real ones")] = 1024,
    root: Annotated[Path, tyro.conf.arg(metavar="PATH", help="where runs/ and the cache are")] = Path(),
) -> None:
    """Measure metrics, distances and the whole panel of one model on one thread; print JSON."""
    import torch

    from eval import suite
    from eval.judge import Judge
    from eval.memorisation import Known
    from eval.metrics import score
    from eval.music import read
    from eval.muspy_raw import score_raw
    from eval.trial import environment
    from replication.encodings import encoding_on
    from replication.errors import UserError

    torch.set_num_threads(1)
    plan = suite.plan(scale="cpu", corpus=corpus, root=root)
    (name,) = plan.encodings
    encoding, train = encoding_on(name, plan.corpus.reading.grid), suite.windows(plan, name).splits["train"]
    if len(train.tokens) < 2 * samples:
        raise UserError(f"corpus {corpus} has {len(train.tokens)} training windows: choose --samples of half as many")
    # Real windows on both sides: their number is what costs. Halves of the reference are as large as the samples.
    real = read(np.asarray(train.tokens[: 2 * samples]), encoding, train.groups[: 2 * samples].astype(np.int64))
    music = read(np.asarray(train.tokens[-samples:]), encoding)
    known = Known.of(train.tokens, encoding)
    some = music.scored.windows.take(range(min(MUSPY, samples)))
    score_raw(some)  # imports
    ours = _seconds(lambda: score(music.scored.windows.take(range(samples)))) / samples
    theirs = _seconds(lambda: score_raw(some)) / len(some)
    rows: dict[str, float] = {
        "metrics, ms per piece": 1e3 * ours,
        "muspy's own, ms per piece": 1e3 * theirs,
        "muspy's own against ours": theirs / ours,
    }
    sizes = [samples // 4, samples // 2, samples]
    judge = Judge(real=real, known=known, encoding=encoding, scale=plan.scale, teacher=None, seed=0)
    seconds = [_panel(judge, music, size) for size in sizes]
    rows |= {f"panel, {size} against {size}, s": taken for size, taken in zip(sizes, seconds, strict=True)}
    rows["panel, growth exponent"] = math.log(seconds[-1] / seconds[0]) / math.log(4)
    json.dump({"corpus": corpus, "rows": rows, "environment": environment()}, sys.stdout, indent=2)
    print()


def _panel(judge: Judge, music: Music, size: int) -> float:
    """Return the seconds of the whole panel of so many samples: decoding, metrics, distances, copying."""
    from eval.music import read

    smaller = replace(judge, scale=replace(judge.scale, samples=size))
    return _seconds(lambda: smaller.compare(read(music.tokens[:size], judge.encoding)))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    tyro.cli(bench, prog="python -m eval.bench_scores")

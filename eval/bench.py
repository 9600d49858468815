"""Speed on this machine: `python -m eval.bench --scale cpu`. Ratios from one run mean more than the numbers."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from collections.abc import Callable


def measure(work: Callable[[], object], amount: float, *, seconds: float = 3.0) -> float:
    """Return amounts per second of calling `work` again and again for about this long, after one call to warm up."""
    work()
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        work()
        calls += 1
    return amount * calls / (time.perf_counter() - started)


def bench(scale: Annotated[str, tyro.conf.arg(metavar="NAME", help="a scale")] = "cpu") -> None:
    """Measure training, sampling, preparation and scoring; print JSON."""
    import torch

    from eval.metrics import score
    from eval.suite import EXPERIMENTS, find_scale
    from eval.trial import environment
    from eval.windows import Windows
    from replication.corpora import CORPORA
    from replication.encodings import ENCODINGS
    from replication.model import token_counts
    from replication.randomness import generator
    from replication.reading import load
    from replication.tokens import SEP

    chosen = find_scale(scale)
    encoding = ENCODINGS["paper"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch, length, vocabulary = chosen.budget.batch, chosen.length, len(encoding.vocabulary)
    tokens = torch.randint(SEP + 1, vocabulary, (batch, length), generator=generator("bench")).to(device)
    rows: dict[str, float] = {}

    square = torch.randn(1024, 1024, device=device)
    rows["matrix product, GFLOP/s"] = measure(lambda: square @ square, 2 * 1024**3 / 1e9)
    for name in ("e2e", "autoregressive"):
        model = EXPERIMENTS[name].model.build(vocabulary=vocabulary, scale=chosen).to(device)  # type: ignore[attr-defined]  # a module
        optimiser = torch.optim.AdamW(model.parameters(), fused=True)

        def step(model: object = model, optimiser: torch.optim.Optimizer = optimiser) -> None:
            random = generator("bench", device=device)
            terms = model.terms(tokens, random=random)  # type: ignore[attr-defined]  # a Trainable
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]  # not annotated
            optimiser.step()
            optimiser.zero_grad()

        rows[f"train {name}, tokens/s"] = measure(step, batch * length)
        rows[f"sample {name}, windows/s"] = measure(lambda model=model: model.sample(range(64), seed=0), 64)  # type: ignore[misc]
        rows[f"likelihood {name}, tokens/s"] = measure(
            lambda model=model: model.nll(tokens, seed=0),  # type: ignore[misc]
            float(token_counts(tokens).sum()),
        )

    pieces = load(CORPORA["synthetic"], Path(tempfile.gettempdir())).pieces
    notes = sum(len(piece.notes) for piece in pieces)
    rows["encode, notes/s"] = measure(lambda: [encoding.windows(piece.notes, length) for piece in pieces], notes)
    rows["score, pieces/s"] = measure(lambda: score(Windows.of(pieces)), len(pieces))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux
    json.dump(
        {"scale": scale, "rows": rows, "peak_memory_MB": round(peak), "environment": environment()},
        sys.stdout,
        indent=2,
    )
    print()


if __name__ == "__main__":
    tyro.cli(bench, prog="python -m eval.bench")

"""What a plan will cost, before it starts."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from eval.stages import LIKELIHOOD_WINDOWS

if TYPE_CHECKING:
    from eval.suite import Plan


def estimate(plan: Plan, *, threads: int, steps: int = 2) -> dict[str, float]:
    """Return the seconds that a trial of each experiment may take, by timing a few steps on random tokens here.

    Experiments of one class of model in one encoding take the same time, so each of these is timed once.
    """
    import torch

    from replication.encodings import encoding_on
    from replication.model import Job
    from replication.tokens import SEP
    from replication.train import Trainable, sgd

    torch.set_num_threads(threads)
    scale = plan.scale
    budget = replace(scale.budget, steps=steps, warmup=0, log_every=steps, validate_every=steps, checkpoint_every=steps)
    seconds: dict[str, float] = {}
    timed: dict[tuple[type, str], float] = {}
    for experiment in plan.experiments:
        vocabulary = len(encoding_on(experiment.encoding, plan.corpus.reading.grid).vocabulary)
        model = experiment.model.build(vocabulary=vocabulary, scale=scale)
        if not isinstance(model, Trainable):  # counting takes no time
            seconds[experiment.name] = 0.0
            continue
        kind = (type(model), experiment.encoding)
        if kind in timed:
            seconds[experiment.name] = timed[kind]
            continue
        tokens = torch.randint(SEP + 1, vocabulary, (scale.budget.batch, scale.length))
        with tempfile.TemporaryDirectory() as folder:
            job = Job(
                train=tokens,
                validation=tokens[:1],
                scale=replace(scale, budget=budget),
                seed=0,
                folder=Path(folder),
                sibling=lambda _: Path(),
                log=lambda *_: None,
                device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
            )
            sgd(model, job)
            started = time.perf_counter()
            sgd(model, replace(job, folder=Path(folder) / "second"))
        step = (time.perf_counter() - started) / steps
        # A forward pass is about a third of a training step.
        passes = (scale.samples * scale.sampler_steps + LIKELIHOOD_WINDOWS * scale.strata) / scale.budget.batch
        seconds[experiment.name] = timed[kind] = step * (scale.budget.steps + passes / 3)
    return seconds

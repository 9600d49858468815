"""What a plan will cost, before it starts."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from eval.controls import FromTest
from eval.stages import LIKELIHOOD_WINDOWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eval.trial import Trial
    from replication.piece import Grid
    from replication.scales import Scale
    from replication.train import Trainable

SCORING = 6.0  # seconds, as 256 samples take on one core


def estimate(trials: Sequence[Trial], grid: Grid, *, threads: int, steps: int = 2) -> list[float]:
    """Return the seconds that each trial may take, by timing a few steps of its network on random tokens here.

    Networks of one shape, in one encoding and budget, take the same time, so each of these is timed once.
    """
    import torch

    from baselines.untrained import Untrained
    from replication.encodings import encoding_on
    from replication.train import Trainable

    torch.set_num_threads(threads)
    timed: dict[tuple[object, ...], float] = {}
    seconds = []
    for trial in trials:
        if isinstance(trial.experiment.model, FromTest):
            seconds.append(SCORING)
            continue
        vocabulary = len(encoding_on(trial.experiment.encoding, grid).vocabulary)
        model = trial.experiment.model.build(vocabulary=vocabulary, scale=trial.scale)
        if not isinstance(model, Trainable):  # counting takes no time
            seconds.append(SCORING)
            continue
        scale = getattr(model, "scale", trial.scale)  # a recipe brings its own
        shapes = tuple(parameter.shape for parameter in model.parameters())
        kind = (type(model), shapes, scale.budget, trial.scale.samples)
        if kind not in timed:
            step = _step(model, scale, vocabulary, steps=steps)
            # A forward pass is about a third of a training step.
            passes = trial.scale.samples * scale.sampler_steps + LIKELIHOOD_WINDOWS * scale.strata
            trained = 0 if isinstance(model, Untrained) else scale.budget.steps
            timed[kind] = step * (trained + passes / scale.budget.batch / 3)
        seconds.append(SCORING + timed[kind])
    return seconds


def _step(model: Trainable, scale: Scale, vocabulary: int, *, steps: int) -> float:
    """Return the seconds of a training step."""
    import torch

    from replication.model import Job
    from replication.tokens import SEP
    from replication.train import sgd

    budget = replace(
        scale.budget,
        steps=steps,
        warmup=0,
        milestones=(),
        log_every=steps,
        validate_every=steps,
        checkpoint_every=steps,
    )
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
    return (time.perf_counter() - started) / steps

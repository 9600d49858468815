"""The stages of a trial: fit, sample, likelihood, audit, score. A stage is skipped if its checksum file is there.

The stages up to the likelihood need only torch, numpy and safetensors.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from eval.metrics.windows import evenly
from eval.results.schema import AUDITS, TRAINING
from eval.results.training_log import FILE, TrainingLog
from eval.scoring.controls import FromTest
from eval.scoring.experiments import is_audited
from replication.models.ablations import Diffusion
from replication.tokens.protocol import to_text
from replication.training.distributed import process_group
from replication.training.flop import step_flop
from replication.training.model import Job, Network
from replication.util.checkpoint import CHECKPOINT, milestone, trained
from replication.util.checksums import SUFFIX, missing, write_checksums
from replication.util.errors import UserError
from replication.util.files import atomic, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from etude.trial.trial import Trial
    from etude.trial.workbench import Workbench
    from replication.models.ablations import Experiment


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a trial's work. It is done when the checksums of its files are written, last.

    Attributes:
        name: the name of its checksum file, without ".sha256".
        run: the function that does the work.
        leaves: patterns of the files that it leaves in the folder of the trial.
        current: a function that returns whether these files are of the present version of the scores.
    """

    name: str
    run: Callable[[Workbench], None]
    leaves: tuple[str, ...]
    current: Callable[[Workbench], bool] = lambda _: True

    def __call__(self, bench: Workbench) -> None:
        """Run the stage unless it is done.

        Raises:
            UserError: if one of its files has changed since it was written.
        """
        sums = checksums(bench.folder, self.name)
        if sums.exists():
            if not missing(sums) and self.current(bench):
                return
            if process_group().first:
                sums.unlink()  # first, because the files written from now on may not match it
        self.run(bench)
        if process_group().first:
            write_checksums(sums, [file for pattern in self.leaves for file in sorted(bench.folder.glob(pattern))])


def checksums(folder: Path, stage: str) -> Path:
    """Return the path of a stage's checksum file, which exists once the stage is done."""
    return folder / f"{stage}{SUFFIX}"


def of(experiment: Experiment, *, bare: bool = False) -> tuple[Stage, ...]:
    """Return the stages of an experiment's trials in order; if `bare`, only those that need no more than training."""
    if isinstance(experiment.model, FromTest):
        return () if bare else (SCORE_CONTROL,)
    if bare:
        return (FIT, SAMPLE, LIKELIHOOD)
    audit = (AUDIT,) if is_audited(experiment) else ()
    score = SCORE_DIFFUSION if isinstance(experiment.model, Diffusion) else SCORE
    return (FIT, SAMPLE, LIKELIHOOD, *audit, score)


def _fit(bench: Workbench) -> None:
    """Train the model, resuming from the last checkpoint if there is one: checkpoint/model.safetensors, training.json.

    If several processes train together, only the first one writes.
    """
    trial, first = bench.trial, process_group().first
    since = time.perf_counter()
    history = TrainingLog(trial.folder / FILE) if first else None
    if history and history.last < (step := trained(checkpoint := trial.weights.parent / CHECKPOINT)):
        raise UserError(f"{history.path} does not reach step {step} of {checkpoint}: delete both to train again")
    model = bench.untrained()
    model.fit(
        Job(
            train=bench.tokens("train"),
            validation=bench.tokens("validation"),
            scale=trial.scale,
            seed=trial.seed,
            folder=trial.weights.parent,
            sibling=trial.sibling,
            log=history or _unlogged,
            device=bench.device,
        )
    )
    if history:
        seconds = time.perf_counter() - since
        if isinstance(model, Network) and history.last > 0:
            write_json(trial.folder / TRAINING, _training_cost(model, trial, history.last))
        model.save(trial.weights)
        # The training loop counts the time before an interruption too.
        bench.time("fit", seconds if history.seconds is None else history.seconds)


def _training_cost(model: Network, trial: Trial, steps: int) -> dict[str, int]:
    """Return the training steps, the tokens in their batches, padding included, and their floating-point operations."""
    batch, length = trial.budget.batch, trial.scale.length
    return {
        "steps": steps,
        "tokens_seen": steps * batch * length,
        "flop": steps * step_flop(model, batch=batch, length=length),
    }


def _unlogged(step: int, values: Mapping[str, float]) -> None:
    """Take what only the first of several processes logs."""


def _sample(bench: Workbench) -> None:
    """Draw the samples: samples.npz, samples.txt."""
    since = time.perf_counter()
    tokens = bench.trained().sample(range(bench.trial.scale.samples), seed=bench.trial.seed).numpy().astype(np.uint16)
    seconds = time.perf_counter() - since
    with atomic(bench.folder / "samples.txt") as draft:
        draft.write_text("".join(to_text(bench.encoding, row) + "\n" for row in tokens.tolist()), encoding="utf-8")
    with atomic(bench.folder / "samples.npz") as draft:
        np.savez_compressed(draft, tokens=tokens)
    bench.time("sample", seconds)


def _likelihood(bench: Workbench) -> None:
    """Measure the likelihood of held-out windows: likelihood.json."""
    from eval.scoring.likelihood import LIKELIHOOD_WINDOWS, measure

    since = time.perf_counter()
    trial, split = bench.trial, bench.dataset.splits[bench.trial.scale.held_out]
    chosen = evenly(len(split.tokens), LIKELIHOOD_WINDOWS)
    found = measure(
        bench.trained(),
        bench.tokens(trial.scale.held_out)[chosen].long(),
        bench.tokens("validation"),
        split.groups[chosen],
        bench.encoding,
        seed=trial.seed,
        device=bench.device,
        # The first seed is enough: it takes long.
        every_timestep=trial.seed == trial.scale.seeds[0] and trial.kind == "trial",
    )
    bench.time("likelihood", time.perf_counter() - since)
    write_json(bench.folder / "likelihood.json", found)


def _has_audit(bench: Workbench) -> bool:
    return _audit_file(bench).exists()


def _audit_file(bench: Workbench) -> Path:
    return bench.folder / AUDITS / f"{bench.trial.scoring}.json"


def _audit(bench: Workbench) -> None:
    """Compare "bits per word" with other measures of the same weights at the ages that training kept: audit/."""
    from baselines.embeddings_only import EmbeddingsOnly
    from etude.trial.scoring import read_samples
    from eval.scoring.bits_per_word import STRATA, Yardsticks
    from eval.scoring.bits_per_word import audit as measure
    from eval.scoring.reference import ReferenceSet
    from replication.models.diffusion_lm import DiffusionLM

    since = time.perf_counter()
    trial = bench.trial
    reference = ReferenceSet.of(
        bench.dataset,
        bench.encoding,
        trial.scale,
        comparison=trial.comparison,
        teacher=trial.teacher,
        device=bench.device,
    )
    teacher = reference.teacher
    yardsticks = Yardsticks(
        real=torch.from_numpy(reference.real.tokens.astype(np.int64)),
        distance=reference.distance,
        teacher=None if teacher is None else lambda tokens: teacher(tokens).nll,
    )
    model = bench.with_scale(replace(trial.scale, strata=min(STRATA, trial.scale.strata)))
    assert isinstance(model, DiffusionLM | EmbeddingsOnly)
    reached = (step for step in trial.budget.milestones if step < trial.budget.steps)
    ages = {step: milestone(trial.weights.parent, step) for step in reached}
    measure(
        model,
        {**ages, trial.budget.steps: trial.weights},
        torch.from_numpy(read_samples(bench.folder).astype(np.int64)),
        yardsticks,
        path=_audit_file(bench),
        seed=trial.seed,
    )
    bench.time("audit", time.perf_counter() - since)


def _is_scored(bench: Workbench) -> bool:
    return bool(read_json(bench.folder / "scores.json")["scoring"] == bench.trial.scoring)


def _score(bench: Workbench, *, control: bool = False, diffusion: bool = False) -> None:
    """Compare the samples with the held-out split: see `etude.trial.scoring`."""
    from etude.trial.scoring import score_trial

    score_trial(bench, control=control, diffusion=diffusion)


FIT = Stage(
    name="fit",
    run=_fit,
    leaves=("checkpoint/model.safetensors", "checkpoint/step-*.safetensors", "metrics.jsonl", TRAINING),
)
SAMPLE = Stage(name="sample", run=_sample, leaves=("samples.txt", "samples.npz"))
LIKELIHOOD = Stage(name="likelihood", run=_likelihood, leaves=("likelihood.json",))
AUDIT = Stage(name="audit", run=_audit, leaves=("audit/*.json",), current=_has_audit)
SCORE = Stage(
    name="score",
    run=_score,
    leaves=("scores.json", "*.parquet", "roll.png", "samples.html", "midi/*.mid"),
    current=_is_scored,
)
SCORE_DIFFUSION = replace(SCORE, run=partial(_score, diffusion=True))
SCORE_CONTROL = replace(SCORE, run=partial(_score, control=True))

"""The stages of a trial: fit, sample, likelihood, audit, score. Each is skipped if its file is there.

Those up to the likelihood need nothing but torch, numpy and safetensors.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from eval.controls import FromTest
from eval.history import History
from eval.panel import scoring
from replication.ablations import Diffusion
from replication.checkpoint import CHECKPOINT, trained
from replication.checksums import SUFFIX, missing, write_checksums
from replication.encodings import encoding_on
from replication.errors import UserError
from replication.files import atomic, read_json, write_json
from replication.model import Job
from replication.parallel import group
from replication.randomness import seeded
from replication.tokens import to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from eval.trial import Trial
    from replication.ablations import Experiment
    from replication.data import Dataset
    from replication.model import Model
    from replication.piece import Grid
    from replication.tokens import Encoding

AUDITS = "audit"  # the folder of what was found, by the scoring


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """A trial with what its stages share.

    Attributes:
        dataset: the corpus in the encoding of the trial.
        grid: the length of a time step of the corpus.
        device: where to compute.
    """

    trial: Trial
    dataset: Dataset
    grid: Grid
    device: torch.device

    @property
    def encoding(self) -> Encoding:
        """The encoding of the trial."""
        return encoding_on(self.trial.experiment.encoding, self.grid)

    @property
    def folder(self) -> Path:
        """The folder of the trial."""
        return self.trial.folder

    def tokens(self, split: str) -> torch.Tensor:
        """Return a split as (n, L) int16, in the file that it lies in: it is read where it is looked at."""
        return torch.from_numpy(self.dataset.splits[split].tokens.view(np.int16))  # no vocabulary has 32,768 words

    def untrained(self) -> Model:
        """Return the model as its seed initialises it."""
        with seeded("model", self.trial.seed):
            return self.trial.experiment.model.build(vocabulary=len(self.encoding.vocabulary), scale=self.trial.scale)

    def trained(self) -> Model:
        """Return the fitted model on the device."""
        model = self.untrained()
        model.load(self.trial.weights)
        if isinstance(model, torch.nn.Module):
            model.to(self.device)
        return model

    def time(self, stage: str, seconds: float) -> None:
        """Note how long a stage took."""
        write_json(self.folder / "timing.json", {**self.times(), stage: round(seconds, 3)})

    def times(self) -> dict[str, float]:
        """Return the seconds that the stages took so far."""
        path = self.folder / "timing.json"
        return dict(read_json(path)) if path.exists() else {}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a trial's work that is done when the checksums of what it leaves are written, beside it.

    Attributes:
        name: of the file of checksums, `<name>.sha256`.
        run: does it.
        leaves: patterns of the files that it leaves in the folder.
        current: whether what it left is still what is wanted.
    """

    name: str
    run: Callable[[Workbench], None]
    leaves: tuple[str, ...]
    current: Callable[[Workbench], bool] = lambda _: True

    def __call__(self, bench: Workbench) -> None:
        """Do what is not done.

        Raises:
            UserError: if a file that was left has changed since.
        """
        sums = checksums(bench.folder, self.name)
        if sums.exists():
            if not missing(sums) and self.current(bench):
                return
            if group().first:
                sums.unlink()  # first: what is written anew does not match it
        self.run(bench)
        if group().first:
            write_checksums(sums, [file for pattern in self.leaves for file in sorted(bench.folder.glob(pattern))])


def checksums(folder: Path, stage: str) -> Path:
    """Return where a stage leaves the checksums of its files; when it is there, the stage is done."""
    return folder / f"{stage}{SUFFIX}"


def of(experiment: Experiment, *, bare: bool = False) -> tuple[Stage, ...]:
    """Return the stages of an experiment's trials in their order; if `bare`, those that need no more than training."""
    if isinstance(experiment.model, FromTest):
        return () if bare else (SCORE,)
    if bare:
        return (FIT, SAMPLE, LIKELIHOOD)
    if isinstance(experiment.model, Diffusion) and experiment.model.recipe:
        return (FIT, SAMPLE, LIKELIHOOD, AUDIT, SCORE)
    return (FIT, SAMPLE, LIKELIHOOD, SCORE)


def _fit(bench: Workbench) -> None:
    """Train, from the last checkpoint if there is one: checkpoint/model.safetensors.

    Of several processes that train together the first one writes.
    """
    trial, first = bench.trial, group().first
    since = time.perf_counter()
    history = History(trial.folder / "metrics.jsonl") if first else None
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
        model.save(trial.weights)
        # The training loop counts the time before an interruption too.
        bench.time("fit", seconds if history.seconds is None else history.seconds)


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
    """Measure the likelihood of test windows: see `eval.nll`."""
    from eval.nll import measure

    measure(bench)


def _is_audited(bench: Workbench) -> bool:
    return _audits(bench).exists()


def _audits(bench: Workbench) -> Path:
    return bench.folder / AUDITS / f"{scoring()}.json"


def _audit(bench: Workbench) -> None:
    """Hold the report's "bits per word" against a bound and against the music, over its own iterations: audit/."""
    from eval.audit import audit as measure
    from eval.judge import Judge
    from replication.diffusion import DiffusionLM

    since = time.perf_counter()
    judge = Judge.of(bench.dataset, bench.encoding, bench.trial.scale, comparison=bench.trial.comparison)
    real = torch.from_numpy(judge.real.tokens.astype(np.int64))
    model = bench.trained()
    assert isinstance(model, DiffusionLM)
    measure(model, bench.trial.weights.parent, real, judge.distance, path=_audits(bench), seed=bench.trial.seed)
    bench.time("audit", time.perf_counter() - since)


def _is_scored(bench: Workbench) -> bool:
    return bool(read_json(bench.folder / "scores.json")["scoring"] == bench.trial.scoring)


def _score(bench: Workbench) -> None:
    """Compare the samples with the held-out split: see `eval.scores`, which needs the libraries of the suite."""
    from eval.scores import score_trial

    score_trial(bench)


FIT = Stage(
    name="fit",
    run=_fit,
    leaves=("checkpoint/model.safetensors", "checkpoint/step-*.safetensors", "metrics.jsonl"),
)
SAMPLE = Stage(name="sample", run=_sample, leaves=("samples.txt", "samples.npz"))
LIKELIHOOD = Stage(name="likelihood", run=_likelihood, leaves=("likelihood.json",))
AUDIT = Stage(name="audit", run=_audit, leaves=("audit/*.json",), current=_is_audited)
SCORE = Stage(
    name="score",
    run=_score,
    leaves=("scores.json", "*.parquet", "roll.png", "samples.html", "midi/*.mid"),
    current=_is_scored,
)

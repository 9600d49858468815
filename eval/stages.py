"""The stages of a trial: fit, sample, likelihood, audit, score. Each is skipped if its file is there.

Those up to the likelihood need nothing but torch, numpy and safetensors.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from eval.compare import ratio_error
from eval.controls import FromTest
from eval.history import History
from eval.panel import scoring
from eval.windows import evenly
from replication.ablations import Diffusion
from replication.encodings import encoding_on
from replication.files import atomic, read_json, write_json
from replication.model import Job, token_counts
from replication.parallel import group
from replication.piece import Beats, Seconds
from replication.randomness import seeded
from replication.tokens import to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from eval.trial import Trial
    from replication.ablations import Experiment
    from replication.data import Dataset
    from replication.model import Model
    from replication.piece import Grid
    from replication.tokens import Encoding

LIKELIHOOD_WINDOWS = 256  # of the held-out split at most, evenly spread
AUDITS = "audit"  # the folder of what was found, by the scoring
FULL_WINDOWS = 2  # of which the first seed's bound is taken at every timestep too


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


def of(experiment: Experiment, *, bare: bool = False) -> tuple[Callable[[Workbench], None], ...]:
    """Return the stages of an experiment's trials in their order; if `bare`, those that need no more than training."""
    if isinstance(experiment.model, FromTest):
        return () if bare else (score,)
    if bare:
        return (fit, sample, likelihood)
    if isinstance(experiment.model, Diffusion) and experiment.model.recipe:
        return (fit, sample, likelihood, audit, score)
    return (fit, sample, likelihood, score)


def fit(bench: Workbench) -> None:
    """Train, from the last checkpoint if there is one: checkpoint/model.safetensors.

    Of several processes that train together the first one writes.
    """
    trial, first = bench.trial, group().first
    if trial.weights.exists():
        return
    since = time.perf_counter()
    history = History(trial.folder / "metrics.jsonl") if first else None
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
        # The training loop counts the time before an interruption too.
        bench.time("fit", time.perf_counter() - since if history.seconds is None else history.seconds)
        model.save(trial.weights)


def _unlogged(step: int, values: Mapping[str, float]) -> None:
    """Take what only the first of several processes logs."""


def sample(bench: Workbench) -> None:
    """Draw the samples: samples.npz, samples.txt."""
    path = bench.folder / "samples.npz"
    if path.exists():
        return
    since = time.perf_counter()
    tokens = bench.trained().sample(range(bench.trial.scale.samples), seed=bench.trial.seed).numpy().astype(np.uint16)
    bench.time("sample", time.perf_counter() - since)
    with atomic(bench.folder / "samples.txt") as draft:
        draft.write_text("".join(to_text(bench.encoding, row) + "\n" for row in tokens.tolist()), encoding="utf-8")
    with atomic(path) as draft:
        np.savez_compressed(draft, tokens=tokens)


def likelihood(bench: Workbench) -> None:
    """Measure the likelihood of test windows: likelihood.json, in nats per token, per note, and per beat or second.

    Its terms are per token. Tokens of different encodings say different amounts; notes and time can be compared.
    """
    path = bench.folder / "likelihood.json"
    if path.exists():
        return
    since = time.perf_counter()
    split = bench.dataset.splits[bench.trial.scale.held_out]
    chosen = evenly(len(split.tokens), LIKELIHOOD_WINDOWS)
    windows = bench.tokens(bench.trial.scale.held_out)[chosen].long()
    model = bench.trained()
    result = model.nll(windows.to(bench.device), seed=bench.trial.seed)
    check = bench.trial.seed == 0 and bench.trial.kind == "trial"  # of the first seed is enough: it takes long
    full = _full_bound(model, windows[:FULL_WINDOWS].to(bench.device)) if check else None
    bench.time("likelihood", time.perf_counter() - since)
    nats, counts = result.total.cpu(), token_counts(windows)
    tokens = int(counts.sum())
    amounts = {"token": tokens, **_music([bench.encoding.decode(row).notes for row in windows.tolist()], bench.grid)}
    write_json(
        path,
        {
            "exact": result.exact,
            "terms": {name: term.cpu().sum().item() / tokens for name, term in result.terms.items()},
            "windows": len(windows),
            **{f"{unit}s": amount for unit, amount in amounts.items()},
            **{
                f"nats_per_{unit}": None if amount is None else nats.sum().item() / amount
                for unit, amount in amounts.items()
            },
            "error_of_estimate": None if result.error is None else result.error.norm().item() / tokens,
            "error_over_songs": _song_error(nats.numpy(), counts.numpy(), split.groups[chosen]),
            "every_timestep": full,
            "parameters": model.parameters_count(),
        },
    )


def _full_bound(model: Model, windows: torch.Tensor) -> dict[str, float] | None:
    """Return the bound (nats per token) of a few windows with every timestep, and with those drawn, as a check.

    None for a model whose likelihood is exact.
    """
    from replication.diffusion import DiffusionLM

    if not isinstance(model, DiffusionLM):
        return None
    tokens = int(token_counts(windows).sum())
    every = model.nll(windows, seed=0, strata=model.scale.timesteps - 1)
    drawn = model.nll(windows, seed=0)
    assert drawn.error is not None
    return {
        "every": every.total.sum().item() / tokens,
        "drawn": drawn.total.sum().item() / tokens,
        "error": drawn.error.norm().item() / tokens,
    }


def _song_error(nats: NDArray[Any], tokens: NDArray[Any], songs: NDArray[Any]) -> float | None:
    """Return the standard error of nats per token over songs; None where infinite."""
    return ratio_error(nats, tokens, songs) if np.isfinite(nats).all() else None


def _music(windows: list[NDArray[Any]], grid: Grid) -> dict[str, float | None]:
    """Return how much there is in windows: notes, and beats or seconds from each one's first onset to its last end."""
    steps = sum(int((notes["onset"] + notes["duration"]).max() - notes["onset"].min()) for notes in windows)
    return {
        "note": sum(len(notes) for notes in windows),
        "beat": steps / grid.steps_per_beat if isinstance(grid, Beats) else None,
        "second": steps / grid.steps_per_second if isinstance(grid, Seconds) else None,
    }


def audit(bench: Workbench) -> None:
    """Hold the report's "bits per word" against a bound and against the music, over its own iterations: audit/."""
    from eval.audit import audit as measure
    from eval.judge import Judge
    from replication.diffusion import DiffusionLM

    path = bench.folder / AUDITS / f"{scoring()}.json"
    done = read_json(path) if path.exists() else {}
    if len(done) == len(bench.trial.budget.milestones):
        return
    since = time.perf_counter()
    judge = Judge.of(bench.dataset, bench.encoding, bench.trial.scale, comparison=bench.trial.comparison)
    real = torch.from_numpy(judge.real.tokens.astype(np.int64))
    model = bench.trained()
    assert isinstance(model, DiffusionLM)
    measure(model, bench.trial.weights.parent, real, judge.distance, path=path, seed=bench.trial.seed)
    bench.time("audit", time.perf_counter() - since)


def score(bench: Workbench) -> None:
    """Compare the samples with the held-out split: see `eval.scores`, which needs the libraries of the suite."""
    from eval.scores import score_trial

    score_trial(bench)

"""Estimate the time, memory and disk of a plan before it starts, from a few training steps of each kind of network."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.runner.executors import PRELOADED
from etude.trial.trial import note_lost_files
from eval.scoring.bits_per_word import SAMPLES, STRATA, WINDOWS
from eval.scoring.experiments import is_audited
from eval.scoring.likelihood import CHOICE_WINDOWS, LIKELIHOOD_WINDOWS
from replication.util.errors import UserError
from replication.util.memory import available, peak_memory
from replication.util.processes import process_pool
from replication.util.system_errors import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etude.runner.plan import Plan
    from etude.trial.trial import Trial
    from replication.midi.piece import TimeGrid
    from replication.models.ablations import Experiment
    from replication.training.model import ModelConfig
    from replication.training.neural_model import NeuralModel
    from replication.training.scales import Budget, Scale

STEPS = 4  # measured training steps: the first warms up, the last validates and saves
COPIES = 5  # of the weights: themselves, their average (EMA), their gradients, and the two moments of AdamW
SCORING = 6.0  # seconds to score the 256 samples of a trial of the cpu scale on one core
RESULTS = 160_000  # bytes of the figures, players, MIDI files and tables of a trial


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The estimated cost of a trial.

    Attributes:
        seconds: Time from the start to the scores.
        memory: Peak in bytes of its process while it trains, or of the GPU memory if there is a GPU.
        disk: Bytes of its folder.
    """

    seconds: float
    memory: int = 0
    disk: int = RESULTS


def estimate(trials: Sequence[Trial], grid: TimeGrid, *, threads: int) -> list[Cost]:
    """Return the estimated cost of each trial, from a few training steps on random tokens on this machine.

    Networks of the same shape are measured once, each in a fresh process, so that their peaks of memory are their own.

    Raises:
        UserError: If memory does not suffice for one of them.
    """
    measured: dict[tuple[object, ...], tuple[float, int]] = {}
    costs = []
    with process_pool(1, preload=PRELOADED, fresh=True) as pool:
        for trial in trials:
            if (network := _network(trial.experiment, trial.scale, grid)) is None:
                costs.append(Cost(seconds=SCORING))
                continue
            vocabulary, model, scale = network
            short = replace(scale, budget=_short(scale.budget))
            shapes = tuple((weight.shape, weight.requires_grad) for weight in model.parameters())
            kind = (type(model), shapes, short.backbone, short.budget.batch, short.budget.accumulate)
            if kind not in measured:
                task = pool.schedule(measure_step, args=[trial.experiment.model, short, vocabulary, threads])
                measured[kind] = _result(task, trial)
            costs.append(_cost(trial, scale, model, *measured[kind]))
    return costs


def _result(task: Any, trial: Trial) -> tuple[float, int]:  # noqa: ANN401 - a future of pebble
    from pebble import ProcessExpired

    try:
        seconds, memory = task.result()
    except (MemoryError, RuntimeError, ProcessExpired) as error:
        if not (isinstance(error, ProcessExpired) or is_out_of_memory(error)):
            raise
        raise UserError(
            f"{trial.name} ended when it was tried, which happens when memory runs out: choose a smaller --scale"
        ) from None
    return seconds, memory


@cache
def _network(experiment: Experiment, scale: Scale, grid: TimeGrid) -> tuple[int, NeuralModel, Scale] | None:
    """Return the size of the vocabulary, the network and its scale; None for a model without a network.

    The network has shapes but no numbers, so that even one that is too large for the memory has them.
    """
    import torch

    from etude.trial import stages
    from replication.tokens.encodings import encoding_on
    from replication.training.neural_model import NeuralModel

    if not stages.of(experiment, bare=True):
        return None
    config = experiment.model
    vocabulary = len(encoding_on(experiment.encoding, grid).vocabulary)
    try:
        with torch.device("meta"):
            model = config.build(vocabulary=vocabulary, scale=scale)
    except (NotImplementedError, TypeError):  # a model that counts, which needs numbers
        model = config.build(vocabulary=vocabulary, scale=scale)
    return (vocabulary, model, getattr(model, "scale", scale)) if isinstance(model, NeuralModel) else None


def _cost(trial: Trial, scale: Scale, model: NeuralModel, step: float, memory: int) -> Cost:
    """Extrapolate from the seconds of a training step to a trial."""
    from baselines.untrained import Untrained
    from replication.models.diffusion_lm import DiffusionLM
    from replication.training.scales import BestValidation

    budget, trains = scale.budget, not isinstance(model, Untrained)
    evaluations, strata = (scale.sampler.evaluations, scale.strata) if isinstance(model, DiffusionLM) else (1, 1)
    # On disk there are the model, one model per milestone, and the checkpoint with weights, average, two moments
    # and the best average if it is kept.
    earlier = len(budget.milestones)
    copies = COPIES + earlier + isinstance(budget.keep, BestValidation) if trains else 1
    samples, bounds, scorings = trial.scale.samples, (LIKELIHOOD_WINDOWS + CHOICE_WINDOWS) * strata, 1.0
    if is_audited(trial.experiment):  # the last age has samples already
        drawn = min(SAMPLES, samples)
        scorings += (earlier + 1) * drawn / samples
        samples += earlier * drawn
        bounds += (earlier + 1) * WINDOWS * min(STRATA, strata)
    # A forward pass takes about a third of a training step.
    passes = (samples * evaluations + bounds) / budget.batch / 3
    return Cost(
        seconds=scorings * SCORING + step * (passes + (budget.steps if trains else 0)),
        memory=memory,
        disk=RESULTS + copies * _size(model),
    )


def _size(model: NeuralModel) -> int:
    """Return the bytes of the parameters."""
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())


def _short(budget: Budget) -> Budget:
    """Return the budget for a few steps of the same size, not compiled, since compiling would take longer."""
    return replace(
        budget,
        steps=STEPS,
        compile=False,
        anneal=None,
        warmup=0,
        milestones=(),
        log_every=1,
        validate_every=STEPS,
        checkpoint_every=STEPS,
    )


def measure_step(config: ModelConfig, scale: Scale, vocabulary: int, threads: int) -> tuple[float, int]:
    """Return the seconds of a training step and the peak of memory in bytes, measured in a fresh process."""
    import torch

    from replication.tokens.protocol import SEP
    from replication.training.loop import train_network
    from replication.training.model import Job

    torch.set_num_threads(threads)
    cuda = torch.cuda.is_available()
    model: Any = config.build(vocabulary=vocabulary, scale=scale)  # a NeuralModel
    tokens = torch.randint(SEP + 1, vocabulary, (scale.budget.batch, scale.length), dtype=torch.int16)
    times: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        job = Job(
            train=tokens,
            validation=tokens,
            scale=scale,
            seed=0,
            folder=Path(name),
            sibling=lambda _: Path(name),
            log=lambda *_: times.append(time.perf_counter()),
            device=torch.device("cuda" if cuda else "cpu"),
        )
        train_network(model, job)
    memory = torch.cuda.max_memory_reserved() if cuda else peak_memory()
    return (times[-2] - times[0]) / (STEPS - 2), memory


def show(plan: Plan, *, workers: int) -> None:
    """Print which trials of a plan are done and pending, their cost, and which differences they would settle.

    Raises:
        UserError: If memory does not suffice for `workers` trials side by side.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from etude.runner.comparison import tuning
    from etude.runner.executors import threads_per_worker
    from etude.runner.power import power_lines

    trials, threads = [*tuning(plan).trials, *plan.trials], threads_per_worker(workers)
    costs = dict(zip(trials, estimate(trials, plan.corpus.reading.grid, threads=threads), strict=True))
    pending = {trial: cost for trial, cost in costs.items() if not trial.is_done()}
    table = Table("kind", "experiment", "trials", box=box.SIMPLE_HEAD)
    for name in ("minutes each", "memory, MB", "disk each, MB"):
        table.add_column(name, justify="right")
    for kind, name in dict.fromkeys((trial.kind, trial.experiment.name) for trial in trials):
        own = [trial for trial in trials if (trial.kind, trial.experiment.name) == (kind, name)]
        left = sum(trial in pending for trial in own)
        state = [f"{len(own) - left} done"] * (left < len(own)) + [f"{left} pending"] * (left > 0)
        cost = costs[own[0]]
        memory = f"{cost.memory / 1e6:.0f}" if cost.memory else ""
        table.add_row(kind, name, ", ".join(state), f"{cost.seconds / 60:.1f}", memory, f"{cost.disk / 1e6:.1f}")
    Console(width=100).print(table)
    for trial in pending:
        note_lost_files(trial.folder)
    minutes = sum(cost.seconds for cost in pending.values()) / workers / 60
    peak, disk = (
        _together([cost.memory for cost in pending.values()], workers),
        sum(cost.disk for cost in costs.values()),
    )
    free = shutil.disk_usage(next(folder for folder in (plan.root, *plan.root.parents) if folder.exists())).free
    print(
        f"scale {plan.scale.name}, corpus {plan.corpus.name}, {workers} side by side: about {minutes:.0f} min on this"
        f" machine, {peak / 1e9:.1f} GB of memory ({available() / 1e9:.1f} GB free), {disk / 1e9:.2f} GB of disk"
        f" ({free / 1e9:.0f} GB free)"
    )
    print("\n".join(power_lines(plan)))
    _refuse(peak, workers)


def check_memory(plan: Plan, *, workers: int) -> None:
    """Refuse a plan whose pending trials need more memory than is free, for the copies of their weights alone.

    Raises:
        UserError: If memory does not suffice for `workers` trials side by side.
    """
    pending = [trial for trial in plan.trials if not trial.is_done()]
    networks = [_network(trial.experiment, trial.scale, plan.corpus.reading.grid) for trial in pending]
    _refuse(_together([COPIES * _size(network[1]) for network in networks if network], workers), workers)


def _together(peaks: Sequence[int], workers: int) -> int:
    """Return the bytes that the largest `workers` trials take side by side."""
    return sum(sorted(peaks, reverse=True)[:workers])


def _refuse(memory: int, workers: int) -> None:
    if memory > (free := available()):
        trials = f"{workers} trials side by side take" if workers > 1 else "1 trial takes"
        advice = "choose fewer --workers or a smaller --scale" if workers > 1 else "choose a smaller --scale"
        raise UserError(
            f"not enough memory: {trials} {memory / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; {advice}"
        )

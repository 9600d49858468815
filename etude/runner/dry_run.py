"""What a plan will cost, before it starts: time, memory and disk, by a few steps of every kind of network."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.runner.executors import end_with_parent
from eval.results.schema import as_written
from eval.scoring import bits_per_word as audit
from eval.scoring.likelihood import LIKELIHOOD_WINDOWS
from replication.util.errors import UserError
from replication.util.files import read_json
from replication.util.memory import available, peak_memory
from replication.util.system_errors import lacks_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etude.runner.plan import Plan
    from etude.trial.trial import Trial
    from replication.midi.piece import Grid
    from replication.models.ablations import Experiment
    from replication.training.model import ModelConfig
    from replication.training.scales import Budget, Scale
    from replication.training.trainable import Trainable

STEPS = 4  # that are run: the first warms up, the last validates and saves
COPIES = 5  # of the weights while they are trained: themselves, gradients, two moments (AdamW), average (EMA)
CONTEXT = 600 * 2**20  # bytes that CUDA takes of a GPU for a process, whatever it does there

# As trials of the cpu scale leave and take them.
SCORING = 6.0  # seconds for 256 samples on one core
SCORED = 130_000  # bytes of figures, players, MIDI files and tables, whatever the number of samples
PER_SAMPLE = 120  # bytes of the scores of a sample
PER_TOKEN = 4  # bytes of a sampled token, as text and as a number
PER_LOG = 315  # bytes of a line of the log


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a trial.

    Attributes:
        seconds: from the start to its scores.
        memory: bytes at most while it trains: of its process, or on the GPU where there is one.
        disk: bytes that stay.
    """

    seconds: float
    memory: int = 0
    disk: int


@dataclass(frozen=True, kw_only=True)
class Network:
    """What was measured of a kind of network.

    Attributes:
        step: seconds of a training step.
        memory: bytes at most while training, without the training windows.
        checkpoint: bytes of what training goes on from.
        weights: bytes of the model.
    """

    step: float
    memory: int
    checkpoint: int
    weights: int


def estimate(trials: Sequence[Trial], grid: Grid, *, threads: int) -> list[Cost]:
    """Return what each trial may cost, by training its network for a few steps on random tokens here.

    Networks of one shape are measured once, each in a fresh process, so that none is counted with another's memory.

    Raises:
        UserError: if there is no memory even for one of them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["etude.trial.stages", "replication.models.diffusion_lm", "baselines.autoregressive"]
    )
    measured: dict[tuple[object, ...], Network] = {}
    costs = []
    with ProcessPoolExecutor(1, context, end_with_parent, max_tasks_per_child=1) as fresh:
        for trial in trials:
            if (network := _network(trial.experiment, trial.scale, grid)) is None:
                costs.append(Cost(seconds=SCORING, disk=_results(trial.scale) + _windows(trial)))
                continue
            vocabulary, model, scale = network
            short = replace(scale, budget=_short(scale.budget))
            shapes = tuple((weight.shape, weight.requires_grad) for weight in model.parameters())
            kind = (type(model), shapes, short.backbone, short.budget.batch, short.budget.accumulate)
            if kind not in measured:
                asked = fresh.submit(_measure, trial.experiment.model, short, vocabulary, threads)
                try:
                    measured[kind] = asked.result()
                except (MemoryError, RuntimeError) as error:
                    if not (isinstance(error, BrokenProcessPool) or lacks_memory(error)):
                        raise
                    raise UserError(
                        f"{trial.name} ended when it was tried, as where memory runs out: choose a smaller --scale"
                    ) from None
            costs.append(_cost(trial, scale, model, measured[kind]))
    return costs


@cache
def _network(experiment: Experiment, scale: Scale, grid: Grid) -> tuple[int, Trainable, Scale] | None:
    """Return the vocabulary, the network and the scale, as its recipe has it; None if the model has no network.

    The network has shapes and no numbers, so that one that is too large for the memory has them too.
    """
    import torch

    from eval.scoring.controls import FromTest
    from replication.tokens.encodings import encoding_on
    from replication.training.trainable import Trainable

    if isinstance(config := experiment.model, FromTest):
        return None
    vocabulary = len(encoding_on(experiment.encoding, grid).vocabulary)
    try:
        with torch.device("meta"):
            model = config.build(vocabulary=vocabulary, scale=scale)
    except NotImplementedError:  # it counts, which takes numbers
        model = config.build(vocabulary=vocabulary, scale=scale)
    return (vocabulary, model, getattr(model, "scale", scale)) if isinstance(model, Trainable) else None


def _cost(trial: Trial, scale: Scale, model: Trainable, network: Network) -> Cost:
    """Scale what was measured of a few steps up to a trial."""
    import torch

    from baselines.untrained import Untrained
    from replication.models.diffusion_lm import DiffusionLM

    budget = scale.budget
    diffuses, trains = isinstance(model, DiffusionLM), not isinstance(model, Untrained)
    evaluations, strata = (scale.sampler.evaluations, scale.strata) if diffuses else (1, 1)
    audits = len(budget.milestones)  # in each of which some are drawn and measured
    samples, windows = trial.scale.samples + audits * audit.SAMPLES, LIKELIHOOD_WINDOWS + audits * audit.WINDOWS
    # A forward pass is about a third of a training step.
    passes = (samples * evaluations + windows * strata) / budget.batch / 3
    resident = torch.cuda.is_available() and budget.resident
    kept = network.weights + _results(trial.scale)
    left = network.checkpoint + len(budget.milestones) * network.weights + budget.steps // budget.log_every * PER_LOG
    return Cost(
        seconds=SCORING + network.step * (passes + (budget.steps if trains else 0)),
        memory=network.memory + (_windows(trial) if resident else 0),
        disk=kept + (left if trains else 0),
    )


def _results(scale: Scale) -> int:
    """Return the bytes of the samples and of what is said of them."""
    return SCORED + scale.samples * (PER_SAMPLE + scale.length * PER_TOKEN)


def _windows(trial: Trial) -> int:
    """Return the bytes of the training windows, which copies and counts keep; 0 until they have been prepared."""
    path = trial.comparison / "data.json"
    with as_written(path):
        facts = read_json(path)["encodings"].get(trial.experiment.encoding) if path.exists() else None
        return int(facts["windows"]["train"] * trial.scale.length * 2) if facts else 0


def _short(budget: Budget) -> Budget:
    """Return the budget of a few steps of the same size, not compiled: that takes longer, and saves time and memory."""
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


def _measure(config: ModelConfig, scale: Scale, vocabulary: int, threads: int) -> Network:
    """Train a network for the steps of its budget, in a process that has done nothing else."""
    import torch

    from replication.tokens.protocol import SEP
    from replication.training.loop import sgd
    from replication.training.model import Job
    from replication.util.checkpoint import CHECKPOINT

    torch.set_num_threads(threads)
    cuda = torch.cuda.is_available()
    model: Any = config.build(vocabulary=vocabulary, scale=scale)  # a Trainable
    tokens = torch.randint(SEP + 1, vocabulary, (scale.budget.batch, scale.length), dtype=torch.int16)
    times: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = Job(
            train=tokens,
            validation=tokens,
            scale=scale,
            seed=0,
            folder=folder,
            sibling=lambda _: folder,
            log=lambda *_: times.append(time.perf_counter()),
            device=torch.device("cuda" if cuda else "cpu"),
        )
        sgd(model, job).save(folder / "model.safetensors")
        checkpoint, weights = ((folder / name).stat().st_size for name in (CHECKPOINT, "model.safetensors"))
    return Network(
        step=(times[-2] - times[0]) / (STEPS - 2),
        memory=torch.cuda.max_memory_reserved() + CONTEXT if cuda else peak_memory(),
        checkpoint=checkpoint,
        weights=weights,
    )


def show(plan: Plan, *, workers: int) -> None:
    """Print what is done and pending of a plan, and what each kind of trial and all of them may cost.

    Raises:
        UserError: if memory will not do for `workers` of them side by side.
    """
    import shutil

    from rich import box
    from rich.console import Console
    from rich.table import Table

    from etude.runner.comparison import tuning
    from etude.runner.executors import threads_per_worker

    trials = [*tuning(plan).trials, *plan.trials]
    costs = dict(
        zip(trials, estimate(trials, plan.corpus.reading.grid, threads=threads_per_worker(workers)), strict=True)
    )
    pending = {trial: cost for trial, cost in costs.items() if not trial.is_done()}
    table = Table("kind", "experiment", "trials", box=box.SIMPLE_HEAD)
    for name in ("minutes each", "memory, MB", "disk each, MB"):
        table.add_column(name, justify="right")
    for kind, name in dict.fromkeys((trial.kind, trial.experiment.name) for trial in trials):
        own = [trial for trial in trials if (trial.kind, trial.experiment.name) == (kind, name)]
        left = sum(trial in pending for trial in own)
        state = [f"{len(own) - left} done"] * (left < len(own)) + [f"{left} pending"] * (left > 0)
        cost = costs[own[0]]
        numbers = (
            f"{cost.seconds / 60:.1f}",
            f"{cost.memory / 1e6:.0f}" if cost.memory else "",
            f"{cost.disk / 1e6:.1f}",
        )
        table.add_row(kind, name, ", ".join(state), *numbers)
    Console(width=100).print(table)
    minutes = sum(cost.seconds for cost in pending.values()) / workers / 60
    memory, disk = _together(list(pending.values()), workers), sum(cost.disk for cost in costs.values())
    free = shutil.disk_usage(next(folder for folder in (plan.root, *plan.root.parents) if folder.exists())).free
    print(
        f"scale {plan.scale.name}, corpus {plan.corpus.name}, {workers} side by side: about {minutes:.0f} min on this"
        f" machine, {memory / 1e9:.1f} of {available() / 1e9:.1f} GB memory, {disk / 1e9:.2f} GB disk"
        f" ({free / 1e9:.0f} GB are free)"
    )
    _refuse(memory, workers)


def check_memory(plan: Plan, *, workers: int) -> None:
    """Refuse a plan whose weights alone, in the copies that training has of them, take more memory than is free.

    Raises:
        UserError: if they do.
    """
    costs = []
    for trial in (trial for trial in plan.trials if not trial.is_done()):
        network = _network(trial.experiment, trial.scale, plan.corpus.reading.grid)
        weights = network[1].parameters() if network else ()
        size = sum(weight.numel() * weight.element_size() for weight in weights)
        costs.append(Cost(seconds=0, memory=COPIES * size, disk=0))
    _refuse(_together(costs, workers), workers)


def _together(costs: Sequence[Cost], workers: int) -> int:
    """Return the bytes that the largest of the trials side by side take."""
    return sum(sorted((cost.memory for cost in costs), reverse=True)[:workers])


def _refuse(memory: int, workers: int) -> None:
    if memory > (free := available()):
        trials = f"{workers} trials side by side take" if workers > 1 else "1 trial takes"
        advice = "choose fewer --workers or a smaller --scale" if workers > 1 else "choose a smaller --scale"
        raise UserError(
            f"memory will not do: {trials} {memory / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; {advice}"
        )

"""The training loop of all networks: AdamW, linear decay, EMA and exact resume, on one device or several.

All random numbers of step k come from generators named by (seed, k), so that there is no generator state to save. A run
that is interrupted and resumed equals one that is not: bit for bit on CPUs with the same number of threads; on GPUs and
over several processes, up to the order of floating-point sums.

`train_network` is the loop, `_BatchGradients` the forward and backward pass of one step, and `Network.terms` the loss.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from replication.training.distributed import ProcessGroup, process_group
from replication.training.precision import accelerated, deterministic
from replication.training.scales import BestValidation
from replication.util.checkpoint import CHECKPOINT, milestone, restore_checkpoint, save_checkpoint, save_weights
from replication.util.errors import UserError
from replication.util.generators import generator, seeded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from replication.training.model import Job, Network
    from replication.training.scales import Budget, Keep

AnyNetwork = TypeVar("AnyNetwork", bound="Network")
Terms = dict[str, Tensor]

VALIDATION_WINDOWS = 256  # enough for a curve


class DivergedError(RuntimeError):
    """Raised when the loss is not finite."""


def train_network(model: AnyNetwork, job: Job) -> AnyNetwork:
    """Train `model` and return the exponential moving average of its weights, in evaluation mode.

    This is the average at the end, or at the lowest validation loss, as the budget's `keep` says. Resumes from the
    checkpoint in `job.folder` if there is one, and saves the average at the milestones there. If several processes
    train together, each computes a part of every batch; the first one logs and writes files.

    Raises:
        DivergedError: If the loss is not finite; names the step and the last good checkpoint.
        UserError: If the checkpoint is damaged, belongs to another model or differs between processes, or if there are
            more processes than windows in a batch.
    """
    budget, device, processes = job.scale.budget, job.device, process_group()
    if processes.size > budget.batch:
        raise UserError(
            f"{processes.size} processes cannot share a batch of {budget.batch} windows; start fewer processes"
        )

    # The model, its average and the optimiser.
    model = model.to(device).train()
    average = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    kept = _KeptWeights(average, budget.keep)
    weights, means = list(model.parameters()), list(average.parameters())
    optimiser = torch.optim.AdamW(
        [weight for weight in weights if weight.requires_grad],
        lr=budget.learning_rate,
        weight_decay=budget.weight_decay,
        fused=True,
    )

    # Resume from the last checkpoint.
    path = job.folder / CHECKPOINT
    networks: dict[str, nn.Module] = {"model": model, "average": average, **kept.networks}
    progress = restore_checkpoint(path, networks, optimiser) if path.exists() else {"step": "0", "seconds": "0"}
    kept.resume(progress)
    start = saved = logged = int(progress["step"])
    since = time.perf_counter() - float(progress["seconds"])
    # This sum also makes every process wait until all have read the checkpoint, before the first one writes another.
    if processes.total(torch.tensor(start, device=device)).item() != start * processes.size:
        raise UserError(f"the processes read different files {path}; start them on machines that share this folder")

    gradients = _BatchGradients(model, job, processes)
    intervals = _intervals(budget)
    sums: Terms = {}  # of the terms since the last log
    for step in range(start, budget.steps):
        _save_milestone(average, step, job, processes)

        # Update the weights.
        for parameters in optimiser.param_groups:
            parameters["lr"] = _learning_rate(step, budget)
        terms = gradients(step)
        terms["gradient_norm"] = nn.utils.clip_grad_norm_(weights, budget.clip or math.inf) / processes.size
        optimiser.step()
        optimiser.zero_grad()

        # Update their average.
        decay = min(budget.ema, (1 + step) / (10 + step)) if budget.ema_warmup else budget.ema
        get_ema_multi_avg_fn(decay)(means, weights, 0)  # type: ignore[no-untyped-call]  # torch does not annotate it

        # Sum up the terms on the device. The host waits for it only to log, or if the windows are not resident.
        sums = {name: sums.get(name, 0) + value for name, value in terms.items()}
        done = step + 1
        due = {every: done % every == 0 or done == budget.steps for every in intervals}
        if not due[budget.log_every]:
            continue

        # Log the means since the last log, and validate.
        totals = processes.total(torch.stack(list(sums.values()))) / (done - logged)
        values = {f"train/{name}": value for name, value in zip(sums, totals.tolist(), strict=True)}
        sums, logged = {}, done
        if due[budget.validate_every]:
            values |= _validation_values(average, job, processes)
            values |= kept.validated(done, values["val/loss"])
        if processes.first:  # before the check, so that a loss that is not finite is logged too
            job.log(done, {**values, "train/seconds": time.perf_counter() - since})
        _check_finite(
            values,
            f"by step {done}; "
            + (f"the last good checkpoint is {path} of step {saved}" if saved else "there is no checkpoint yet"),
        )

        # Save a checkpoint.
        if due[budget.checkpoint_every]:
            if processes.first:
                progress = {"step": str(done), "seconds": str(time.perf_counter() - since)}
                save_checkpoint(path, progress | kept.progress, networks, optimiser)
            saved = done
    _save_milestone(average, budget.steps, job, processes)
    processes.wait()  # until the first one has written its files
    return kept.weights


class _KeptWeights(Generic[AnyNetwork]):
    """The weights that training returns: their average at the end, or at the lowest validation loss.

    The best weights so far, their step and their loss are part of every checkpoint.

    Args:
        average: The average of the weights, which training updates in place.
        keep: Choice of the budget.
    """

    def __init__(self, average: AnyNetwork, keep: Keep) -> None:
        self._average = average
        self._best = copy.deepcopy(average) if isinstance(keep, BestValidation) else None
        self._step, self._loss = 0, math.inf

    @property
    def weights(self) -> AnyNetwork:
        """The network with the weights to return."""
        return self._average if self._best is None else self._best

    @property
    def networks(self) -> dict[str, Network]:
        """What a checkpoint has to hold besides the model and the average."""
        return {} if self._best is None else {"best": self._best}

    @property
    def progress(self) -> dict[str, str]:
        """The step and the loss of the best weights; `repr` keeps all bits."""
        return {} if self._best is None else {"best_step": str(self._step), "best_loss": repr(self._loss)}

    def resume(self, progress: Mapping[str, str]) -> None:
        """Take the step and the loss from a checkpoint, whose weights are in `networks` already."""
        self._step, self._loss = int(progress.get("best_step", "0")), float(progress.get("best_loss", "inf"))

    def validated(self, step: int, loss: float) -> dict[str, float]:
        """Take note of a validation of the average; return the values to log."""
        if self._best is None:
            return {}
        if loss < self._loss:
            self._step, self._loss = step, loss
            self._best.load_state_dict(self._average.state_dict())
        return {"val/best_step": self._step}


class _BatchGradients:
    """The forward and backward pass of a step: adds the gradients of its batch to those of the model.

    Args:
        model: Model on the device.
        job: Job of the training run.
        processes: Processes that share the batch.
    """

    def __init__(self, model: Network, job: Job, processes: ProcessGroup) -> None:
        self._model, self._job, self._processes = model, job, processes
        self._budget = job.scale.budget
        self._train = job.train.to(job.device) if self._budget.resident else job.train
        loss = _LossModule(model)
        self._no_sync: Callable[[], AbstractContextManager[object]] = nullcontext
        if processes.size > 1:
            shared = DistributedDataParallel(loss)
            self._no_sync, loss = shared.no_sync, shared  # type: ignore[assignment]  # both are modules
        self._loss: Callable[..., Terms] = accelerated(loss, self._budget, job.device)
        self._upcoming: Tensor | None = None

    def __call__(self, step: int) -> Terms:
        """Return this process's shares of the batch means of the named terms and of the loss.

        The batch is split into parts that fit into memory. Each part counts by the weights of its windows.
        """
        job, budget = self._job, self._budget
        # The windows and their noise, for the whole batch.
        tokens = self._train[self._batch_indices(step)].to(job.device).long()  # (B, L)
        noise = self._model.noise(tokens, random=generator("noise", job.seed, step, device=job.device))
        weights = self._model.window_weights(tokens)  # (B,)
        # The parts of this process.
        rank, size = self._processes.rank, self._processes.size
        parts = torch.arange(len(tokens)).tensor_split(size)[rank].chunk(budget.accumulate)
        result: Terms = {}
        for part in parts:
            first, last = int(part[0]), int(part[-1])
            rows = slice(first, last + 1)
            share = weights[rows].sum() / weights.sum()
            # The dropout masks of a part do not depend on the process that computes it.
            with (
                deterministic(job.device),
                seeded("dropout", job.seed, step, first, device=job.device),
                nullcontext() if part is parts[-1] else self._no_sync(),
            ):
                terms = self._loss(tokens[rows], *(values[rows] for values in noise))
                # Times the number of processes, because their gradients are averaged and have to be summed.
                (terms["loss"] * share * size).backward()  # type: ignore[no-untyped-call]  # torch's
            for name, value in terms.items():
                result[name] = result.get(name, 0) + value.detach() * share
        return result

    def _batch_indices(self, step: int) -> Tensor:
        """Return the indices (B,) of a step's windows; the steps up to the next log are transferred at once."""
        every = self._budget.log_every
        ahead = step % every
        if self._upcoming is None or ahead == 0:
            first = step - ahead
            rows = [
                batch_indices(number, batch=self._budget.batch, size=len(self._train), seed=self._job.seed)
                for number in range(first, first + every)
            ]
            self._upcoming = torch.stack(rows).to(self._train.device)
        return self._upcoming[ahead]


class _LossModule(nn.Module):
    """The loss as a module, which is what `DistributedDataParallel` averages gradients over."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, *noise: Tensor) -> Terms:
        """Return the named terms and their sum, the loss."""
        terms = self.model.terms(tokens, *noise)
        return {**terms, "loss": torch.stack(list(terms.values())).sum()}


def batch_indices(step: int, *, batch: int, size: int, seed: int) -> Tensor:
    """Return the indices (batch,) of a step's training windows; every epoch has its own random order."""
    positions = torch.arange(step * batch, (step + 1) * batch)
    epochs = positions // size
    return torch.cat(
        [_order(epoch, size, seed)[positions[epochs == epoch] % size] for epoch in sorted({*epochs.tolist()})]
    )


@functools.lru_cache(maxsize=2)  # a step may span two epochs; shuffling millions takes longer than a step
def _order(epoch: int, size: int, seed: int) -> Tensor:
    return torch.randperm(size, generator=generator("epoch", seed, epoch))


def _learning_rate(step: int, budget: Budget) -> float:
    """Return the learning rate of a step: linear warmup, and linear decay to 0."""
    warm = min(1.0, (step + 1) / budget.warmup) if budget.warmup else 1.0
    return budget.learning_rate * warm * (1 - step / (budget.anneal or budget.steps))


def _intervals(budget: Budget) -> tuple[int, int, int]:
    """Return the steps between logs, validations and checkpoints.

    Raises:
        ValueError: Unless validations and checkpoints fall on logged steps.
    """
    intervals = (budget.log_every, budget.validate_every, budget.checkpoint_every)
    if any(every % budget.log_every for every in intervals):
        raise ValueError(f"the intervals of validations and checkpoints {intervals[1:]} are not multiples of log_every")
    return intervals


@torch.no_grad()
def validate(model: Network, job: Job) -> dict[str, float]:
    """Return the loss and its terms on the validation windows, with the same noise at every call."""
    device, budget = job.device, job.scale.budget
    windows = job.validation[:VALIDATION_WINDOWS].to(device).long()
    terms = accelerated(model.terms, replace(budget, compile=False), device)
    weights = model.window_weights(windows)
    sums: Terms = {}
    for index, start in enumerate(range(0, len(windows), budget.batch)):
        rows = slice(start, start + budget.batch)
        random = generator("validation", job.seed, index, device=device)
        for name, value in terms(windows[rows], *model.noise(windows[rows], random=random)).items():
            sums[name] = sums.get(name, 0) + value * (weights[rows].sum() / weights.sum())
    values = {name: value.item() for name, value in sums.items()}
    return {**values, "loss": sum(values.values())}


def _validation_values(average: Network, job: Job, processes: ProcessGroup) -> dict[str, float]:
    """Validate in the first process. The others receive the loss, so that all of them stop if it is not finite."""
    values = {}
    if processes.first:
        values = {f"val/{name}": value for name, value in validate(average, job).items()} | average.monitors()
    loss = torch.tensor(values.get("val/loss", 0.0), dtype=torch.float64, device=job.device)
    return values | {"val/loss": processes.total(loss).item()}


def _check_finite(values: Mapping[str, float], when: str) -> None:
    loss, gradient_norm = values["train/loss"], values["train/gradient_norm"]
    if not math.isfinite(loss + gradient_norm):
        raise DivergedError(f"the loss is {loss} and the norm of its gradient {gradient_norm} {when}")
    if not math.isfinite(validation := values.get("val/loss", 0.0)):
        raise DivergedError(f"the loss on validation windows is {validation} {when}")


def _save_milestone(average: Network, step: int, job: Job, processes: ProcessGroup) -> None:
    if processes.first and step in job.scale.budget.milestones:
        save_weights(average, milestone(job.folder, step))

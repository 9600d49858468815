"""One training loop for all neural models: AdamW, linear anneal, EMA, exact resume, on one device or several.

Every random number of step k is drawn from a generator named by (seed, k): there is no generator state to save. A run
that was killed and continued is the same as one that was not, bit for bit on processors with as many threads; on GPUs,
and over several processes, but for the order in which they add up.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from replication.training.distributed import Group, group
from replication.training.precision import fast, reproducible
from replication.util.checkpoint import CHECKPOINT, milestone, restore_checkpoint, save_checkpoint, save_weights
from replication.util.errors import UserError
from replication.util.generators import generator, seeded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from replication.training.model import Job
    from replication.training.network import Network
    from replication.training.scales import Budget

AnyNetwork = TypeVar("AnyNetwork", bound="Network")
Terms = dict[str, Tensor]

VALIDATION_WINDOWS = 256  # enough for a curve


class DivergedError(RuntimeError):
    """The loss is no finite number any more."""


def batch_indices(step: int, *, batch: int, size: int, seed: int) -> Tensor:
    """Return the (batch,) examples of a step: epoch after epoch, each in an order of its own."""
    positions = torch.arange(step * batch, (step + 1) * batch)
    epochs = positions // size
    return torch.cat(
        [_order(epoch, size, seed)[positions[epochs == epoch] % size] for epoch in sorted({*epochs.tolist()})]
    )


@functools.lru_cache(maxsize=2)  # a step may end an epoch; shuffling millions takes longer than a step
def _order(epoch: int, size: int, seed: int) -> Tensor:
    return torch.randperm(size, generator=generator("epoch", seed, epoch))


def sgd(model: AnyNetwork, job: Job) -> AnyNetwork:
    """Train `model` and return its exponential moving average, in evaluation mode.

    Continues from the checkpoint in `job.folder` if there is one, and leaves there the weights of the milestones. Where
    several processes train together, each takes its part of every batch, and the first one writes and logs.

    Raises:
        DivergedError: when the loss is not finite; names the step and the last good checkpoint.
        UserError: for a checkpoint that is damaged, belongs to another model or is not the same for all processes, or
            for more processes than windows in a batch.
    """
    budget, device, processes = job.scale.budget, job.device, group()
    if processes.size > budget.batch:
        raise UserError(f"{processes.size} processes cannot share a batch of {budget.batch} windows: start fewer")
    model = model.to(device).train()
    average = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    weights, means = list(model.parameters()), list(average.parameters())
    optimiser = torch.optim.AdamW(
        [weight for weight in weights if weight.requires_grad],
        lr=budget.learning_rate,
        weight_decay=budget.weight_decay,
        fused=True,
    )
    path = job.folder / CHECKPOINT
    progress = restore_checkpoint(path, model, average, optimiser) if path.exists() else {"step": "0", "seconds": "0"}
    start = saved = logged = int(progress["step"])
    since = time.perf_counter() - float(progress["seconds"])
    # All have read it before the first one writes another.
    if processes.total(torch.tensor(start, device=device)).item() != start * processes.size:
        raise UserError(f"the processes do not see the same {path}: start them on machines that share its folder")
    backward = _Backward(model, job, processes)
    intervals = _intervals(budget)
    sums: Terms = {}
    for step in range(start, budget.steps):
        _keep_milestone(model, step, job, processes)
        for parameters in optimiser.param_groups:
            parameters["lr"] = _learning_rate(step, budget)
        terms = backward(step)
        terms["gradient_norm"] = nn.utils.clip_grad_norm_(weights, budget.clip or math.inf) / processes.size
        optimiser.step()
        optimiser.zero_grad()
        decay = min(budget.ema, (1 + step) / (10 + step)) if budget.ema_warmup else budget.ema
        get_ema_multi_avg_fn(decay)(means, weights, 0)  # type: ignore[no-untyped-call]  # torch does not annotate it
        sums = {name: sums.get(name, 0) + value for name, value in terms.items()}

        done = step + 1
        due = {every: done % every == 0 or done == budget.steps for every in intervals}
        if not due[budget.log_every]:  # the host waits only here, and for windows that are not resident
            continue
        totals = processes.total(torch.stack(list(sums.values()))) / (done - logged)
        values = {f"train/{name}": value for name, value in zip(sums, totals.tolist(), strict=True)}
        sums, logged = {}, done
        if due[budget.validate_every]:
            values |= _validated(average, job, processes)
        if processes.first:  # a loss that is no number is logged too
            job.log(done, {**values, "train/seconds": time.perf_counter() - since})
        _check_finite(
            values,
            f"by step {done}; "
            + (f"the last good checkpoint is {path} of step {saved}" if saved else "there is no checkpoint yet"),
        )
        if due[budget.checkpoint_every]:
            if processes.first:
                progress = {"step": str(done), "seconds": str(time.perf_counter() - since)}
                save_checkpoint(path, progress, model, average, optimiser)
            saved = done
    _keep_milestone(model, budget.steps, job, processes)
    processes.wait()  # for what the first one writes
    return average


def _validated(average: Network, job: Job, processes: Group) -> dict[str, float]:
    """Return what the first process validates, and to the others the loss, so that all of them stop at a bad one."""
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


def _keep_milestone(model: Network, step: int, job: Job, processes: Group) -> None:
    if processes.first and step in job.scale.budget.milestones:
        save_weights(model, milestone(job.folder, step))


def _intervals(budget: Budget) -> tuple[int, int, int]:
    """Return the steps between logs, validations and checkpoints; the latter two are multiples of the first."""
    intervals = (budget.log_every, budget.validate_every, budget.checkpoint_every)
    if any(every % budget.log_every for every in intervals):
        raise ValueError(f"validations and checkpoints fall on logged steps: {intervals} are no multiples of the first")
    return intervals


class _Loss(nn.Module):
    """The terms of a model's loss, and their sum, as the forward pass of a module: what gradients are averaged over."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, *noise: Tensor) -> Terms:
        """Return the named terms and the loss."""
        terms = self.model.terms(tokens, *noise)
        return {**terms, "loss": torch.stack(list(terms.values())).sum()}


class _Backward:
    """Adds the gradients of a step to those of the model.

    Args:
        model: on the device.
        job: what to train on.
        processes: that share the batch.
    """

    def __init__(self, model: Network, job: Job, processes: Group) -> None:
        self._model, self._job, self._processes = model, job, processes
        self._budget = job.scale.budget
        self._train = job.train.to(job.device) if self._budget.resident else job.train
        loss = _Loss(model)
        self._unsynchronised: Callable[[], AbstractContextManager[object]] = nullcontext
        if processes.size > 1:
            shared = DistributedDataParallel(loss)
            self._unsynchronised, loss = shared.no_sync, shared  # type: ignore[assignment]  # both are modules
        self._loss: Callable[..., Terms] = fast(loss, self._budget, job.device)
        self._upcoming: Tensor | None = None

    def __call__(self, step: int) -> Terms:
        """Return the parts of the named terms and of the loss that this process has added.

        A batch is cut into as many parts as fit into memory one by one; each counts for as much as it holds.
        """
        job, budget = self._job, self._budget
        tokens = self._train[self._chosen(step)].to(job.device).long()
        noise = self._model.noise(tokens, random=generator("noise", job.seed, step, device=job.device))
        amounts = self._model.amounts(tokens)
        rank, size = self._processes.rank, self._processes.size
        parts = torch.arange(len(tokens)).tensor_split(size)[rank].chunk(budget.accumulate)
        result: Terms = {}
        for part in parts:
            first, last = int(part[0]), int(part[-1])
            rows = slice(first, last + 1)
            share = amounts[rows].sum() / amounts.sum()
            # Each part has masks of its own, whichever process computes it.
            with (
                reproducible(job.device),
                seeded("dropout", job.seed, step, first, device=job.device),
                nullcontext() if part is parts[-1] else self._unsynchronised(),
            ):
                terms = self._loss(tokens[rows], *(values[rows] for values in noise))
                # Gradients are averaged over the processes, and are to be added up.
                (terms["loss"] * share * size).backward()  # type: ignore[no-untyped-call]  # torch's
            for name, value in terms.items():
                result[name] = result.get(name, 0) + value.detach() * share
        return result

    def _chosen(self, step: int) -> Tensor:
        """Return the windows of a step; those of the steps up to the next log are sent to the device at once."""
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


@torch.no_grad()
def validate(model: Network, job: Job) -> dict[str, float]:
    """Return the loss and its terms on the validation windows, with the same noise at every call."""
    device, budget = job.device, job.scale.budget
    windows = job.validation[:VALIDATION_WINDOWS].to(device).long()
    terms = fast(model.terms, replace(budget, compile=False), device)
    amounts = model.amounts(windows)
    sums: Terms = {}
    for index, start in enumerate(range(0, len(windows), budget.batch)):
        rows = slice(start, start + budget.batch)
        random = generator("validation", job.seed, index, device=device)
        for name, value in terms(windows[rows], *model.noise(windows[rows], random=random)).items():
            sums[name] = sums.get(name, 0) + value * (amounts[rows].sum() / amounts.sum())
    values = {name: value.item() for name, value in sums.items()}
    return {**values, "loss": sum(values.values())}


def _learning_rate(step: int, budget: Budget) -> float:
    warm = min(1.0, (step + 1) / budget.warmup) if budget.warmup else 1.0
    return budget.learning_rate * warm * (1 - step / (budget.anneal or budget.steps))

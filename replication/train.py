"""One training loop for all neural models: AdamW, linear anneal, EMA, exact resume.

Every random number of step k is drawn from a generator named by (seed, k), so that a run that was killed and continued
is the same, bit for bit, as one that was not; there is no generator state to save.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from replication.errors import UserError
from replication.files import atomic
from replication.randomness import generator, seeded
from replication.transformer import Transformer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from replication.model import Job
    from replication.scales import Budget

CHECKPOINT = "last.safetensors"
VALIDATION_WINDOWS = 256  # enough for a curve
CHUNK = 64  # windows that are sampled, or whose likelihood is measured, together


class Trainable(nn.Module, ABC):
    """A network as a `Model`: names the terms of its loss, draws samples chunk by chunk, and is kept in safetensors."""

    @abstractmethod
    def terms(self, tokens: Tensor, *, random: torch.Generator) -> dict[str, Tensor]:
        """Return the named terms, means over the batch (B, L), whose sum is the loss."""

    @abstractmethod
    def draw(self, indices: range, *, seed: int) -> Tensor:
        """Return the samples with these CHUNK indices: (CHUNK, L). The noise of sample i is named by (seed, i)."""

    def fit(self, job: Job) -> None:
        """Train, and keep the average of the weights; see `sgd`."""
        self.load_state_dict(sgd(self, job).state_dict())
        self.eval()

    @torch.no_grad()
    def sample(self, indices: range, *, seed: int) -> Tensor:
        """Draw (len(indices), L) windows, on the CPU.

        Always CHUNK at a time, on the same borders: the bits of a matrix product depend on its size, and so a sample
        would otherwise depend on how many others were asked for.
        """
        first = indices.start - indices.start % CHUNK
        chunks = [
            self.draw(range(start, start + CHUNK), seed=seed).cpu() for start in range(first, indices.stop, CHUNK)
        ]
        return torch.cat(chunks)[indices.start - first :][: len(indices)]

    def save(self, path: Path) -> None:
        """Write the weights."""
        with atomic(path) as draft:
            save_file(self.state_dict(), draft)

    def load(self, path: Path) -> None:
        """Read the weights."""
        load_weights(self, read_tensors(path)[0], path)
        self.eval()

    def parameters_count(self) -> int:
        """Count the parameters that training moves."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


Network = TypeVar("Network", bound=Trainable)


class DivergedError(RuntimeError):
    """The loss is no finite number any more."""


def batch_indices(step: int, *, batch: int, size: int, seed: int) -> Tensor:
    """Return the (batch,) examples of a step: epoch after epoch, each in an order of its own."""
    positions = range(step * batch, (step + 1) * batch)
    return torch.stack([_order(position // size, size, seed)[position % size] for position in positions])


@functools.lru_cache(maxsize=2)  # a step may end an epoch; shuffling millions takes longer than a step
def _order(epoch: int, size: int, seed: int) -> Tensor:
    return torch.randperm(size, generator=generator("epoch", seed, epoch))


def sgd(model: Network, job: Job) -> Network:
    """Train `model` and return its exponential moving average, in evaluation mode.

    Continues from the checkpoint in `job.folder` if there is one, and leaves there the weights of the milestones.

    Raises:
        DivergedError: when the loss is not finite; names the step and the last good checkpoint.
        UserError: for a checkpoint that is damaged or belongs to another model.
    """
    budget, device = job.scale.budget, job.device
    model = model.to(device).train()
    average = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    optimiser = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=budget.learning_rate,
        weight_decay=budget.weight_decay,
        fused=True,
    )
    path = job.folder / CHECKPOINT
    start, spent = _restore(path, model, average, optimiser) if path.exists() else (0, 0.0)
    since = time.perf_counter() - spent
    if budget.compile:
        for module in model.modules():
            if isinstance(module, Transformer):
                module.compile()
    train = job.train.to(device) if budget.resident else job.train
    sums: dict[str, Tensor] = {}
    saved = logged = start
    for step in range(start, budget.steps):
        _keep_milestone(model, step, job)
        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(step, budget)
        terms = _backward(model, train, step, job)
        terms["gradient_norm"] = nn.utils.clip_grad_norm_(model.parameters(), budget.clip or math.inf)
        optimiser.step()
        optimiser.zero_grad()
        _update_average(
            average, model, decay=min(budget.ema, (1 + step) / (10 + step)) if budget.ema_warmup else budget.ema
        )
        sums = {name: sums.get(name, 0) + value for name, value in terms.items()}

        done = step + 1
        due = {every: done % every == 0 or done == budget.steps for every in _intervals(budget)}
        if not due[budget.log_every]:  # the host waits for the device only when it must
            continue
        means = {f"train/{name}": value.item() / (done - logged) for name, value in sums.items()}
        sums, logged = {}, done
        if not math.isfinite(means["train/loss"] + means["train/gradient_norm"]):
            kept = f"the last good checkpoint is {path} of step {saved}" if saved else "there is no checkpoint yet"
            raise DivergedError(
                f"the loss is {means['train/loss']} and the norm of its gradient {means['train/gradient_norm']} by step"
                f" {done}; {kept}"
            )
        if due[budget.validate_every]:
            means |= {f"val/{name}": value for name, value in validate(average, job).items()}
        job.log(done, {**means, "train/seconds": time.perf_counter() - since})
        if due[budget.checkpoint_every]:
            progress = {"step": str(done), "seconds": str(time.perf_counter() - since)}
            _save(path, progress, model, average, optimiser)
            saved = done
    _keep_milestone(model, budget.steps, job)
    return average


def milestone(folder: Path, step: int) -> Path:
    """Return where `sgd` keeps the weights of this step, not averaged, if it is one of the budget's milestones."""
    return folder / f"step-{step}.safetensors"


def _keep_milestone(model: Trainable, step: int, job: Job) -> None:
    if step in job.scale.budget.milestones:
        model.save(milestone(job.folder, step))


def _intervals(budget: Budget) -> tuple[int, int, int]:
    """Return the steps between logs, validations and checkpoints; the latter two are multiples of the first."""
    intervals = (budget.log_every, budget.validate_every, budget.checkpoint_every)
    if any(every % budget.log_every for every in intervals):
        raise ValueError(f"validations and checkpoints fall on logged steps: {intervals} are no multiples of the first")
    return intervals


def _backward(model: Trainable, train: Tensor, step: int, job: Job) -> dict[str, Tensor]:
    """Add the gradients of a step; return the named terms and the loss."""
    budget, device = job.scale.budget, job.device
    chosen = batch_indices(step, batch=budget.batch, size=len(train), seed=job.seed).to(train.device)
    random = generator("noise", job.seed, step, device=device)
    result: dict[str, Tensor] = {}
    with seeded("dropout", job.seed, step, device=device):
        for part in chosen.chunk(budget.accumulate):
            with _precision(device):
                terms = model.terms(train[part].to(device).long(), random=random)
            terms["loss"] = torch.stack(list(terms.values())).sum()
            share = len(part) / len(chosen)
            (terms["loss"] * share).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
            for name, value in terms.items():
                result[name] = result.get(name, 0) + value.detach() * share
    return result


@torch.no_grad()
def validate(model: Trainable, job: Job) -> dict[str, float]:
    """Return the loss and its terms on the validation windows, with the same noise at every call."""
    device, batch = job.device, job.scale.budget.batch
    windows = job.validation[:VALIDATION_WINDOWS]
    sums: dict[str, float] = {}
    for index, part in enumerate(torch.split(windows, batch)):
        random = generator("validation", job.seed, index, device=device)
        with _precision(device):
            terms = model.terms(part.to(device).long(), random=random)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value.item() * len(part) / len(windows)
    return {**sums, "loss": sum(sums.values())}


def _learning_rate(step: int, budget: Budget) -> float:
    warm = min(1.0, (step + 1) / budget.warmup) if budget.warmup else 1.0
    return budget.learning_rate * warm * (1 - step / (budget.anneal or budget.steps))


def _precision(device: torch.device) -> AbstractContextManager[object]:
    """Bfloat16 where tensor cores make it pay; single precision on a CPU."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, *, decay: float) -> None:
    for mean, value in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


def _save(
    path: Path, progress: dict[str, str], model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in state.items()}
    with atomic(path) as draft:
        save_file({name: value.contiguous() for name, value in tensors.items()}, draft, metadata=progress)


def _restore(path: Path, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
    """Load a checkpoint in place; return its step and the seconds of training until then."""
    tensors, metadata = read_tensors(path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimiser": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = value
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimiser"].items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    load_weights(model, parts["model"], path)
    load_weights(average, parts["average"], path)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return int(metadata["step"]), float(metadata["seconds"])


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file and its metadata.

    Raises:
        UserError: if the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 - no dict
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}); delete it to train again from the start") from None


def load_weights(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Put tensors into a model in place.

    Raises:
        UserError: if they are not the tensors of this model; names the file and the first difference.
    """
    own = model.state_dict()
    for name in sorted({*own, *tensors}):
        found, wanted = (tuple(part[name].shape) if name in part else None for part in (tensors, own))
        if found != wanted:
            raise UserError(
                f"{path} belongs to another model: {name} has shape {found} there and {wanted} here;"
                " use the configuration that it was made with, or delete the trial's folder"
            )
    model.load_state_dict(tensors)

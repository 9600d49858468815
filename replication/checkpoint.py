"""What training leaves on disk: checkpoints to go on from, weights of milestones; safetensors, never pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from replication.errors import UserError
from replication.files import atomic

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor, nn

CHECKPOINT = "last.safetensors"


def milestone(folder: Path, step: int) -> Path:
    """Return where training keeps the weights of this step, not averaged, if it is one of the budget's milestones."""
    return folder / f"step-{step}.safetensors"


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the weights of a model."""
    with atomic(path) as draft:
        save_file(model.state_dict(), draft)


def save_checkpoint(
    path: Path, progress: dict[str, str], model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    """Write all that training goes on from; `progress` is kept as it is."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in state.items()}
    with atomic(path) as draft:
        save_file({name: value.contiguous() for name, value in tensors.items()}, draft, metadata=progress)


def restore_checkpoint(
    path: Path, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> dict[str, str]:
    """Load a checkpoint in place; return the progress it was written with.

    Raises:
        UserError: for a checkpoint that is damaged or belongs to another model.
    """
    tensors, progress = read_tensors(path)
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
    return progress


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

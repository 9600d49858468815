"""Checkpoints to resume from and weights of milestones, as safetensors and never as pickle."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from replication.util.errors import UserError, error_text
from replication.util.files import CHECKSUM, atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

CHECKPOINT = "last.safetensors"


def milestone(folder: Path, step: int) -> Path:
    """Return the path of the averaged weights that training saves at a step that is a milestone of the budget."""
    return folder / f"step-{step}.safetensors"


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the weights of a model."""
    with atomic(path) as draft:
        save_file(model.state_dict(), draft)


def save_checkpoint(
    path: Path, progress: dict[str, str], networks: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer
) -> None:
    """Write everything that training resumes from, with a checksum; `progress` is stored as it is.

    Args:
        path: File to write.
        progress: Texts by name.
        networks: The model, the average of its weights, and further copies of it, by names without a full stop.
        optimiser: Optimiser of the model.
    """
    tensors = {
        f"{part}.{name}": value for part, network in networks.items() for name, value in network.state_dict().items()
    }
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in state.items()}
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    with atomic(path) as draft:
        save_file(tensors, draft, metadata=progress | {CHECKSUM: _checksum(tensors, progress)})


def restore_checkpoint(
    path: Path, networks: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer
) -> dict[str, str]:
    """Load a checkpoint in place; return the progress that it was saved with.

    Raises:
        UserError: If the checkpoint is damaged or belongs to another model.
    """
    tensors, progress = read_tensors(path)
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in (*networks, "optimiser")}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = value
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimiser"].items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    for name, network in networks.items():
        load_weights(network, parts[name], path)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return progress


def trained(path: Path) -> int:
    """Return the step at which a checkpoint was written; -1 if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return int((file.metadata() or {})["step"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return -1


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file and its metadata.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise _damaged(path, error_text(error)) from None
    if about.pop(CHECKSUM, None) not in {None, _checksum(tensors, about)}:
        raise _damaged(path, "it does not match its checksum")
    return tensors, about


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path} is damaged ({why}); delete it to train again from the start")


def _checksum(tensors: dict[str, Tensor], about: dict[str, str]) -> str:
    """Return a SHA-256 of tensors, their names and shapes, and of the metadata."""
    found = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def load_weights(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load tensors into a model in place.

    Raises:
        UserError: If they are not the tensors of this model. The message names the file and the first difference.
    """
    own = model.state_dict()
    for name in sorted({*own, *tensors}):
        found, wanted = (tuple(part[name].shape) if name in part else None for part in (tensors, own))
        if found != wanted:
            raise UserError(
                f"{path} belongs to another model: {name} has shape {found} there and {wanted} here;"
                " use the configuration that it was created with, or delete the trial's folder"
            )
    model.load_state_dict(tensors)

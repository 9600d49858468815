"""Training on several devices: the process group of the processes that torchrun starts."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one model together; a group of one without torchrun.

    Attributes:
        rank: Rank of this process.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process, the one of rank 0, writes files and logs."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Sum a tensor over all processes, in place, and return it."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.size > 1:
            dist.barrier()


def process_group() -> ProcessGroup:
    """Return the process group of this run."""
    return ProcessGroup(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ProcessGroup()


@contextmanager
def joined_processes() -> Iterator[torch.device]:
    """Join the processes that torchrun has started, if any, and leave them at the end; yields this process's device.

    The backend is NCCL for GPUs and gloo for CPUs.

    Raises:
        UserError: If there are more processes than GPUs.
    """
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if not dist.is_torchelastic_launched():
        yield device
        return
    if cuda:
        if int(os.environ["LOCAL_WORLD_SIZE"]) > torch.cuda.device_count():
            raise UserError(f"this machine has {torch.cuda.device_count()} GPUs; start one process per GPU")
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo", device_id=device if cuda else None)
    try:
        yield device
    finally:
        dist.destroy_process_group()

"""One training run on several devices: what its processes, started by torchrun, have to do together."""

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
class Group:
    """The processes that train one model together, or the only one.

    Attributes:
        rank: the number of this process; the first one writes files and logs.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait for all others to get here."""
        if self.size > 1:
            dist.barrier()


def group() -> Group:
    """Return the processes of this run."""
    return Group(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Group()


@contextmanager
def joined() -> Iterator[torch.device]:
    """Join the other processes that torchrun has started, if it has, for a while; yields the device of this one.

    NCCL between GPUs, gloo between processors.

    Raises:
        UserError: for more processes than GPUs.
    """
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if not dist.is_torchelastic_launched():
        yield device
        return
    if cuda:
        if int(os.environ["LOCAL_WORLD_SIZE"]) > torch.cuda.device_count():
            raise UserError(f"this machine has {torch.cuda.device_count()} GPUs: start one process for each")
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo", device_id=device if cuda else None)
    try:
        yield device
    finally:
        dist.destroy_process_group()

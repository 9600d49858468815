"""The cost of training in floating-point operations, which does not depend on the machine."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from replication.util.generators import generator, seeded

if TYPE_CHECKING:
    from replication.training.model import Network


def step_flop(model: Network, *, batch: int, length: int) -> int:
    """Return the floating-point operations of the matrix products in one training step, forward and backward.

    They are counted on one window, without the compiler, and multiplied by the batch. A multiplication and an addition
    are two operations. The whole attention matrix counts, causal or not. The optimiser does not count. The model, its
    gradients and all global generators stay as they are.

    Args:
        model: Network, on any device.
        batch: Windows per step.
        length: Tokens L of a window.
    """
    network = copy.deepcopy(model).train()
    device = next(network.parameters()).device
    tokens = torch.zeros(1, length, dtype=torch.long, device=device)
    noise = network.noise(tokens, random=generator("flop", device=device))
    # Written out as matrix products, because the kernels of some devices are not counted.
    with seeded("flop", device=device), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss = torch.stack(list(network.terms(tokens, *noise).values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
    flop: int = counter.get_total_flops()
    return batch * flop

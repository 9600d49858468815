"""Faster computation where the machine supports it: bfloat16 and torch.compile; and deterministic sums."""

from __future__ import annotations

import functools
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import torch

from replication.util.generators import preserved_rng
from replication.util.system_errors import is_shortage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from replication.training.scales import Budget

P = ParamSpec("P")
T = TypeVar("T")


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies matrices in bfloat16 faster than in single precision."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # torch 2.11 cannot report this and counts as without. On a CPU without it, bfloat16 is emulated and slower.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@functools.cache
def has_compiler(device: torch.device) -> bool:
    """Return whether torch.compile works for the device, forward and backward; if not, print the reason."""
    try:
        with torch.enable_grad():  # the first caller may be sampling, without gradients
            x = torch.ones(2, device=device, requires_grad=True)
            torch.compile(lambda x: (x * x).sin().sum())(x).backward()
    except Exception as error:
        if is_shortage(error):  # lack of memory or disk: without the compiler, a resumed run would compute other bits
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(f"torch.compile does not work here ({reason}); continuing without it", file=sys.stderr)
        return False
    return True


def accelerated(function: Callable[P, T], budget: Budget, device: torch.device) -> Callable[P, T]:
    """Return a function of tensors, or a module, that runs in bfloat16 or compiled, as the budget asks for.

    Each is applied only if the machine supports it; results then differ by rounding. A function is compiled again for
    arguments of other shapes.

    Args:
        function: Function of tensors, or a module.
        budget: Budget whose `bfloat16` and `compile` apply.
        device: Device of the computation.
    """
    half = budget.bfloat16 and has_bfloat16(device)
    chosen = function
    if budget.compile and has_compiler(device):
        # The compiler's own random numbers, which dropout uses, are slow on CPUs.
        chosen = torch.compile(function, dynamic=False, options={"fallback_random": device.type == "cpu"})

    def precision() -> AbstractContextManager[object]:
        return torch.autocast(device.type, dtype=torch.bfloat16) if half else nullcontext()

    compiled_for: set[tuple[torch.Size, ...]] = set()

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with precision():
            shapes = tuple(value.shape for value in args if isinstance(value, torch.Tensor))
            if chosen is not function and shapes not in compiled_for:
                # Compiling advances the global generators, from which dropout is drawn.
                with preserved_rng(device):
                    chosen(*args, **kwargs)
                compiled_for.add(shapes)
            return chosen(*args, **kwargs)

    return call


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Run a block, including backward passes, in which a CPU sums in the same order every time.

    In compiled code, several threads race to add to the gradient of embeddings. With one thread there is no race, and
    the slower deterministic kernels are not needed. GPUs are left as they are: some operations have no such kernels.
    """
    before = torch.are_deterministic_algorithms_enabled()
    if device.type == "cpu" and torch.get_num_threads() > 1:
        torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before)

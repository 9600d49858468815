"""How this machine computes: in bfloat16 where its processor has that, compiled where a compiler works."""

from __future__ import annotations

import functools
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import torch

from replication.util.generators import untouched
from replication.util.system_errors import is_shortage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from replication.training.scales import Budget

P = ParamSpec("P")
T = TypeVar("T")


def has_bfloat16(device: torch.device) -> bool:
    """Return whether products of bfloat16 matrices are faster than those of single precision there."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # torch 2.11 cannot say, and counts as without: there bfloat16 is emulated, and slower.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@functools.cache
def has_compiler(device: torch.device) -> bool:
    """Return whether torch.compile works there, forwards and backwards; if not, why is said in one line."""
    try:
        with torch.enable_grad():  # also where the first to ask only draws samples
            x = torch.ones(2, device=device, requires_grad=True)
            torch.compile(lambda x: (x * x).sin().sum())(x).backward()
    except Exception as error:
        if is_shortage(error):  # it works with more room: going on without would be another computation
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(f"torch.compile does not work here ({reason}); going on without it", file=sys.stderr)
        return False
    return True


def fast(function: Callable[P, T], budget: Budget, device: torch.device) -> Callable[P, T]:
    """Return a function of tensors, or a module, computed as the budget wants it: in bfloat16, compiled, both or none.

    Each where this machine can; what comes out differs by rounding. For tensors of other shapes a function is compiled
    again.
    """
    half = budget.bfloat16 and has_bfloat16(device)
    chosen = function
    if budget.compile and has_compiler(device):
        # The compiler's own random numbers, of which dropout takes many, are slow on processors.
        chosen = torch.compile(function, dynamic=False, options={"fallback_random": device.type == "cpu"})

    def precision() -> AbstractContextManager[object]:
        return torch.autocast(device.type, dtype=torch.bfloat16) if half else nullcontext()

    compiled_for: set[tuple[torch.Size, ...]] = set()

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with precision():
            shapes = tuple(value.shape for value in args if isinstance(value, torch.Tensor))
            if chosen is not function and shapes not in compiled_for:
                # Compiling moves the global generators, which dropout is drawn from.
                with untouched(device):
                    chosen(*args, **kwargs)
                compiled_for.add(shapes)
            return chosen(*args, **kwargs)

    return call


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Run a block, backward passes included, in which a processor adds up in the same order every time.

    Compiled code lets its threads race to add to the gradient of embeddings; one thread has nobody to race with, and is
    spared the slower way. GPUs are left alone: not all that they do has such a way.
    """
    before = torch.are_deterministic_algorithms_enabled()
    if device.type == "cpu" and torch.get_num_threads() > 1:
        torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before)

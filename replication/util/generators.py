"""Random generators seeded by a key of their purpose, so that no draw depends on earlier draws."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


def seed_of(*key: str | int) -> int:
    """Return a 63-bit seed for a key such as ("train", seed, step): equal for equal keys, unrelated otherwise."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def generator(*key: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator seeded by a key."""
    return torch.Generator(device).manual_seed(seed_of(*key))


def preserved_rng(device: torch.device) -> AbstractContextManager[None]:
    """Return a context that restores torch's global generators, and that of the device, on exit."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


@contextmanager
def seeded(*key: str | int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Run a block with torch's global generators seeded by a key, and restore them afterwards.

    For the few operations that take no generator: the initialisation of layers, and dropout.
    """
    with preserved_rng(torch.device(device)):
        torch.manual_seed(seed_of(*key))
        yield

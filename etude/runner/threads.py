"""How many trials run side by side, and the threads of each."""

from __future__ import annotations

import os


def default_workers() -> int:
    """Return how many trials to run side by side: one on a GPU; else one a core, 4 at most."""
    import torch

    return 1 if torch.cuda.is_available() else min(4, os.cpu_count() or 1)


def threads_of(workers: int) -> int:
    """Return the threads of each of `workers` workers; the bits of a result depend on it."""
    return max(1, (os.cpu_count() or 1) // workers)

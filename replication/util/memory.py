"""How much memory a process takes, and how much there is."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_memory() -> int:
    """Return the most resident memory in bytes that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():  # what `getrusage` says there includes the process that this one was started from
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes where there is no /proc


def available() -> int:
    """Return the free bytes of memory: of the GPU where there is one."""
    import psutil
    import torch

    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else int(psutil.virtual_memory().available)

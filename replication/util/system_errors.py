"""Turn disk-full, permission and out-of-memory errors into messages."""

from __future__ import annotations

import errno
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_PERMISSION = (errno.EROFS, errno.EACCES, errno.EPERM)
RESUME = "and run the same command again to resume"
MEMORY_ADVICE = f"choose fewer --workers or a smaller --scale, {RESUME}"

# Texts that stand for a number which the exception does not carry:
NUMPY_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # of an OSError; NumPy drops its number
TORCH_ALLOCATOR = "DefaultCPUAllocator: can't allocate memory"  # of a RuntimeError; `OutOfMemoryError` is for GPUs
PYTHON_THREADS = "can't start new thread"  # of a RuntimeError; there was no memory for a stack
PYTHON_TEMPORARY = "No usable temporary directory"  # of a FileNotFoundError, even where all disks are full


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise an `OSError` that names the file if the disk refuses what a block writes, whatever library writes it."""
    try:
        yield
    except Exception as error:
        if number := _refusal(error):
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


def shortage_message(error: BaseException) -> str | None:
    """Return the message for an error of the disk or the memory; None for any other error."""
    return disk_message(error) or memory_message(error)


def disk_message(error: BaseException) -> str | None:
    """Return a message that names the place that cannot be written; None for an error that is not the disk's."""
    for cause in _chain(error):
        if isinstance(cause, OSError) and PYTHON_TEMPORARY in str(cause):
            return f"{cause.strerror}: free some space in one of these or set TMPDIR, {RESUME}"
        if number := _refusal(cause):
            place = getattr(cause, "filename", None) or "the output"
            advice = "free some space" if number in NO_SPACE else "allow writing there"
            return f"{place}: {os.strerror(number)}; {advice} {RESUME}"
    return None


def memory_message(error: BaseException) -> str | None:
    """Return a message if memory ran out; None for any other error."""
    return f"memory ran out: {MEMORY_ADVICE}" if is_out_of_memory(error) else None


def is_shortage(error: BaseException) -> bool:
    """Return whether the operation could succeed with more disk space or more memory."""
    return any(_refusal(cause) in NO_SPACE for cause in _chain(error)) or is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the system, Python or an allocator of PyTorch refused memory."""
    import torch

    return any(
        isinstance(cause, (MemoryError, torch.OutOfMemoryError))
        or getattr(cause, "errno", None) == errno.ENOMEM
        or (isinstance(cause, RuntimeError) and any(text in str(cause) for text in (TORCH_ALLOCATOR, PYTHON_THREADS)))
        for cause in _chain(error)
    )


def _refusal(error: BaseException) -> int | None:
    """Return the error number of a refusal to write."""
    if isinstance(error, UserError):  # carries a message already
        return None
    if isinstance(error, OSError) and error.errno:
        return error.errno if error.errno in NO_SPACE + NO_PERMISSION else None
    text = str(error)
    if NUMPY_SHORT_WRITE.search(text):
        return errno.ENOSPC
    # Rust (safetensors) and the compilers that torch.compile starts pass on the system's words only.
    return next((number for number in (*NO_SPACE, errno.EROFS) if os.strerror(number) in text), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    seen = set[int]()
    cause: BaseException | None = error
    while cause and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)

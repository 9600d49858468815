"""What a machine refuses: room on a disk, leave to write, memory; as the system and the libraries say it."""

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

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
TEMPORARY = "No usable temporary directory"  # as `tempfile` says it where all of them are full
GOES_ON = "and give the same command again: it goes on from what is there"
WANTS_MEMORY = f"choose fewer --workers or a smaller --scale, {GOES_ON}"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have what the disk refuses in a block be an `OSError` that names the file, whatever library wrote to it."""
    try:
        yield
    except Exception as error:
        if number := _refused(error):
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


def trouble(error: BaseException) -> str | None:
    """Return what to tell the user of an error that is the machine's; None for any other."""
    return disk_trouble(error) or memory_trouble(error)


def disk_trouble(error: BaseException) -> str | None:
    """Return which place could not be written to and what to do; None for an error that is no disk's."""
    for cause in _chain(error):
        if isinstance(cause, OSError) and TEMPORARY in str(cause):
            return f"{cause.strerror}: make room in one of these or set TMPDIR, {GOES_ON}"
        if number := _refused(cause):
            place = getattr(cause, "filename", None) or "the disk that is written to"
            advice = "make room there" if number in FULL else "give permission to write there"
            return f"{place}: {os.strerror(number)}; {advice}, {GOES_ON}"
    return None


def memory_trouble(error: BaseException) -> str | None:
    """Return what to do where memory was refused, by the system or by an allocator; None for any other error."""
    return f"memory ran out: {WANTS_MEMORY}" if lacks_memory(error) else None


def is_passing(error: BaseException) -> bool:
    """Return whether the same would have worked with more room on the disk, or more memory."""
    return any(_refused(cause) in FULL for cause in _chain(error)) or lacks_memory(error)


def lacks_memory(error: BaseException) -> bool:
    """Return whether memory was refused."""
    import torch

    kinds = (MemoryError, torch.OutOfMemoryError)
    texts = ("DefaultCPUAllocator: can't allocate memory", "can't start new thread")
    return any(
        isinstance(cause, kinds)
        or getattr(cause, "errno", None) == errno.ENOMEM
        or (isinstance(cause, RuntimeError) and any(text in str(cause) for text in texts))
        for cause in _chain(error)
    )


def _refused(error: BaseException) -> int | None:
    """Return the system's number of a refusal to write."""
    if isinstance(error, UserError):  # has its sentence
        return None
    if isinstance(error, OSError) and error.errno:
        return error.errno if error.errno in FULL + CLOSED else None
    text = str(error)
    if re.search(r"\d+ requested and \d+ written", text):  # numpy keeps the number to itself
        return errno.ENOSPC
    # Rust, C++ and compilers in processes of their own say it in the system's words.
    return next((number for number in (*FULL, errno.EROFS) if os.strerror(number) in text), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it comes from."""
    seen = set[int]()
    cause: BaseException | None = error
    while cause and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)

"""Reading files of strangers: in processes of their own, with a limit of memory and of time.

Parsers are written in C++. A file that hangs or crashes its reader is dropped for that reason and costs no other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfTimeError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.midi.piece import NOTE, Piece
from replication.midi.smf import MidiError, Reason
from replication.util.errors import UserError
from replication.util.processes import process_pool

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pebble import ProcessPool


PATIENCE = 10.0  # seconds for a file; real ones take milliseconds
MEMORY = 4 * 2**30  # bytes of address space for a process

File = tuple[str, bytes]
# From a name and the content to a piece; raises MidiError. Goes to other processes: a function of a module, or partial.
Reader = Callable[[str, bytes], Piece]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What some files gave, in their order.

    Attributes:
        notes: (n,) the pieces' notes, one piece after another.
        found: number of notes and playing time in seconds of each file's piece, or why it gave none.
    """

    notes: NDArray[Any]
    found: list[tuple[int, float] | Reason]


# Reads batches of files in their order: `read_guarded`, or what does the same on other machines.
Batches = Callable[[Iterable[list[File]], Reader], Iterator[Batch]]


def read_guarded(batches: Iterable[list[File]], read: Reader, *, processes: int | None = None) -> Iterator[Batch]:
    """Yield what batches of files give, in order; looks ahead no further than keeps the processes busy."""
    processes = processes or os.cpu_count() or 1
    waiting: deque[tuple[list[File], Future[Batch]]] = deque()
    with process_pool(processes, memory=MEMORY) as pool:
        for files in batches:
            waiting.append((files, _start(pool, files, read)))
            if len(waiting) > 2 * processes:
                yield _end(pool, *waiting.popleft(), read)
        while waiting:
            yield _end(pool, *waiting.popleft(), read)


def check_may_read() -> None:
    """Raise a `RuntimeError` in a process that is only being started, where a script is imported that should be run."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself asks
        raise RuntimeError("a script that reads files does so below `if __name__ == '__main__':`")


def _start(pool: ProcessPool, files: list[File], read: Reader) -> Future[Batch]:
    if not files:  # nothing that a process would have to be started for
        future = Future[Batch]()
        future.set_result(Batch(notes=np.empty(0, NOTE), found=[]))
        return future
    scheduled: Future[Batch] = pool.schedule(read_batch, args=[files, read], timeout=PATIENCE)
    return scheduled


def _end(pool: ProcessPool, files: list[File], future: Future[Batch], read: Reader, *, again: bool = True) -> Batch:
    """Return the result; where the reader died or was too slow, find out at which file.

    A reader that was killed from outside, as where memory runs out, says nothing of its file, which is read `again`.
    """
    from pebble import ProcessExpired

    try:
        return future.result()
    except BrokenProcessPool:
        raise UserError(
            "The processes that read files do not start: a script has to be a file, and to do its work below"
            " `if __name__ == '__main__':`."
        ) from None
    except (OutOfTimeError, ProcessExpired, MemoryError) as error:
        if len(files) == 1:
            if again and isinstance(error, ProcessExpired) and error.exitcode == -signal.SIGKILL:
                return _end(pool, files, _start(pool, files, read), read, again=False)
            reasons = {OutOfTimeError: Reason.TOO_SLOW, ProcessExpired: Reason.CRASHED, MemoryError: Reason.TOO_LARGE}
            return Batch(notes=np.empty(0, NOTE), found=[reasons[type(error)]])
    single = [_end(pool, [file], _start(pool, [file], read), read) for file in files]
    return Batch(notes=np.concatenate([one.notes for one in single]), found=[one.found[0] for one in single])


def read_batch(files: list[File], read: Reader) -> Batch:
    """Read files in this process."""
    notes, found = [np.empty(0, NOTE)], list[tuple[int, float] | Reason]()
    for name, content in files:
        try:
            piece = read(name, content)
        except MidiError as error:
            found.append(error.reason)
        else:
            notes.append(piece.notes)
            found.append((len(piece.notes), piece.seconds))
    return Batch(notes=np.concatenate(notes), found=found)

"""Read files of unknown origin in separate processes, with a limit of memory and of time.

The parsers are written in C++. A file that hangs or crashes its reader is dropped for that reason and does not affect
the other files.
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
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from replication.midi.piece import NOTE, Piece
from replication.midi.smf import MidiError, Reason
from replication.util.errors import UserError
from replication.util.processes import process_pool

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pebble import ProcessPool


TIMEOUT = 10.0  # seconds for a batch; a file of music takes milliseconds
MEMORY = 4 * 2**30  # bytes of address space of a process

File = tuple[str, bytes]
# Turns a name and the content into a piece; raises MidiError. It is pickled: a function of a module, or a partial.
Reader = Callable[[str, bytes], Piece]


class Found(NamedTuple):
    """What a file's piece is, apart from its notes.

    Attributes:
        notes: Number of notes.
        seconds: Playing time.
        restruck: As in `replication.midi.piece.Lost`.
        unended: As in `replication.midi.piece.Lost`.
    """

    notes: int
    seconds: float
    restruck: int
    unended: int

    @classmethod
    def of(cls, piece: Piece) -> Found:
        """Describe a piece."""
        return cls(len(piece.notes), piece.seconds, *piece.lost)


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """The result of reading some files, in their order.

    Attributes:
        notes: (n,) notes of the pieces, one piece after another.
        found: What each file's piece is, or the reason why the file gave none.
    """

    notes: NDArray[Any]
    found: list[Found | Reason]


# Reads batches of files in their order: `read_guarded`, or a function that does the same on other machines.
Batches = Callable[[Iterable[list[File]], Reader], Iterator[Batch]]


def read_guarded(batches: Iterable[list[File]], read: Reader, *, processes: int | None = None) -> Iterator[Batch]:
    """Yield the results of batches of files in order. Take only as many batches ahead as keep the processes busy."""
    processes = processes or os.cpu_count() or 1
    waiting: deque[tuple[list[File], Future[Batch]]] = deque()
    with process_pool(processes, memory=MEMORY) as pool:
        for files in batches:
            waiting.append((files, _submit(pool, files, read)))
            if len(waiting) > 2 * processes:
                yield _result(pool, *waiting.popleft(), read)
        while waiting:
            yield _result(pool, *waiting.popleft(), read)


def check_main_guard() -> None:
    """Raise a `RuntimeError` in a starting process that imports a script whose work has no `__main__` guard."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # the test of multiprocessing itself
        raise RuntimeError("a script that reads files must do so below `if __name__ == '__main__':`")


def _submit(pool: ProcessPool, files: list[File], read: Reader) -> Future[Batch]:
    if not files:  # starts no process
        future = Future[Batch]()
        future.set_result(Batch(notes=np.empty(0, NOTE), found=[]))
        return future
    scheduled: Future[Batch] = pool.schedule(read_batch, args=[files, read], timeout=TIMEOUT)
    return scheduled


def _result(pool: ProcessPool, files: list[File], future: Future[Batch], read: Reader, *, again: bool = True) -> Batch:
    """Return the result of a batch. If the reader died or was too slow, read its files one by one to find the cause.

    A reader that was killed from outside, for example because memory ran out, says nothing about its file. The file is
    read `again`.
    """
    from pebble import ProcessExpired

    try:
        return future.result()
    except BrokenProcessPool:
        raise UserError(
            "The processes that read files do not start: a script must be a file and do its work below"
            " `if __name__ == '__main__':`."
        ) from None
    except (OutOfTimeError, ProcessExpired, MemoryError) as error:
        if len(files) == 1:
            if again and isinstance(error, ProcessExpired) and error.exitcode == -signal.SIGKILL:
                return _result(pool, files, _submit(pool, files, read), read, again=False)
            reasons = {OutOfTimeError: Reason.TOO_SLOW, ProcessExpired: Reason.CRASHED, MemoryError: Reason.TOO_LARGE}
            return Batch(notes=np.empty(0, NOTE), found=[reasons[type(error)]])
    single = [_result(pool, [file], _submit(pool, [file], read), read) for file in files]
    return Batch(notes=np.concatenate([one.notes for one in single]), found=[one.found[0] for one in single])


def read_batch(files: list[File], read: Reader) -> Batch:
    """Read files in this process."""
    notes, found = [np.empty(0, NOTE)], list[Found | Reason]()
    for name, content in files:
        try:
            piece = read(name, content)
        except MidiError as error:
            found.append(error.reason)
        else:
            notes.append(piece.notes)
            found.append(Found.of(piece))
    return Batch(notes=np.concatenate(notes), found=found)

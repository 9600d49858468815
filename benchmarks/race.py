"""The measuring core of the benchmarks: contenders in processes of their own, which take turns lap by lap.

Whatever disturbs the machine meanwhile hits all of a race alike: their laps are interleaved (A B C, A B C, ...), ratios
are taken lap against lap, and of both the median counts.
"""

from __future__ import annotations

import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from replication.util.errors import UserError
from replication.util.memory import peak_memory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from types import TracebackType

LAPS = 5
SECONDS = 1.0  # of a lap, at least; a piece of work that takes longer is a lap by itself

# Told the amount of each piece of work when it is done; returns when it is this contender's turn again.
Lap = Callable[[float], None]
# Sets itself up, then works on and on and tells `Lap` each time. It is ended from outside.
Contender = Callable[[Lap], None]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a benchmark.

    Attributes:
        name: unique in a race.
        unit: of the rate, an amount per second.
        contender: what works; it goes to another process, so it is a function of a module, or a partial of one.
        threads: of each copy.
        copies: processes that work at the same time; their rates are added.
        against: the row that the ratio is to.
        flop: floating-point operations per amount, where they have been counted.
        peaks: rows of matrix products; the fastest of them is what the share of the machine's rate is of.
    """

    name: str
    unit: str
    contender: Contender
    threads: int
    copies: int = 1
    against: str | None = None
    flop: float = 0.0
    peaks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What became of a row.

    Attributes:
        rates: amounts per second, lap by lap.
        start: seconds from the beginning of the contender to its first piece of work done: setting up and compiling.
        memory: peak of the resident memory in MB, of all copies; that of Python and torch, some 300 MB each, included.
        device_memory: likewise of memory on the GPU that torch has given out; 0 without one.
    """

    rates: tuple[float, ...]
    start: float
    memory: float
    device_memory: float = 0.0

    @property
    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rates)

    def against(self, other: Measured) -> float:
        """Return the median of how many times the other's rate this one's is, lap against lap."""
        return statistics.median(own / its for own, its in zip(self.rates, other.rates, strict=True))


def race(rows: Sequence[Row], *, laps: int = LAPS, seconds: float = SECONDS) -> dict[str, Measured]:
    """Return what was measured of each row by its name.

    Contenders start one after the other, and from then on all are there, one of them at work.

    Raises:
        UserError: if a contender ends, which is most often for want of memory.
    """
    from tqdm import tqdm

    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=len(rows) * (laps + 1), unit="lap", disable=None, leave=False))
        crews = [[stack.enter_context(_Process(row, seconds)) for _ in range(row.copies)] for row in rows]

        def turn() -> list[list[_Told]]:
            told = []
            for row, crew in zip(rows, crews, strict=True):
                bar.set_description(row.name)
                told.append(_together(crew))
                bar.update()
            return told

        starts = turn()
        turns = [turn() for _ in range(laps)]
    return {
        row.name: Measured(
            rates=tuple(sum(one.amount / one.seconds for one in told[place]) for told in turns),
            start=max(one.seconds for one in starts[place]),
            memory=sum(one.memory for one in turns[-1][place]),
            device_memory=sum(one.device_memory for one in turns[-1][place]),
        )
        for place, row in enumerate(rows)
    }


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What a process says at the end of a lap; see `Measured`."""

    amount: float
    seconds: float
    memory: float
    device_memory: float


class _Process:
    """A copy of a contender, which waits until it is sent on its next lap."""

    def __init__(self, row: Row, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.row, (self._pipe, self._theirs) = row, context.Pipe()
        self._process = context.Process(target=_work, args=(self._theirs, row.contender, row.threads, seconds))

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()  # then the end of the process ends the pipe
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(timeout=0 if kind else 10)
        self._process.kill()

    def send(self) -> None:
        """Begin a lap."""
        self._pipe.send(None)

    def receive(self) -> _Told:
        """Wait for the end of a lap."""
        try:
            told: _Told | UserError = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise UserError(
                f"bench: {self.row.name!r} ended with code {self._process.exitcode}; if its memory ran out, choose a"
                " smaller --batch or --scale"
            ) from None
        if isinstance(told, UserError):
            raise told
        return told


def _together(crew: list[_Process]) -> list[_Told]:
    for one in crew:
        one.send()
    return [one.receive() for one in crew]


def _work(pipe: Connection, contender: Contender, threads: int, seconds: float) -> None:
    import torch

    torch.set_num_threads(threads)
    pipe.recv()
    try:
        contender(_Laps(pipe, seconds))
    except UserError as error:
        pipe.send(error)


class _Laps:
    """The `Lap` of a process."""

    def __init__(self, pipe: Connection, seconds: float) -> None:
        self._pipe, self._seconds, self._least = pipe, seconds, 0.0  # the start ends with the first piece of work
        self._amount, self._since = 0.0, time.perf_counter()

    def __call__(self, amount: float) -> None:
        import torch

        self._amount += amount
        gpu = torch.cuda.is_available()
        if gpu:
            torch.cuda.synchronize()
        spent = time.perf_counter() - self._since
        if spent < self._least:
            return
        device_memory = torch.cuda.max_memory_allocated() / 1e6 if gpu else 0.0
        told = _Told(amount=self._amount, seconds=spent, memory=peak_memory() / 1e6, device_memory=device_memory)
        try:
            self._pipe.send(told)
            self._pipe.recv()
        except (EOFError, OSError):  # the race is over
            sys.exit()
        self._least, self._amount, self._since = self._seconds, 0.0, time.perf_counter()


def repeat(work: Callable[[], object], amount: float, lap: Lap) -> None:
    """Do the same again and again: most contenders are this after setting up."""
    while True:
        work()
        lap(amount)


def exponent(sizes: Sequence[float], values: Sequence[float], *, fixed: float = 0.0) -> float:
    """Return p of values - fixed ~ sizes^p, the least-squares slope between logarithms; NaN where nothing is left."""
    above = [value - fixed for value in values]
    if min(above) <= 0:
        return math.nan
    return statistics.linear_regression(list(map(math.log, sizes)), list(map(math.log, above))).slope

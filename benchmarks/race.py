"""Measure contenders in separate processes that take turns, lap by lap.

Laps are interleaved (A B C, A B C, ...), so that other load on the machine affects all contenders of a race alike.
Results are the median rate and the median of the ratios within each lap.
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
SECONDS = 1.0  # minimum length of a lap; one unit of work that takes longer is a lap

# Called with the amount of work after each unit of work; blocks at the end of a lap until the contender's next turn.
Lap = Callable[[float], None]
# Sets itself up, then works in an endless loop and calls `Lap` after each unit of work. Its process is killed.
Contender = Callable[[Lap], None]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a benchmark.

    Attributes:
        name: Name that is unique in a race.
        unit: Unit of the rate, an amount per second.
        contender: Contender to measure. It is pickled for another process, so it is a module-level function or a
            partial of one.
        threads: Number of threads of each copy.
        copies: Number of processes that work at the same time; their rates are added.
        against: Name of the row that the ratio is relative to.
        flop: Floating-point operations per unit of the amount; 0 if unknown.
        peaks: Names of rows of matrix products. The fastest of them is taken as the peak rate of the machine.
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
class Measurement:
    """The result of a row.

    Attributes:
        rates: Amounts per second in each lap.
        start: Seconds until the contender finished its first unit of work, including setup and compilation.
        memory: Peak resident memory in MB, summed over copies, including about 300 MB each for Python and torch.
        device_memory: Peak GPU memory in MB that torch allocated, summed over copies; 0 without a GPU.
    """

    rates: tuple[float, ...]
    start: float
    memory: float
    device_memory: float = 0.0

    @property
    def rate(self) -> float:
        """The median rate."""
        return statistics.median(self.rates)

    def against(self, other: Measurement) -> float:
        """Return the median over laps of the ratio of this rate to the other."""
        return statistics.median(own / its for own, its in zip(self.rates, other.rates, strict=True))


def race(rows: Sequence[Row], *, laps: int = LAPS, seconds: float = SECONDS) -> dict[str, Measurement]:
    """Return the measurement of each row by name.

    Contenders are started one after the other. All of them then stay alive, and one at a time works.

    Raises:
        UserError: If a contender ends, usually because memory ran out.
    """
    from tqdm import tqdm

    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=len(rows) * (laps + 1), unit="lap", disable=None, leave=False))
        processes = [[stack.enter_context(_Process(row, seconds)) for _ in range(row.copies)] for row in rows]

        def turn() -> list[list[_LapResult]]:
            results = []
            for row, copies in zip(rows, processes, strict=True):
                bar.set_description(row.name)
                results.append(_run_lap(copies))
                bar.update()
            return results

        starts = turn()
        turns = [turn() for _ in range(laps)]
    return {
        row.name: Measurement(
            rates=tuple(sum(lap.amount / lap.seconds for lap in results[place]) for results in turns),
            start=max(lap.seconds for lap in starts[place]),
            memory=sum(lap.memory for lap in turns[-1][place]),
            device_memory=sum(lap.device_memory for lap in turns[-1][place]),
        )
        for place, row in enumerate(rows)
    }


@dataclass(frozen=True, kw_only=True)
class _LapResult:
    """The message that a process sends at the end of a lap; see `Measurement`."""

    amount: float
    seconds: float
    memory: float
    device_memory: float


class _Process:
    """A process that runs a copy of a contender and waits between laps."""

    def __init__(self, row: Row, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.row, (self._pipe, self._theirs) = row, context.Pipe()
        self._process = context.Process(target=_work, args=(self._theirs, row.contender, row.threads, seconds))

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()  # so that the pipe closes when the process ends
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(timeout=0 if kind else 10)
        self._process.kill()

    def start_lap(self) -> None:
        """Start a lap."""
        self._pipe.send(None)

    def finish_lap(self) -> _LapResult:
        """Wait for the end of the lap and return its result."""
        try:
            result: _LapResult | UserError = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise UserError(
                f"bench: {self.row.name!r} ended with code {self._process.exitcode}; if its memory ran out, choose a"
                " smaller --batch or --scale"
            ) from None
        if isinstance(result, UserError):
            raise result
        return result


def _run_lap(copies: list[_Process]) -> list[_LapResult]:
    for process in copies:
        process.start_lap()
    return [process.finish_lap() for process in copies]


def _work(pipe: Connection, contender: Contender, threads: int, seconds: float) -> None:
    import torch

    torch.set_num_threads(threads)
    pipe.recv()
    try:
        contender(_LapTimer(pipe, seconds))
    except UserError as error:
        pipe.send(error)


class _LapTimer:
    """The `Lap` callback of a process: measures laps and sends them through the pipe."""

    def __init__(self, pipe: Connection, seconds: float) -> None:
        self._pipe, self._seconds, self._least = pipe, seconds, 0.0  # the first lap ends after one unit of work
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
        result = _LapResult(amount=self._amount, seconds=spent, memory=peak_memory() / 1e6, device_memory=device_memory)
        try:
            self._pipe.send(result)
            self._pipe.recv()
        except (EOFError, OSError):  # the race is over
            sys.exit()
        self._least, self._amount, self._since = self._seconds, 0.0, time.perf_counter()


def repeat(work: Callable[[], object], amount: float, lap: Lap) -> None:
    """Repeat a unit of work forever; most contenders end with this after their setup."""
    while True:
        work()
        lap(amount)


def exponent(sizes: Sequence[float], values: Sequence[float], *, fixed: float = 0.0) -> float:
    """Return the exponent p of values - fixed ~ sizes^p, fitted to logarithms; NaN if a difference is <= 0."""
    above = [value - fixed for value in values]
    if min(above) <= 0:
        return math.nan
    return statistics.linear_regression(list(map(math.log, sizes)), list(map(math.log, above))).slope

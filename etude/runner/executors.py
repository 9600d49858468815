"""Engines: where trials run. Each starts the same function on a task, and gives a future of how its worker ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from etude.runner.threads import default_workers, threads_of
from etude.runner.worker import Task, work
from replication.corpora.sandbox import read_guarded
from replication.util.errors import UserError
from replication.util.processes import end_with_parent
from replication.util.system_errors import MEMORY_ADVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess

    from replication.corpora.sandbox import Batch, File, Reader

PRELOADED = ["etude.trial.stages", "eval.scoring.reference", "pandas", "scipy.stats", "sklearn.linear_model", "muspy"]
GROUP = 4  # batches of files of a task, whose guarded process takes as long to start as to read two
OBJECT_STORE = 100 * 2**20  # bytes, of which trials need next to none; Ray would take a third of the memory
TRUST = "Ray lets whoever reaches its ports run code: use it in trusted networks only"


class LostError(RuntimeError):
    """A worker ended without saying why."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Workers that are there.

    Attributes:
        slots: says how many trials may run at once.
        start: starts one; its future raises what `work` does, or `LostError`.
    """

    slots: Callable[[], int]
    start: Callable[[Task], Future[None]]


class Engine(Protocol):
    """A choice of where trials run."""

    @property
    def workers(self) -> int:
        """How many trials run side by side on a machine, or on a GPU of a cluster."""

    def open(self) -> AbstractContextManager[Pool]:
        """Make the workers ready; when the block is left, those that are still at a trial are ended."""

    def read(self, batches: Iterable[list[File]], read: Reader) -> Iterator[Batch]:
        """Yield what batches of files give, as `replication.corpora.sandbox.read_guarded` does."""


def chosen(word: str, *, workers: int | None, address: str | None) -> Engine:
    """Return the engine for the words of a command line.

    Raises:
        UserError: for words that do not go together.
    """
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: at least one is needed")
    if word == "serial" and workers not in {None, 1}:
        raise UserError(f"--workers {workers}: --engine serial has one; leave one of the two out")
    if word != "ray" and address is not None:
        raise UserError(f"--address {address}: add --engine ray, for no other has an address")
    if word == "serial":
        return Process(workers=1)
    workers = workers or default_workers()
    return Ray(workers=workers, address=address) if word == "ray" else Process(workers=workers)


@dataclass(frozen=True, kw_only=True)
class Process:
    """Processes on this machine, `workers` at a time, which share its cores and its GPU.

    A single worker's trials have processes of their own too: what kills one of them leaves the others alone.
    """

    workers: int

    @contextmanager
    def open(self) -> Iterator[Pool]:
        """Yield the workers: forked from a clean process that has imported everything once, they start in no time."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        started: list[ForkServerProcess] = []

        def start(task: Task) -> Future[None]:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work_here, args=(task, theirs), daemon=True)
            process.start()
            theirs.close()  # then the end of the process ends the pipe
            started.append(process)
            return watchers.submit(_watch, process, ours)

        with ThreadPoolExecutor(self.workers) as watchers:
            try:
                yield Pool(slots=lambda: self.workers, start=start)
            finally:
                for process in started:
                    process.kill()

    def read(self, batches: Iterable[list[File]], read: Reader) -> Iterator[Batch]:
        """Yield what batches of files give, read on all cores."""
        return read_guarded(batches, read)


def _work_here(task: Task, mistake: Connection) -> None:
    for request in (signal.SIGINT, signal.SIGTERM):  # the parent hears it too, and ends its workers by SIGKILL
        signal.signal(request, signal.SIG_IGN)
    end_with_parent()
    try:
        work(task)
    except UserError as error:
        mistake.send_bytes(str(error).encode())


def _watch(process: ForkServerProcess, mistake: Connection) -> None:
    process.join()
    with mistake, suppress(EOFError, OSError):  # nothing, or a part
        raise UserError(mistake.recv_bytes().decode())
    if process.exitcode == -signal.SIGKILL:
        raise LostError(f"its process was killed, as happens where memory runs out: {MEMORY_ADVICE}")
    if process.exitcode:
        raise LostError(f"its process ended with code {process.exitcode}")


@dataclass(frozen=True, kw_only=True)
class Ray:
    """A cluster of Ray (Moritz et al. 2018, OSDI): machines with this code that share the folder of the trials.

    A trial whose machine is lost is started again on another, and goes on from its checkpoint.

    Attributes:
        workers: trials side by side on each GPU; where there is none, on a machine with as many cores as this one.
        address: of the cluster; None for the one of RAY_ADDRESS, or of this machine, where one is made if need be.
        retries: how often a trial is started again.
    """

    workers: int
    address: str | None = None
    retries: int = 3

    @contextmanager
    def open(self) -> Iterator[Pool]:
        """Yield the workers: on each machine as many as it has room for.

        Raises:
            UserError: without Ray, if the cluster does not answer, or if no machine has room for a trial.
        """
        ray = _connect(self)
        with ExitStack() as stack:
            stack.callback(ray.shutdown)  # which ends the tasks too
            gpu = "GPU" in ray.cluster_resources()
            needs = {"CPU": 1, "GPU": 1 / self.workers} if gpu else {"CPU": threads_of(self.workers)}
            options = {f"num_{name.lower()}s": amount for name, amount in needs.items()}
            # A trial has a process of its own, as with `Process`, which is not used for another.
            remote = ray.remote(max_calls=1, max_retries=self.retries, scheduling_strategy="SPREAD", **options)(
                _work_there
            )

            def room() -> int:
                return sum(_room(machine["Resources"], needs) for machine in ray.nodes() if machine["Alive"])

            @cache
            def mark(folder: Path) -> Path:
                folder.mkdir(parents=True, exist_ok=True)
                return Path(stack.enter_context(tempfile.NamedTemporaryFile(dir=folder, prefix=".shared-")).name)

            def start(task: Task) -> Future[None]:
                return _settled(remote.remote(task, mark(task.trial.comparison)).future())

            if not room():
                share = " and ".join(f"{amount:g} {name}" for name, amount in needs.items())
                raise UserError(f"no machine of the Ray cluster has the {share} that a trial takes: raise --workers")
            yield Pool(slots=lambda: max(1, room()), start=start)  # with no machine left, one waits for the next

    def read(self, batches: Iterable[list[File]], read: Reader) -> Iterator[Batch]:
        """Yield what batches of files give, a group of them on one core of the cluster; each machine guards itself."""
        ray = _connect(self)
        with ExitStack() as stack:
            stack.callback(ray.shutdown)
            remote = ray.remote(num_cpus=1, max_retries=self.retries, scheduling_strategy="SPREAD")(_read_there)
            ahead = int(ray.cluster_resources().get("CPU", 1))  # a task for each core; their files are in memory here
            rest, waiting = iter(batches), deque[Any]()
            while group := list(islice(rest, GROUP)):
                waiting.append(remote.remote(group, read))
                if len(waiting) > ahead:
                    yield from ray.get(waiting.popleft())
            while waiting:
                yield from ray.get(waiting.popleft())


def _connect(engine: Ray) -> Any:  # noqa: ANN401 - the module, whose import is lazy
    """Import ray so that it tells nobody and prints little, say what it takes, and connect to the cluster."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what it warns of if it is not said
    os.environ.setdefault("RAY_task_oom_retries", str(engine.retries))  # what is too large for every machine ends
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray needs Ray, which is not installed: pip install 'etude[ray]'") from None
    print(TRUST, file=sys.stderr)
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    there = engine.address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        if there != "auto":
            _check(there)
        ray.init(there, **quiet)
    except (ConnectionError, RuntimeError) as error:  # the latter for other versions of Ray or Python
        if there != "auto":
            reason = " ".join(str(error).split())
            raise UserError(f"the Ray cluster at {there} cannot be used ({reason}); see `ray status` there") from None
        ray.init("local", object_store_memory=OBJECT_STORE, **quiet)
    return ray


def _check(address: str) -> None:
    """Raise a ConnectionError where nothing listens, of which Ray itself would be sure after minutes only."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise ConnectionError(str(error)) from None


def _room(resources: Mapping[str, float], needs: Mapping[str, float]) -> int:
    return min(int(resources.get(name, 0) / amount + 1e-6) for name, amount in needs.items())


def _work_there(task: Task, mark: Path) -> None:
    if not mark.exists():
        raise UserError(
            f"{os.uname().nodename} does not see {mark.parent} as it is on the machine that started it: all machines of"
            " the cluster must share this folder, under the same path"
        )
    work(task)


def _read_there(batches: list[list[File]], read: Reader) -> list[Batch]:
    return list(read_guarded(batches, read, processes=1))


def _settled(future: Future[None]) -> Future[None]:
    """Return a future that raises what the task raised, or that it was lost, instead of Ray's own exceptions."""
    from ray.exceptions import RayTaskError

    settled = Future[None]()

    def settle(ended: Future[None]) -> None:
        error = ended.exception()
        if error is None:
            settled.set_result(None)
        elif isinstance(error, RayTaskError) and isinstance(error.cause, UserError):
            settled.set_exception(error.cause)
        else:
            print(error, file=sys.stderr)
            settled.set_exception(LostError((str(error) or repr(error)).splitlines()[0]))

    future.add_done_callback(settle)
    return settled

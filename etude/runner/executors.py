"""Executors: the places where trials run. Each runs `work` on a task and returns a future of how the worker ended."""

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

from etude.runner.worker import Task, work
from replication.corpora.sandbox import read_guarded
from replication.util.errors import UserError, error_text
from replication.util.processes import end_with_parent
from replication.util.system_errors import MEMORY_ADVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess

    from replication.corpora.sandbox import Batch, File, Reader

# What trials import. The first optimizer of a process imports torch._dynamo, compiled or not.
PRELOADED = ["etude.trial.stages", "replication.models.diffusion_lm", "baselines.autoregressive", "torch._dynamo"]
PRELOADED += ["eval.scoring.reference", "pandas", "scipy.stats", "sklearn.linear_model", "muspy"]
GROUP = 4  # batches of files per Ray task: starting its guarded process takes as long as reading two
OBJECT_STORE = 100 * 2**20  # bytes; trials need next to none, and Ray's default is a third of the memory
TRUST = "Ray lets anyone who reaches its ports run code: use it in trusted networks only"


class WorkerLostError(RuntimeError):
    """A worker ended without reporting why."""


@dataclass(frozen=True, kw_only=True)
class WorkerPool:
    """Workers that are ready to run trials.

    Attributes:
        slots: Function that returns how many trials can run at once.
        start: Function that starts a trial; its future raises what `work` raises, or `WorkerLostError`.
    """

    slots: Callable[[], int]
    start: Callable[[Task], Future[None]]


class Executor(Protocol):
    """A place where trials run."""

    @property
    def workers(self) -> int:
        """Number of trials side by side on a machine, or on each GPU of a cluster."""

    def open(self) -> AbstractContextManager[WorkerPool]:
        """Make the workers ready; leaving the block ends those that are still running a trial."""

    def read(self, batches: Iterable[list[File]], read: Reader) -> Iterator[Batch]:
        """Yield the contents of batches of files, as `replication.corpora.sandbox.read_guarded` does."""


def make_executor(engine: str, *, workers: int | None, address: str | None) -> Executor:
    """Return the executor for the options --engine, --workers and --address.

    Raises:
        UserError: If the options contradict each other.
    """
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: give a number from 1")
    if engine == "serial" and workers not in {None, 1}:
        raise UserError(f"--workers {workers}: --engine serial has one worker; leave out one of the two options")
    if engine != "ray" and address is not None:
        raise UserError(f"--address {address}: only --engine ray has an address; add it or leave out the address")
    if engine == "serial":
        return ProcessExecutor(workers=1)
    workers = workers or default_workers()
    return RayExecutor(workers=workers, address=address) if engine == "ray" else ProcessExecutor(workers=workers)


def default_workers() -> int:
    """Return how many trials run side by side by default: one on a GPU, else one per core and at most 4."""
    import torch

    return 1 if torch.cuda.is_available() else min(4, os.cpu_count() or 1)


def threads_per_worker(workers: int) -> int:
    """Return the number of threads of each of `workers` workers; the bits of a result depend on it."""
    return max(1, (os.cpu_count() or 1) // workers)


@dataclass(frozen=True, kw_only=True)
class ProcessExecutor:
    """Processes on this machine, `workers` at a time, which share its cores and its GPU.

    Each trial has a process of its own, even with a single worker: what kills one leaves the others alone. This needs
    the standard library only, since it also runs on borrowed machines.
    """

    workers: int

    @contextmanager
    def open(self) -> Iterator[WorkerPool]:
        """Yield the workers, which start quickly: they are forked from a process that has imported everything once."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        started: list[ForkServerProcess] = []

        def start(task: Task) -> Future[None]:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work_here, args=(task, theirs), daemon=True)
            process.start()
            theirs.close()  # so that the pipe ends with the process
            started.append(process)
            return watchers.submit(_watch, process, ours)

        with ThreadPoolExecutor(self.workers) as watchers:
            try:
                yield WorkerPool(slots=lambda: self.workers, start=start)
            finally:
                for process in started:
                    process.kill()

    def read(self, batches: Iterable[list[File]], read: Reader) -> Iterator[Batch]:
        """Yield the contents of batches of files, read on all cores."""
        return read_guarded(batches, read)


def _work_here(task: Task, errors: Connection) -> None:
    for request in (signal.SIGINT, signal.SIGTERM):  # the parent receives it too and ends its workers by SIGKILL
        signal.signal(request, signal.SIG_IGN)
    end_with_parent()
    try:
        work(task)
    except UserError as error:
        errors.send_bytes(str(error).encode())


def _watch(process: ForkServerProcess, errors: Connection) -> None:
    process.join()
    with errors, suppress(EOFError, OSError):  # nothing was sent, or a part
        raise UserError(errors.recv_bytes().decode())
    if process.exitcode == -signal.SIGKILL:
        raise WorkerLostError(f"its process was killed, which happens when memory runs out: {MEMORY_ADVICE}")
    if process.exitcode:
        raise WorkerLostError(f"its process ended with exit code {process.exitcode}")


@dataclass(frozen=True, kw_only=True)
class RayExecutor:
    """A cluster of Ray (Moritz et al. 2018, OSDI): machines with this code that share the folder of the trials.

    A trial whose machine is lost is started again on another one and resumes from its checkpoint.

    Attributes:
        workers: Number of trials side by side on each GPU, or on a machine without GPU and as many cores as this one.
        address: Address of the cluster; None means RAY_ADDRESS, else the cluster of this machine, started if needed.
        retries: Number of times that a trial is started again.
    """

    workers: int
    address: str | None = None
    retries: int = 3

    @contextmanager
    def open(self) -> Iterator[WorkerPool]:
        """Yield the workers, on each machine as many as it has room for.

        Raises:
            UserError: If Ray is not installed, the cluster does not answer, or no machine has room for a trial.
        """
        ray = _connect(self)
        with ExitStack() as stack:
            stack.callback(ray.shutdown)  # which ends the tasks too
            gpu = "GPU" in ray.cluster_resources()
            needs = {"CPU": 1, "GPU": 1 / self.workers} if gpu else {"CPU": threads_per_worker(self.workers)}
            options = {f"num_{name.lower()}s": amount for name, amount in needs.items()}
            # As with `ProcessExecutor`, each trial has a process of its own, which is not reused.
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
                return _translated(remote.remote(task, mark(task.trial.comparison)).future())

            if not room():
                share = " and ".join(f"{amount:g} {name}" for name, amount in needs.items())
                raise UserError(f"no machine of the Ray cluster has the {share} that a trial takes: raise --workers")
            yield WorkerPool(slots=lambda: max(1, room()), start=start)  # with no machine left, wait for the next one

    def read(self, batches: Iterable[list[File]], read: Reader) -> Iterator[Batch]:
        """Yield the contents of batches of files, read by guarded processes on all cores of the cluster."""
        ray = _connect(self)
        with ExitStack() as stack:
            stack.callback(ray.shutdown)
            remote = ray.remote(num_cpus=1, max_retries=self.retries, scheduling_strategy="SPREAD")(_read_there)
            ahead = int(ray.cluster_resources().get("CPU", 1))  # one task per core; their files are in memory here
            rest, waiting = iter(batches), deque[Any]()
            while group := list(islice(rest, GROUP)):
                waiting.append(remote.remote(group, read))
                if len(waiting) > ahead:
                    yield from ray.get(waiting.popleft())
            while waiting:
                yield from ray.get(waiting.popleft())


def _connect(executor: RayExecutor) -> Any:  # noqa: ANN401 - the module, whose import is lazy
    """Import ray without its usage statistics and its output, print the warning about trust, and connect."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray warns if it is not set
    os.environ.setdefault("RAY_task_oom_retries", str(executor.retries))  # so that a trial too large for all ends
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray needs Ray, which is not installed: pip install 'etude[ray]'") from None
    print(TRUST, file=sys.stderr)
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    there = executor.address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        if there != "auto":
            _check_address(there)
        ray.init(there, **quiet)
    except (ConnectionError, RuntimeError) as error:  # RuntimeError: other versions of Ray or Python
        if there != "auto":
            raise UserError(
                f"the Ray cluster at {there} cannot be used ({error_text(error)}); see `ray status` there"
            ) from None
        ray.init("local", object_store_memory=OBJECT_STORE, **quiet)
    return ray


def _check_address(address: str) -> None:
    """Raise a ConnectionError if nothing listens at an address; Ray itself would try for minutes."""
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
            f"{os.uname().nodename} does not see {mark.parent} as it is on the machine that started the run: all"
            " machines of the cluster must share this folder, under the same path"
        )
    work(task)


def _read_there(batches: list[list[File]], read: Reader) -> list[Batch]:
    return list(read_guarded(batches, read, processes=1))


def _translated(future: Future[None]) -> Future[None]:
    """Return a future that raises the worker's UserError or a WorkerLostError instead of Ray's own exceptions."""
    from ray.exceptions import RayTaskError

    translated = Future[None]()

    def translate(ended: Future[None]) -> None:
        error = ended.exception()
        if error is None:
            translated.set_result(None)
        elif isinstance(error, RayTaskError) and isinstance(error.cause, UserError):
            translated.set_exception(error.cause)
        else:
            print(error, file=sys.stderr)
            translated.set_exception(WorkerLostError((str(error) or repr(error)).splitlines()[0]))

    future.add_done_callback(translate)
    return translated

"""Worker processes that end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pebble import ProcessPool


@contextmanager
def process_pool(
    workers: int, *, preload: Sequence[str] = (), fresh: bool = False, memory: int | None = None
) -> Iterator[ProcessPool]:
    """Yield a pool of worker processes for functions of modules; on exit, drop waiting tasks and kill running ones.

    A worker that dies costs its own task only, whose future raises `pebble.ProcessExpired`. Workers end when this
    process ends, even if it is killed.

    Args:
        workers: Number of processes.
        preload: Modules that a fork server imports once for all workers. A process has one fork server, so the modules
            of its first pool count. Without modules, each worker is a new interpreter.
        fresh: Whether each task runs in a new process.
        memory: Limit of the address space of a worker in bytes.
    """
    from pebble import ProcessPool

    context = multiprocessing.get_context("forkserver" if preload else "spawn")
    if preload:
        context.set_forkserver_preload(list(preload))
    others = multiprocessing.active_children()
    with ProcessPool(workers, int(fresh), initializer=_begin, initargs=[memory], context=context) as pool:
        try:
            yield pool
        finally:
            pool.stop()  # type: ignore[no-untyped-call]  # not annotated; without it, leaving waits for all tasks
            # Pebble would close the channels first: a worker that is just starting would print a traceback.
            for process in multiprocessing.active_children():
                if process not in others:
                    process.kill()


def _begin(memory: int | None) -> None:
    end_with_parent()
    if memory is not None:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (memory if hard == resource.RLIM_INFINITY else min(memory, hard), hard))


def end_with_parent() -> None:
    """End this process when the one that started it ends, even if that is killed."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

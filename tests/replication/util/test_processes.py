from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from pebble import ProcessExpired

from replication.util.processes import process_pool

ROOT = Path(__file__).parents[3]
PRELOAD = ["replication.util.processes"]


def pause(path: Path, seconds: float) -> None:
    """Write the number of this process, then be busy."""
    path.with_suffix(".draft").write_text(str(os.getpid()), encoding="utf-8")
    path.with_suffix(".draft").rename(path)
    time.sleep(seconds)


def process_of(path: Path) -> int:
    """Wait for a file of `pause` and return the number in it."""
    while not path.exists():
        time.sleep(0.01)
    return int(path.read_text(encoding="utf-8"))


def runs(process: int) -> bool:
    with suppress(ProcessLookupError, FileNotFoundError):
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return False


@pytest.mark.parametrize("preload", [[], PRELOAD])
def test_a_worker_is_used_for_many_tasks_unless_each_is_to_have_a_fresh_one(preload: list[str]) -> None:
    for fresh in (False, True):
        with process_pool(1, preload=preload, fresh=fresh) as pool:
            tasks = [pool.schedule(os.getpid) for _ in range(3)]
            assert len({task.result() for task in tasks}) == (3 if fresh else 1)


@pytest.mark.parametrize("preload", [[], PRELOAD])
def test_a_worker_has_a_limit_of_memory(preload: list[str]) -> None:
    with process_pool(1, preload=preload, memory=2**30) as pool:
        assert pool.schedule(bytearray, args=[10]).result() == bytearray(10)
        with pytest.raises(MemoryError):
            pool.schedule(bytearray, args=[2**30]).result()


def test_a_worker_that_is_killed_costs_its_own_task_only() -> None:
    with process_pool(1, preload=PRELOAD) as pool:
        number = pool.schedule(os.getpid).result()
        lost = pool.schedule(os.kill, args=[number, signal.SIGKILL])
        with pytest.raises(ProcessExpired):
            lost.result()
        assert pool.schedule(os.getpid).result() != number


def test_leaving_drops_what_waits_and_kills_what_runs(tmp_path: Path) -> None:
    since = time.monotonic()
    with process_pool(1, preload=PRELOAD) as pool:
        tasks = [pool.schedule(pause, args=[tmp_path / str(number), 100.0]) for number in range(2)]
        process = process_of(tmp_path / "0")
    assert time.monotonic() - since < 50
    assert not runs(process)
    assert not (tmp_path / "1").exists()
    assert not any(task.done() and not task.exception() for task in tasks)
    assert not [child for child in multiprocessing.active_children() if child.pid == process]


@pytest.mark.parametrize("preload", [[], PRELOAD])
def test_workers_end_when_their_parent_is_killed(tmp_path: Path, preload: list[str]) -> None:
    script = tmp_path / "script.py"
    lines = (
        "import sys, time",
        "from pathlib import Path",
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})",
        "from test_processes import pause",
        "from replication.util.processes import process_pool",
        "if __name__ == '__main__':",
        f"    with process_pool(1, preload={preload}) as pool:",
        f"        pool.schedule(pause, args=[Path({str(tmp_path / 'worker')!r}), 100.0]).result()",
    )
    script.write_text("\n".join(lines), encoding="utf-8")
    with subprocess.Popen([sys.executable, str(script)], env=os.environ | {"PYTHONPATH": str(ROOT)}) as parent:
        worker = process_of(tmp_path / "worker")
        parent.kill()
    deadline = time.monotonic() + 20
    while runs(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(worker)

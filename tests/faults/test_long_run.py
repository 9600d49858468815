"""The short version of long_run.py, for resources that can be counted exactly."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from tests.faults.long_run import Held, grown, rounds, slopes

if TYPE_CHECKING:
    from pathlib import Path

HELD = Held(trials=0, memory=100.0, helpers=300.0, processes=3, files=20, threads=8, shared=0, temporary=3)


def test_trials_leave_no_process_no_file_and_no_thread(tmp_path: Path) -> None:
    _, first, second = islice(rounds(tmp_path, here=False, names=["ngram"]), 3)
    for name in ("processes", "files", "threads"):
        assert getattr(second, name) <= getattr(first, name), name


def test_growth_is_told_from_fluctuation() -> None:
    steady = [replace(HELD, trials=5 * number, files=20 + number % 2, memory=100 + number / 50) for number in range(40)]
    assert grown(slopes(steady)) == []
    leaking = [replace(each, threads=8 + number // 10, memory=100 + number / 10) for number, each in enumerate(steady)]
    assert grown(slopes(leaking)) == ["memory", "threads"]

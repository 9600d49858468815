"""The sessions of nox: where they run and with which words."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.program import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# The project's sessions, with a program that prints its folder and its arguments in place of the interpreter.
NOXFILE = """
import importlib.util, pathlib
spec = importlib.util.spec_from_file_location("sessions", {noxfile!r})
sessions = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sessions)
sessions._python = lambda *_: {program!r}
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["replicate", "--", "--corpus", "my-midi"], ["etude", "run", "--root", str(ROOT), "--corpus", "my-midi"]),
        (["ui", "--", "--root", "there"], ["etude", "ui", "--root", str(ROOT), "--root", "there"]),  # the last counts
        (["bench", "--", "compare", "a.json", "b.json"], ["benchmarks.compare", "a.json", "b.json"]),
        (["bench", "--", "learning-curve", "--output", "there"], ["benchmarks.learning_curve", "--output", "there"]),
    ],
)
def test_a_session_runs_in_the_folder_of_its_caller(words: list[str], expected: list[str], tmp_path: Path) -> None:
    program, noxfile, folder = tmp_path / "program", tmp_path / "noxfile.py", tmp_path / "caller"
    program.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    noxfile.write_text(NOXFILE.format(noxfile=str(ROOT / "noxfile.py"), program=str(program)), encoding="utf-8")
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "nox", "--noxfile", noxfile, "--session", *words],
        cwd=folder,
        env=os.environ | {"NOX_ENVDIR": str(tmp_path / "nox")},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(folder), "-P", "-m", *expected]

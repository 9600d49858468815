"""The exit of programs."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replication.util.errors import UserError
from replication.util.program import command, end_with

if TYPE_CHECKING:
    from collections.abc import Callable


def raising(error: BaseException) -> Callable[[], int]:
    def run() -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("take another"), 2, "etude: take another\n"),
        (OSError(errno.ENOSPC, "-", "runs"), 2, "etude: runs: No space left on device; free some space and run the"),
        (OSError(errno.EROFS, "-", "runs"), 2, "etude: runs: Read-only file system; allow writing there and"),
        (MemoryError(), 2, "etude: memory ran out: choose fewer --workers or a smaller --scale"),
        (KeyboardInterrupt(), 130, "\netude: interrupted\n"),
    ],
)
def test_a_problem_that_the_user_can_fix_is_a_sentence_and_a_code(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        end_with(raising(error), name="etude")
    assert ended.value.code == code
    assert capsys.readouterr().err.startswith(message)


def test_a_bug_keeps_its_traceback_and_success_its_code() -> None:
    with pytest.raises(OSError, match="loop"):
        end_with(raising(OSError(errno.ELOOP, "loop")), name="etude")
    with pytest.raises(SystemExit) as ended:
        end_with(lambda: 75, name="etude")
    assert ended.value.code == 75


def test_a_hint_is_a_command_that_works_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bin_ = tmp_path / "venv" / "bin"
    bin_.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(bin_ / "python"))
    monkeypatch.setenv("PATH", os.defpath)
    assert command("ui", root=tmp_path) == f"{bin_ / 'python'} -m etude ui"  # not installed
    (bin_ / "etude").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    (bin_ / "etude").chmod(0o755)
    assert command("ui", root=tmp_path) == "venv/bin/etude ui"
    assert command("ui", root=tmp_path / "my runs") == "venv/bin/etude ui --root 'my runs'"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert command("ui", root=tmp_path) == f"{bin_ / 'etude'} ui --root {tmp_path}"
    monkeypatch.setenv("PATH", f"{bin_}{os.pathsep}{os.defpath}")
    hint = command("corpus", "fetch", "a b", root=Path("/it's %20 there"))
    done = subprocess.run(hint, shell=True, check=True, capture_output=True, text=True)  # noqa: S602 - our own text
    assert done.stdout.splitlines() == shlex.split(hint)[1:] == ["corpus", "fetch", "a b", "--root", "/it's %20 there"]

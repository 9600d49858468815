"""The exit of programs."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from replication.util.errors import UserError
from replication.util.program import end_with

if TYPE_CHECKING:
    from collections.abc import Callable


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


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

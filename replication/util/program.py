"""Run a program and exit: with a code, and with one sentence if the user can fix the problem."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from replication.util.errors import UserError
from replication.util.system_errors import shortage_message
from replication.util.text import printable, printable_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

MISTAKE, INTERRUPTED, PIPE_CLOSED = 2, 130, 141  # exit codes; the last two are those of shells for signals


def end_with(run: Callable[[], int | None], *, name: str) -> NoReturn:
    """Run the command line of a program and exit.

    A `UserError`, and an error of the disk or the memory, is printed to stderr as one sentence.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a character that the terminal cannot encode must not end a run
            stream.reconfigure(errors="replace")
    try:
        code = run()
        sys.stdout.flush()
    except UserError as error:
        code = _end(MISTAKE, f"{name}: {error}")
    except KeyboardInterrupt:
        code = _end(INTERRUPTED, f"\n{name}: interrupted")
    except BrokenPipeError:
        if not _is_stdout_closed():
            raise
        _discard_stdout()
        code = PIPE_CLOSED  # the reader has enough, as in `etude list | head`
    except Exception as error:
        if (message := shortage_message(error)) is None:  # a defect
            raise
        code = _end(MISTAKE, f"{name}: {message}")
    sys.exit(code)


def command(*words: str, root: Path | None = None) -> str:
    """Return the shell command that runs `etude` of this environment with some arguments from the current folder.

    Args:
        words: Arguments.
        root: Folder of runs/; it is added as --root unless it is the current folder.
    """
    script = Path(sys.executable).with_name("etude")
    found, here = shutil.which("etude"), Path.cwd()
    if found and Path(found).parent.resolve() == script.parent.resolve():
        program = ["etude"]
    elif script.exists():
        program = [_near(script, here)]
    else:  # the package is on the search path, but not installed
        program = [sys.executable, "-m", "etude"]
    place = [] if root is None or root.resolve() == here else ["--root", _near(root.resolve(), here)]
    return printable(shlex.join([*program, *words, *place]))


def _near(path: Path, folder: Path) -> str:
    """Return a path relative to a folder above it, else the whole path."""
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _end(code: int, message: str) -> int:
    with suppress(OSError):  # stderr may be on a full disk
        print(printable_lines(message), file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # as stdout does, which Python would try again at exit
        _discard_stdout()
    return code


def _is_stdout_closed() -> bool:
    """Return whether stdout is a pipe that nothing reads any more."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _discard_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

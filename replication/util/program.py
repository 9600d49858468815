"""Run a program and exit: with a code, and with one sentence if the user can fix the problem."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING

from replication.util.errors import UserError
from replication.util.system_errors import shortage_message
from replication.util.text import printable_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

MISTAKE, INTERRUPTED = 2, 130  # exit codes; shells use 130 for Ctrl-C


def end_with(command: Callable[[], int | None], *, name: str) -> NoReturn:
    """Run the command line of a program and exit.

    A `UserError`, and an error of the disk or the memory, is printed to stderr as one sentence.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a character that the terminal cannot encode must not end a run
            stream.reconfigure(errors="replace")
    try:
        code = command()
        sys.stdout.flush()
    except UserError as error:
        code = _end(MISTAKE, f"{name}: {error}")
    except KeyboardInterrupt:
        code = _end(INTERRUPTED, f"\n{name}: interrupted")
    except Exception as error:
        if (said := shortage_message(error)) is None:  # a defect
            raise
        code = _end(MISTAKE, f"{name}: {said}")
    sys.exit(code)


def _end(code: int, said: str) -> int:
    with suppress(OSError):  # stderr may be on a full disk
        print(printable_lines(said), file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # stdout too: Python would flush it again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code

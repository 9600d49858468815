"""How every program of the suite ends: with an exit code, and with one sentence where the user can mend it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING

from replication.util.errors import UserError
from replication.util.system_errors import shortage_message
from replication.util.text import tame

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

MISTAKE, INTERRUPTED = 2, 130  # exit codes; the latter as shells have it for Ctrl-C


def end_with(command: Callable[[], int | None], *, name: str) -> NoReturn:
    """Run the command line of a program and exit.

    A mistake of the user, and what the machine refuses, its disk or its memory, is a sentence on stderr.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what the terminal's encoding does not have must not end a run
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
    with suppress(OSError):  # stderr may lie on a full disk
        print(tame(said), file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # as stdout does, which Python would try again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code

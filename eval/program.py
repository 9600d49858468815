"""How every program of the suite ends: with an exit code, and with one sentence where the user can mend it."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING

from replication.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

MISTAKE, INTERRUPTED = 2, 130  # exit codes; the latter as shells have it for Ctrl-C
# What a disk says that is full, or a folder that may not be written to.
REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}


def tame(text: str) -> str:
    """Return a text without what would command a terminal: files may be called anything."""
    return "".join(mark if mark.isprintable() or mark == "\n" else "\N{REPLACEMENT CHARACTER}" for mark in text)


def end_with(command: Callable[[], int | None], *, name: str) -> NoReturn:
    """Run the command line of a program and exit; a mistake of the user or of the disk is a sentence on stderr."""
    try:
        code = command()
    except UserError as error:
        print(f"{name}: {tame(str(error))}", file=sys.stderr)
        code = MISTAKE
    except OSError as error:
        if error.errno not in REFUSALS:  # a defect
            raise
        place = error.filename or "the disk that is written to"
        print(f"{name}: {tame(str(place))}: {error.strerror}; make room or give permission there", file=sys.stderr)
        code = MISTAKE
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        code = INTERRUPTED
    sys.exit(code)

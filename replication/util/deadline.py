"""Time limits for work on a machine that is available for a limited time."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

UNFINISHED = os.EX_TEMPFAIL  # exit code of a program that the same command resumes


class TimeUpError(KeyboardInterrupt):
    """The time limit has expired. Ends the work as Ctrl-C does, so that there is one kind of interruption."""


@contextmanager
def time_limit(minutes: float | None) -> Iterator[None]:
    """Raise `TimeUpError` in a block of the main thread after a number of minutes; None sets no limit.

    Raises:
        UserError: If the limit is not a positive number, or is larger than timers support.
    """
    if minutes is None:
        yield
        return
    if not 0 < 60 * minutes < threading.TIMEOUT_MAX:
        raise UserError(f"--minutes {minutes:g}: give a number above 0")

    def stop(*_: object) -> NoReturn:
        raise TimeUpError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

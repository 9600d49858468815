"""Work that must end in time, as on a machine that is lent by the hour."""

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

UNFINISHED = os.EX_TEMPFAIL  # the exit code of a program that the same command goes on with


class TimeUpError(KeyboardInterrupt):
    """The time is over: ends the work as Ctrl-C does, so that there is one way of being interrupted."""


@contextmanager
def at_most(minutes: float | None) -> Iterator[None]:
    """Raise `TimeUpError` in a block of the main thread after so many minutes; None sets no limit.

    Raises:
        UserError: for a limit that is no positive number, or more than timers can count.
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

"""A line to a server on this machine that can be cut, held and slowed down."""

from __future__ import annotations

import math
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Line:
    """A TCP proxy in front of a port of 127.0.0.1; its fields may be changed while it runs.

    Attributes:
        port: where it listens.
        asked: bytes that were to go to the server.
        passed: bytes that went through, both ways.
        answered: bytes of these that came from the server.
        limit: bytes after which it is cut.
        blip: whether a cut ends the connections that are open and no more; else the line is down until it is mended.
        delay: seconds that every request waits.
        down: whether new connections are closed at once.
    """

    def __init__(self, there: int) -> None:
        self.there = there
        self._held = threading.Event()
        self.mend()
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def mend(self) -> None:
        """Be a line like any other, and let through what was held."""
        self.asked = self.passed = self.answered = 0
        self.limit, self.delay = math.inf, 0.0
        self.blip = self.down = False
        self._held.set()
        self._held = threading.Event()

    def cut(self) -> None:
        """End all connections, in the middle of what they are at."""
        self.down, self.limit = not self.blip, math.inf
        with self._lock:
            ends, self._ends = self._ends, set()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def listen(self) -> None:
        """Take connections until the listener is closed."""
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.down:
                    near.close()
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", self.there))
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._ends |= {near, far}
                for source, target in ((near, far), (far, near)):
                    words = {"answers": source is far}
                    threading.Thread(target=self._pump, args=(source, target), kwargs=words, daemon=True).start()

    def close(self) -> None:
        """End it all."""
        self.mend()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _pump(self, source: socket.socket, target: socket.socket, *, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self.asked += len(data) * (not answers)
                if not answers and self.delay:
                    self._held.wait(self.delay)
                with self._lock:
                    part = data[: max(0, int(min(self.limit - self.passed, len(data))))]
                    self.passed += len(part)
                    self.answered += len(part) * answers
                target.sendall(part)
                if len(part) < len(data):
                    self.cut()
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if answers:
            source.close()
            target.close()


@contextmanager
def line_to(there: int) -> Iterator[Line]:
    """Yield a line to a port of this machine."""
    line = Line(there)
    thread = threading.Thread(target=line.listen, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        line.close()
        thread.join()

"""A TCP proxy to a server on this machine that can be cut, stalled and slowed down."""

from __future__ import annotations

import math
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Proxy:
    """A TCP proxy in front of a port of 127.0.0.1. Fields may be changed while it runs.

    Attributes:
        port: Port on which the proxy listens.
        asked: Number of bytes that clients sent, whether or not they reached the server.
        passed: Number of bytes that went through in either direction.
        answered: Number of those bytes that came from the server.
        limit: Number of passed bytes after which all connections are cut.
        blip: Whether a cut only ends open connections. If false, the proxy refuses new ones until `reset`.
        delay: Seconds that every request waits.
        down: Whether new connections are closed at once.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._release = threading.Event()
        self.reset()
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def reset(self) -> None:
        """Behave like a healthy connection again and release delayed requests."""
        self.asked = self.passed = self.answered = 0
        self.limit, self.delay = math.inf, 0.0
        self.blip = self.down = False
        self._release.set()
        self._release = threading.Event()

    def cut(self) -> None:
        """End all connections, even in the middle of a message."""
        self.down, self.limit = not self.blip, math.inf
        with self._lock:
            ends, self._ends = self._ends, set()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def listen(self) -> None:
        """Accept connections until the listener is closed."""
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.down:
                    near.close()
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", self._server_port))
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._ends |= {near, far}
                for source, target in ((near, far), (far, near)):
                    words = {"answers": source is far}
                    threading.Thread(target=self._pump, args=(source, target), kwargs=words, daemon=True).start()

    def close(self) -> None:
        """Close the listener and all connections."""
        self.reset()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _pump(self, source: socket.socket, target: socket.socket, *, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self.asked += len(data) * (not answers)
                if not answers and self.delay:
                    self._release.wait(self.delay)
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
def proxy_to(port: int) -> Iterator[Proxy]:
    """Yield a running proxy to a port of this machine."""
    proxy = Proxy(port)
    thread = threading.Thread(target=proxy.listen, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()

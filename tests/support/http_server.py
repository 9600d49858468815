"""A real HTTP server on loopback that serves one file, in the ways in which servers differ and fail."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(kw_only=True)
class ServedFile:
    """The file that is served at `url`; may be changed while the server runs.

    Attributes:
        body: Content of the file.
        stop_after: Bytes after which the server waits for `go_on`.
        cut_after: Bytes after which the server closes the connection, whatever length it has promised.
        cuts: Number of requests whose connection is closed; None for all.
        go_on: Event that lets the server send the rest.
        requests: Headers of every request so far.
        url: Address of the file.
    """

    body: bytes
    stop_after: int | None = None
    cut_after: int | None = None
    cuts: int | None = None
    go_on: threading.Event = field(default_factory=threading.Event)
    requests: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


class _Server(ThreadingHTTPServer):
    def __init__(self, served: ServedFile) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.served = served


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        served = cast("_Server", self.server).served
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
        elif self.path == "/file":
            served.requests.append(dict(self.headers))
            self._answer(served)
        else:
            self.send_error(404)

    def _answer(self, served: ServedFile) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(served.body)))
        self.end_headers()
        try:
            if served.cut_after and (served.cuts is None or len(served.requests) <= served.cuts):
                self.wfile.write(served.body[: served.cut_after])
            elif served.stop_after:
                self.wfile.write(served.body[: served.stop_after])
                served.go_on.wait(60)
                self.wfile.write(served.body[served.stop_after :])
            else:
                self.wfile.write(served.body)
        except ConnectionError:
            pass  # the client was killed

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(served: ServedFile) -> Iterator[ServedFile]:
    """Serve in a thread; `/moved` in the file's folder redirects to it, and other paths are not found."""
    with _Server(served) as server:
        served.url = f"http://127.0.0.1:{server.server_port}/file"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            served.go_on.set()
            server.shutdown()
            thread.join()

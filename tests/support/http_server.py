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
    """What is served at `url`; may be changed while the server runs.

    Attributes:
        body: the file.
        etag: what the server calls this edition; None for a server that says nothing.
        ranges: whether the server sends parts.
        stop_after: bytes after which it waits for `go_on`.
        cut_after: bytes after which it closes the connection, whatever length it has promised.
        go_on: lets it send the rest.
        requests: the headers of every request so far.
        answers: the status of every answer so far.
        url: where the file is.
    """

    body: bytes
    etag: str | None = '"first"'
    ranges: bool = True
    stop_after: int | None = None
    cut_after: int | None = None
    go_on: threading.Event = field(default_factory=threading.Event)
    requests: list[dict[str, str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
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
        same = self.headers.get("If-Range") in {None, served.etag}
        start = int(self.headers["Range"][6:-1]) if served.ranges and same and "Range" in self.headers else 0
        total = len(served.body)
        served.answers.append(200 if not start else 206 if start < total else 416)
        if served.answers[-1] == 416:
            self.send_error(416)
            return
        self.send_response(served.answers[-1])
        self.send_header("Content-Length", str(total - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if served.etag:
            self.send_header("ETag", served.etag)
        self.end_headers()
        try:
            if served.cut_after:
                self.wfile.write(served.body[start : served.cut_after])
            elif served.stop_after:
                self.wfile.write(served.body[start : served.stop_after])
                served.go_on.wait(60)
                self.wfile.write(served.body[max(start, served.stop_after) :])
            else:
                self.wfile.write(served.body[start:])
        except ConnectionError:
            pass  # the client was killed

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(served: ServedFile) -> Iterator[ServedFile]:
    """Serve in a thread; `/moved` beside the file redirects to it, and other paths are not found."""
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

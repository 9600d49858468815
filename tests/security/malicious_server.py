"""A tracking server that answers whatever a test tells it, to check that it cannot choose files on this machine."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

PROXIED = "mlflow-artifacts:/1/a/artifacts"  # where a server with --serve-artifacts keeps the files of a run


@dataclass(kw_only=True)
class MaliciousServer:
    """A server that claims to hold one experiment. Fields may be changed while it runs.

    Attributes:
        artifact_uri: Location that it gives for a run's artifacts.
        run_id: Id that it gives to every run.
        tags: Tags of the run that a search finds; None to find no run, so that the client creates one.
        uploads: Paths of the requests that uploaded files.
        uri: Address of the server.
    """

    artifact_uri: str = PROXIED
    run_id: str = "a" * 32
    tags: dict[str, str] | None = None
    uploads: list[str] = field(default_factory=list)
    uri: str = ""

    def answer(self, path: str) -> object:
        """Return the JSON answer to a request."""
        tags = [{"key": key, "value": value} for key, value in (self.tags or {}).items()]
        info = {"run_id": self.run_id, "experiment_id": "1", "status": "RUNNING", "artifact_uri": self.artifact_uri}
        run = {"info": info, "data": {"tags": tags}}
        experiment = {"experiment_id": "1", "name": "Etude", "artifact_location": self.artifact_uri}
        answers: dict[str, object] = {
            "experiments/get-by-name": {"experiment": experiment | {"lifecycle_stage": "active"}},
            "experiments/get": {"experiment": experiment | {"lifecycle_stage": "active"}},
            "runs/search": {"runs": [] if self.tags is None else [run]},
            "runs/create": {"run": run},
            "runs/get": {"run": run},
            "runs/update": {"run_info": info},
        }
        return next((answer for end, answer in answers.items() if path.partition("?")[0].endswith(end)), {})


class _Server(ThreadingHTTPServer):
    def __init__(self, fake: MaliciousServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fake = fake


class _Handler(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        fake = cast("_Server", self.server).fake
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "PUT":
            fake.uploads.append(self.path)
        content = json.dumps(fake.answer(self.path)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = _answer  # noqa: N815 - names of the standard library

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def malicious_server() -> Iterator[MaliciousServer]:
    """Run the server in a thread."""
    fake = MaliciousServer()
    with _Server(fake) as server:
        fake.uri = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()

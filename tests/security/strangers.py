"""A tracking server that means harm: it says of its runs, and of where their files are, whatever it is told to."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, cast

from eval.tracking.store import COMPLETE

if TYPE_CHECKING:
    from collections.abc import Iterator

PROXIED = "mlflow-artifacts:/1/a/artifacts"  # where files are that a server keeps itself


class _Server(ThreadingHTTPServer):
    def __init__(self, files: list[str], place: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.place = files, place


class _Handler(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server = cast("_Server", self.server)
        tags = {"scale": "smoke", "corpus": "synthetic", "kind": "reference", COMPLETE: "x"}
        run = {
            "info": {"run_id": "a" * 32, "experiment_id": "1", "status": "FINISHED", "artifact_uri": server.place},
            "data": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        experiment = {"experiment_id": "1", "name": "Etude", "artifact_location": server.place}
        files = [{"path": path, "is_dir": False, "file_size": 5} for path in server.files]
        answers = {
            "experiments/get-by-name": {"experiment": experiment | {"lifecycle_stage": "active"}},
            "runs/search": {"runs": [run]},
            "runs/get": {"run": run},
            "artifacts/list": {"files": files},
            "mlflow-artifacts/artifacts": {"files": files},
        }
        path = self.path.partition("?")[0]
        found = next((answer for ending, answer in answers.items() if path.endswith(ending)), None)
        content = b"owned" if found is None else json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer  # noqa: N815 - names of the standard library

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def stranger(files: list[str], place: str = PROXIED) -> Iterator[str]:
    """Serve in a thread a comparison with these files, kept at this place; yield the address."""
    with _Server(files, place) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()

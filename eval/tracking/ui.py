"""Start MLflow's page on the local store, opened at the comparison of variants, and stop all its processes."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from eval.tracking.store import database_uri, open_store
from eval.tracking.views import address
from replication.util.errors import UserError
from replication.util.program import command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 90.0  # seconds in which the server must answer; it takes about 15 on two cores
GRACE = 10.0  # seconds in which the server must stop
ASSISTANT = "On the first visit MLflow opens its Assistant beside the charts; once closed, it stays closed."


def serve(root: Path, port: int = 5000) -> int:
    """Serve the store at `root` until Ctrl-C; return the exit code."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops the server too
    try:
        print("Starting MLflow (about 15 seconds) ...", flush=True)
        with server(root, port) as (process, page):
            print(f"MLflow shows the trials at\n\n    {page}\n\n{ASSISTANT} Press Ctrl-C to stop.", flush=True)
            return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def server(root: Path, port: int = 5000) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start MLflow's server, yield it and the address of the saved view, and stop it with all its children."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError(
            "MLFLOW_TRACKING_URI is set; open the page of that server, or unset the variable to see the local store."
        )
    if not 0 <= port < 2**16:
        raise UserError(f"--port {port}: give a number from 0 to {2**16 - 1}")
    if not (root / "mlflow.db").exists():
        known = any(root.glob("runs/*/*/*/*/trial.json"))
        advice = command("sync" if known else "run", root=root)
        raise UserError(f"There is no MLflow store in {root} yet: run `{advice}` first.")
    store = open_store(root)  # as `etude sync` does: restores a deleted experiment and follows a moved folder
    port = _free(port)
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    words = [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    words += ["--backend-store-uri", database_uri(store.database)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - this interpreter
            words,
            cwd=root,
            env=os.environ | quiet,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C goes to this process, which stops the group below
        )
        try:
            if not _answers(process, port):
                log.seek(0)
                tail = b"\n".join(log.read().splitlines()[-15:]).decode(errors="replace")
                raise UserError(f"MLflow did not start within {PATIENCE:.0f} seconds. Its output was:\n{tail}")
            yield process, f"http://127.0.0.1:{port}/{address(store.experiment)}"
        finally:
            _end(process)


def _free(port: int) -> int:
    """Return `port` if it is free, else another free port."""
    for candidate in (port, 0):
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just released counts as free
            probe.bind(("127.0.0.1", candidate))
            return int(probe.getsockname()[1])
    raise UserError("No port is free on 127.0.0.1.")


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            if connection.getresponse().status == http.client.OK:
                return True
        time.sleep(0.25)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    for request in (signal.SIGTERM, signal.SIGKILL):  # SIGKILL for what is left of the group
        with suppress(ProcessLookupError):
            os.killpg(process.pid, request)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)

"""MLflow's page on the local store, with the real server."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import psutil
import pytest

from eval.tracking import ui
from eval.tracking.store import EXPERIMENT, Store, open_store
from replication.util.errors import UserError
from tests.support.program import PATHS, remote_hosts
from tests.support.trial_folders import make_trial

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def post(port: int, path: str, body: object) -> object:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())


def get(port: int, path: str) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


def status(port: int, headers: dict[str, str]) -> int:
    """Return the status of the answer to a request with these headers."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        words = {"Content-Type": "application/json"} | headers
        connection.request("POST", "/api/2.0/mlflow/experiments/search", '{"max_results": 1}', words)
        return connection.getresponse().status


def listening(family: list[int]) -> set[str]:
    """Return the addresses at which processes can be reached."""
    sockets = [one for pid in family for one in psutil.Process(pid).net_connections("inet")]
    return {one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN}


@pytest.mark.slow
def test_the_server_uses_a_free_local_port_and_leaves_no_process_behind(
    tmp_path: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "a %20%41?#'é"
    root.mkdir()
    shutil.copy(empty_store, root)
    store, folder = open_store(root), make_trial(tmp_path / "trial")
    store.sync(folder, final=True)
    store._connect().delete_experiment(store.experiment)  # as a user may in the browser
    observed = tmp_path_factory.mktemp("observed") / "observed"
    monkeypatch.setenv("CONNECTIONS", str(observed))
    monkeypatch.setenv("PYTHONPATH", PATHS)
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        occupied = taken.getsockname()[1]
        with ui.server(root, occupied) as (process, address):
            port = int(address.split("/")[2].rpartition(":")[2])
            assert port != occupied
            found = post(port, "/api/2.0/mlflow/experiments/search", {"max_results": 10})
            assert isinstance(found, dict)
            (number,) = (row["experiment_id"] for row in found["experiments"] if row["name"] == EXPERIMENT)
            assert f"/#/experiments/{number}/runs?" in address
            found = post(port, "/api/2.0/mlflow/runs/search", {"experiment_ids": [number]})
            assert isinstance(found, dict)
            (run,) = found["runs"]
            assert run["info"]["lifecycle_stage"] == "active"
            about = get(port, f"/get-artifact?run_uuid={run['info']['run_id']}&path=trial.json")
            assert about == (folder / "trial.json").read_bytes()
            family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
            assert listening(family) == {"127.0.0.1"}
            # Another site can point its own name at this server, or make a browser send requests to it.
            assert status(port, {"Host": f"evil.example:{port}"}) == http.client.FORBIDDEN
            assert status(port, {"Origin": "http://evil.example"}) == http.client.FORBIDDEN
            assert status(port, {}) == http.client.OK
    assert remote_hosts(observed) == set()
    assert not [pid for pid in family if psutil.pid_exists(pid)]
    assert {file.name for file in tmp_path.iterdir()} == {root.name, "trial"}
    assert {file.name for file in root.iterdir()} <= {"mlflow.db", "mlflow.db-shm", "mlflow.db-wal", "mlartifacts"}


def test_without_a_store_the_message_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"etude run --root .*` first"):
        ui.serve(tmp_path)
    make_trial(tmp_path / "runs" / "smoke" / "bach" / "e2e" / "0")
    with pytest.raises(UserError, match=r"etude sync --root .*` first"):
        ui.serve(tmp_path)


def test_an_experiment_deleted_in_the_browser_is_restored_by_the_page(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_store, tmp_path)
    store = open_store(tmp_path)
    store.sync(make_trial(tmp_path / "trial"), final=True)
    store._connect().delete_experiment(store.experiment)
    monkeypatch.setattr("sys.executable", "/bin/false")  # instead of the server
    with pytest.raises(UserError, match="MLflow did not start"), ui.server(tmp_path):
        pass
    (run,) = Store(tmp_path).runs()
    assert run.data.tags["trial_id"] == "id-trial"


def test_a_remote_store_has_a_page_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example")
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI"):
        ui.serve(tmp_path)


def test_a_taken_port_is_replaced_and_a_free_one_is_kept() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert ui._free(port) != port
    assert ui._free(port) == port


def test_the_output_of_a_server_that_dies_at_once_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.db").touch()
    monkeypatch.setattr(ui, "open_store", Store)
    monkeypatch.setattr("sys.executable", "/bin/echo")
    with pytest.raises(UserError, match="mlflow ui --workers 1"), ui.server(tmp_path):
        pass
    assert os.environ.get("MLFLOW_TRACKING_URI") is None

"""Keep MLflow a view of the run folders: `Store.sync` makes MLflow agree with a folder.

There is one mechanism. `sync` sends what a folder has and MLflow lacks. Live logging calls it often; recovery after an
outage calls it later. MLflow keeps one point per key, value, time and step, and one file per name, so a sync that was
interrupted and repeated leaves everything there exactly once. This is the only module that imports mlflow.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shlex
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from eval.listening.piano_rolls import first_images
from eval.results.schema import as_written
from eval.tracking.notes import experiment_note
from eval.tracking.references import published, real_music
from eval.tracking.runs import SENDING, SYNCED, RunContent, image_name, sha256
from eval.tracking.views import view_tag
from replication.util.errors import UserError, error_text
from replication.util.files import atomic
from replication.util.locks import lease, locked_folder
from replication.util.program import command
from replication.util.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from eval.results.trial_folder import Point

EXPERIMENT = "Etude"
BATCH = 990  # MLflow accepts 1000 entities per call, and the last batch has tags too
PARAMS = 100  # MLflow's limit per call
COMPLETE = "synced_final"  # tag with the digest of everything that a run shows; the last to be set
_RECREATE = "move that file away to have a new one made from the run folders"
_OUTDATED = "out-of-date database schema"  # a part of the error message
_REINSTALL = "another version of MLflow made it; install that version, or make a backup"
_REMEDIES = {  # by a part of the error message
    "not a database": _RECREATE,
    "malformed": _RECREATE,
    "readonly database": "give permission to write there",
    "unable to open": "give permission to write there",
    "database is locked": "end the program that keeps it locked",
    "home directory": "set HOME to a folder that you can write to",
}


STANDING = {"claims", "mlflow.note.content"}  # tags that tell what verdicts on a trial are worth


class StoreError(UserError):
    """MLflow cannot be reached or refuses. Nothing is lost, since the results are in the run folders."""


class Store:
    """The tracking store in the folder of the project, or the server that MLFLOW_TRACKING_URI names.

    Attributes:
        root: Folder of the project.
        remote: Whether MLFLOW_TRACKING_URI names the store.
        database: File of the local store.
        experiment: Number of the experiment in MLflow once the store is open.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._server = os.environ.get("MLFLOW_TRACKING_URI", "")
        self.remote = bool(self._server)
        self.database = self.root / "mlflow.db"
        self._client: Any = None
        self.experiment = ""

    def sync(self, folder: Path, *, final: bool) -> None:
        """Send what `folder` has and MLflow lacks. A run that is up to date costs one look-up.

        Args:
            folder: Folder of a trial.
            final: Whether to send the scores and artifacts too and to end the run, unless a worker still runs the
                trial. If none does and trial.json says RUNNING, the worker died; the run is then KILLED until the trial
                is resumed. A trial whose status is FAILED always ends its run.

        Raises:
            StoreError: if MLflow cannot be reached.
        """
        content = RunContent.read(folder)
        if final and content.about["status"] == "RUNNING":
            with suppress(OSError), lease(folder / ".lock", wait=False):  # an error: there is a worker, or there may be
                content = RunContent.read(folder).without_worker()
        with self._store_errors(), locked_folder(self.root):
            status = content.about["status"]
            self._sync(content, final=status == "FAILED" or (final and status != "RUNNING"))

    def sync_all(self, comparisons: Iterable[Path]) -> int:
        """Send everything in the folders of comparisons that MLflow lacks; return the number of their trials.

        Raises:
            StoreError: if MLflow cannot be reached.
        """
        count = 0
        for comparison in comparisons:
            for path in sorted(comparison.glob("*/*/trial.json")):
                with as_written(path.parent):
                    self.sync(path.parent, final=True)
                count += 1
            with as_written(comparison):
                for content in real_music(comparison):
                    self._sync_reference(content)
        for content in published():
            self._sync_reference(content)
        return count

    def _sync_reference(self, content: RunContent) -> None:
        with self._store_errors(), locked_folder(self.root):
            self._sync(content, final=True)

    def connect(self) -> None:
        """Create the database and the experiment if they are missing, and update the description of the experiment."""
        with self._store_errors(), locked_folder(self.root):
            self._describe_experiment(self._connect())

    def runs(self) -> list[Any]:
        """Return all runs in MLflow; none if there is no store, which is then not created."""
        if not self.remote and not self.database.exists():
            return []
        runs, token = [], None
        with self._store_errors():
            client = self._connect()
            while token != "":
                page = client.search_runs([self.experiment], page_token=token)
                runs += page
                token = page.token or ""
        return runs

    def _connect(self) -> Any:  # noqa: ANN401 - MlflowClient is imported lazily
        if self._client is None:
            try:
                self._client = self._open()
            except Exception as error:  # importing MLflow and opening a database may raise anything
                raise self._error(error) from error
        return self._client

    def _open(self) -> Any:  # noqa: ANN401
        if not self.remote:
            _create_database(self.database)
        uri = self._uri()
        client = _mlflow_client(uri)
        here = None if uri.startswith("http") else artifact_root(self.root)  # a server has a place of its own
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            self.experiment = _create_experiment(client, here)
            if not self.remote:
                with closing(sqlite3.connect(self.database)) as connection:
                    connection.execute(
                        "PRAGMA journal_mode=WAL"
                    )  # this setting persists; parallel trials wait a third less
        else:
            self.experiment = found.experiment_id
            if found.lifecycle_stage == "deleted":  # by a user in the browser
                client.restore_experiment(self.experiment)
            if not self.remote:
                relocate(self.root)
        return client

    def _describe_experiment(self, client: Any) -> None:  # noqa: ANN401
        from mlflow.exceptions import MlflowException

        known = client.get_experiment(self.experiment).tags
        note = experiment_note(self.experiment)
        tags = {"mlflow.note.content": note, "mlflow.experimentKind": "custom_model_development"}
        for name, value in tags.items():
            if known.get(name) != value:
                client.set_experiment_tag(self.experiment, name, value)
        # A server may hold comparisons of other projects too.
        several = self.remote or len(list(self.root.glob("runs/*/*/data.json"))) > 1
        for name, value in view_tag(known, several=several).items():
            with suppress(MlflowException):  # the view's format is undocumented, and nothing depends on it
                client.set_experiment_tag(self.experiment, name, value)

    def _sync(self, content: RunContent, *, final: bool) -> None:
        client = self._connect()
        run = self._run_of(content)
        tags = run.data.tags if run else {}
        if final and tags.get(COMPLETE) == content.digest:
            return
        if run is not None and not content.extends(tags):
            client.delete_run(run.info.run_id)  # MLflow cannot delete a point
            run, tags = None, {}
        if run is None:
            started = int(content.about["started"] * 1000)
            run = client.create_run(self.experiment, started, content.tags(), content.name)
        elif run.info.status != "RUNNING":
            client.update_run(run.info.run_id, status="RUNNING")  # a failed or killed trial was resumed
        run_id = run.info.run_id
        if "synced_lines" not in tags:
            _describe_run(client, run_id, content)
        _log_lines(client, run_id, content, tags)
        if final:
            for name in STANDING & (shown := content.tags()).keys():  # claims may have changed since the run began
                if tags.get(name, shown[name]) != shown[name]:
                    client.set_tag(run_id, name, shown[name])
            _log_results(client, run_id, content, tags)

    def _run_of(self, content: RunContent) -> Any | None:  # noqa: ANN401
        """Return the run of a trial, and delete duplicates, which a repeated call leaves whose answer was lost."""
        client = self._connect()
        found = client.search_runs([self.experiment], f"tags.trial_id = '{content.about['id']}'")
        found.sort(key=lambda run: (-int(run.data.tags.get("synced_lines", -1)), run.info.run_id))
        for duplicate in found[1:]:
            client.delete_run(duplicate.info.run_id)
        return found[0] if found else None

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except _store_exceptions() as error:
            raise self._error(error) from error

    def _error(self, error: BaseException) -> StoreError:
        """Return the error of a store that does not answer: the reason and the remedy, without passwords."""
        while error.__cause__ is not None:  # the cause says the same in fewer words
            error = error.__cause__
        reason = error_text(error)
        parts = [f"MLflow at {self._server or self.database} does not answer ({reason[:200]})"]
        parts += [remedy for part, remedy in _REMEDIES.items() if part in reason]
        if _OUTDATED in reason:
            parts.append(f"{_REINSTALL} and run `mlflow db upgrade {shlex.quote(self._uri())}`")
        update = command("sync", root=self.root)
        parts.append(f"the results are safe in the run folders, and `{update}` will update MLflow")
        return StoreError(printable(without_password("; ".join(parts))))

    def _uri(self) -> str:
        """Return the address of the store."""
        return self._server or database_uri(self.database)


def open_store(root: Path) -> Store:
    """Return the store of the project at `root`, creating it if it is missing.

    Raises:
        StoreError: if it cannot be reached.
    """
    store = Store(root)
    store.connect()
    return store


def without_password(text: str) -> str:
    """Return a text without the user names and passwords in its addresses."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def database_uri(database: Path) -> str:
    """Return the address of a SQLite file for MLflow, with special characters quoted.

    It names the driver, because MLflow makes the folder of an address that begins with `sqlite:///` without unquoting
    its name.
    """
    from sqlalchemy import URL

    return URL.create("sqlite+pysqlite", database=str(database)).render_as_string()


def artifact_root(root: Path) -> str:
    """Return the address of the folder in which the store at `root` keeps artifacts."""
    return (root.resolve() / "mlartifacts").as_uri()


def relocate(root: Path) -> bool:
    """Update the addresses of artifacts after the project was moved to `root`; return whether any changed.

    MLflow stores an absolute address for each run.
    """
    here = artifact_root(root)
    with closing(sqlite3.connect(root / "mlflow.db")) as connection, connection:
        select = "SELECT artifact_location FROM experiments WHERE name = ?"
        (there,) = connection.execute(select, (EXPERIMENT,)).fetchone() or (here,)
        if there == here or not there.startswith("file:"):
            return False
        for update in (
            "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)",
            "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)",
            "UPDATE logged_models SET artifact_location = replace(artifact_location, ?, ?)",
        ):
            connection.execute(update, (there, here))
    return True


def _create_database(path: Path) -> None:
    """Create the tables of MLflow, all or none, since MLflow cannot use those that a killed process left."""
    if not path.exists():
        with atomic(path) as draft:
            _mlflow_client(database_uri(draft)).search_experiments(max_results=1)


def _create_experiment(client: Any, place: str | None) -> str:  # noqa: ANN401
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(EXPERIMENT, artifact_location=place))
    except MlflowException:
        if found := client.get_experiment_by_name(EXPERIMENT):  # another machine was faster, or the answer was lost
            return str(found.experiment_id)
        raise


def _describe_run(client: Any, run_id: str, content: RunContent) -> None:  # noqa: ANN401
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    about, params = content.about, [Param(key, value) for key, value in content.params().items()]
    for start in range(0, len(params), PARAMS):
        client.log_batch(run_id, params=params[start : start + PARAMS])
    if data := about["dataset"]:
        source = json.dumps({"corpus": data["name"], "sha256": data["digest"]})
        dataset = Dataset(data["name"], data["digest"][:32], "etude", source, profile=json.dumps(data["windows"]))
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
    if about["environment"]:
        client.log_dict(run_id, about["environment"], "environment.json")


def _log_lines(client: Any, run_id: str, content: RunContent, tags: dict[str, str]) -> None:  # noqa: ANN401
    known = int(tags.get("synced_lines", -1))
    if len(content.lines) > known:
        _log_points(client, run_id, content.history(max(known, 0)), content.progress_tags())


def _log_results(client: Any, run_id: str, content: RunContent, tags: dict[str, str]) -> None:  # noqa: ANN401
    from mlflow.tracking._tracking_service import utils

    digest, ended = content.digest, int((content.about["ended"] or time.time()) * 1000)
    if content.scores and "synced_scores" not in tags and content.about["status"] != "KILLED":
        _log_points(client, run_id, content.final_points(), {"synced_scores": sha256(content.scores)})
    for file in content.artifacts():
        parent = file.parent.relative_to(content.path).as_posix()
        client.log_artifact(run_id, str(file), None if parent == "." else parent)
    if (rolls := content.path / "roll.png").exists() and "mlflow.loggedImages" not in tags:
        _log_roll(client, run_id, content, rolls)
    for name, text in content.anomalies.items():
        client.set_tag(run_id, name, text)
    client.set_terminated(run_id, content.about["status"], ended)
    client.set_tag(run_id, COMPLETE, digest)  # last: now the run is up to date
    # MLflow caches the addresses of a thousand runs, 10 kB each, and does not notice that they moved.
    utils._artifact_repos_cache.clear()  # noqa: SLF001 - MLflow has no public function for it


def _log_roll(client: Any, run_id: str, content: RunContent, rolls: Path) -> None:  # noqa: ANN401
    """Log the first piano roll as `MlflowClient.log_image` does, but under a fixed name."""
    with first_images(rolls, image_name(content.about)) as files:
        for file in files:
            client.log_artifact(run_id, str(file), "images")
    client.set_tag(run_id, "mlflow.loggedImages", "True")


def _log_points(client: Any, run_id: str, points: list[Point], tags: dict[str, str]) -> None:  # noqa: ANN401
    """Log points in batches, and the tags with the last one, so that points without their tags are sent again.

    SENDING tags are set first. If the sync is repeated with a different history, they show it, and the run is replaced.
    """
    from mlflow.entities import Metric, RunTag

    infinite = sorted({point.key for point in points if math.isinf(point.value)})
    tags = tags | {f"infinite.{key}": "shown as NaN" for key in infinite}  # MLflow would show the largest float
    progress = {key.removeprefix(SYNCED): value for key, value in tags.items() if key.startswith(SYNCED)}
    client.log_batch(run_id, tags=[RunTag(SENDING + key, value) for key, value in progress.items()])
    metrics = [
        Metric(point.key, math.nan if math.isinf(point.value) else point.value, point.time, point.step)
        for point in points
    ]
    for start in range(0, max(len(metrics), 1), BATCH):
        last = start + BATCH >= len(metrics)
        labels = [RunTag(key, value) for key, value in tags.items()] if last else []
        client.log_batch(run_id, metrics[start : start + BATCH], tags=labels)


def _mlflow_client(uri: str) -> Any:  # noqa: ANN401
    """Import mlflow with telemetry and output off and with short waits, and return a client."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # two lines for every run on a server
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")  # migrations, and tracebacks of what is raised anyway
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # the default of 7 takes four minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    from mlflow import MlflowClient
    from mlflow.store.db import utils

    utils.MAX_RETRY_COUNT = 3  # with the default of 10, noticing a damaged database takes 100 seconds
    _guard_files()
    return MlflowClient(tracking_uri=uri)


def _guard_files() -> None:
    """Keep MLflow from reading or writing local files at paths that a server names."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry as registry
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    def local(place: str, *words: Any, **settings: Any) -> LocalArtifactRepository:  # noqa: ANN401 - MLflow's own
        if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):
            raise MlflowException(
                f"it keeps files in {place} of this machine; start the server with --serve-artifacts instead"
            )
        return LocalArtifactRepository(place, *words, **settings)

    for scheme in ("file", ""):
        registry.register(scheme, local)  # type: ignore[no-untyped-call]  # MLflow does not annotate it


def _store_exceptions() -> tuple[type[Exception], ...]:
    """Return the exceptions that a tracking store may raise; called only after one, since the import is slow."""
    try:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:  # mlflow is not installed
        return (ImportError,)
    # ImportError also means a missing database driver.
    return (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError)

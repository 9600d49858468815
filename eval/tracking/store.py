"""MLflow as a view of the run folders: the folder is the truth, and `Store.sync` makes MLflow say the same.

There is one mechanism. `sync` brings what a folder has and MLflow lacks; live logging is calling it often, and replay
after an outage is calling it later. MLflow keeps a point once per key, value, time and step, and a file once per name;
so even a sync that was cut off half-way and repeated leaves everything there exactly once. This is the one module that
imports mlflow.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from eval.listening.piano_rolls import first_images
from eval.tracking.messages import SAFE, hush, sentence, without_password
from eval.tracking.notes import experiment_note
from eval.tracking.records import SENDING, SYNCED, Record, sha256
from eval.tracking.relocation import EXPERIMENT, artifact_root, relocate
from eval.tracking.views import image_name, view_tags
from replication.util.errors import UserError
from replication.util.files import atomic
from replication.util.locks import lease, locked_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eval.results.trial_folder import Point

BATCH = 990  # MLflow takes 1000 entities at once, and the last batch carries tags too
PARAMS = 100  # MLflow's limit per call
LEVEL = "synced_final"  # the tag that names all that a run shows: without it, or with another, it is not level


class StoreError(UserError):
    """MLflow cannot be reached or refuses: nothing is lost, since the results are in the run folders."""


class Store:
    """The tracking store beside the run folders, or the server that MLFLOW_TRACKING_URI names: `place`, for people."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.remote = bool(os.environ.get("MLFLOW_TRACKING_URI"))
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.root / 'mlflow.db'}"
        self.place = without_password(self.uri)
        self._client: Any = None
        self._experiment = ""

    def sync(self, folder: Path, *, final: bool) -> None:
        """Bring what `folder` has and MLflow lacks; raises StoreError when MLflow cannot be reached.

        `final` brings the scores and artifacts too and ends the run, unless a worker is still at it; if none is and
        trial.json says RUNNING, it died, and the run is KILLED until the trial is taken up again. A folder whose status
        is FAILED always ends its run. A run that is level already costs one look-up.
        """
        trial = Record.read(folder)
        if final and trial.about["status"] == "RUNNING":
            with suppress(OSError), lease(folder / ".lock", wait=False):  # else there is one, or nobody can tell
                trial = Record.read(folder).abandoned()
        with self._speaking(), locked_folder(self.root):
            status = trial.about["status"]
            self._sync(trial, final=status == "FAILED" or (final and status != "RUNNING"))

    def show(self, record: Record) -> None:
        """Bring what is no trial and has MLflow lacks, as `sync` does."""
        with self._speaking(), locked_folder(self.root):
            self._sync(record, final=True)

    def connect(self) -> None:
        """Make the database and the experiment unless they are there, and bring its description up to date."""
        with self._speaking(), locked_folder(self.root):
            self._describe(self._connect())

    def runs(self) -> list[Any]:
        """Return all runs, as MLflow has them; none where there is no store, which is not made."""
        if not self.remote and not (self.root / "mlflow.db").exists():
            return []
        runs, token = [], None
        with self._speaking("see that it runs, and that MLFLOW_TRACKING_URI is right"):
            client = self._connect()
            while token != "":
                page = client.search_runs([self._experiment], page_token=token)
                runs += page
                token = page.token or ""
        return runs

    def _connect(self) -> Any:  # noqa: ANN401 - an MlflowClient, whose import is lazy
        if self._client is not None:
            return self._client
        if not self.remote:
            _make_database(self.root / "mlflow.db")
        client = _mlflow_client(self.uri)
        here = None if self.uri.startswith("http") else artifact_root(self.root)  # a server has its own place
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            self._experiment = _create_experiment(client, here)
            if not self.remote:
                with closing(sqlite3.connect(self.root / "mlflow.db")) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")  # persists; parallel trials wait a third less
        else:
            self._experiment = found.experiment_id
            if found.lifecycle_stage == "deleted":  # someone tidied up in the browser
                client.restore_experiment(self._experiment)
            if not self.remote:
                relocate(self.root)
        self._client = client
        return client

    def _describe(self, client: Any) -> None:  # noqa: ANN401
        from mlflow.exceptions import MlflowException

        known = client.get_experiment(self._experiment).tags
        note = experiment_note(self._experiment)
        tags = {"mlflow.note.content": note, "mlflow.experimentKind": "custom_model_development"}
        for name, value in tags.items():
            if known.get(name) != value:
                client.set_experiment_tag(self._experiment, name, value)
        # A server may have the comparisons of other projects too.
        several = self.remote or len(list(self.root.glob("runs/*/*/data.json"))) > 1
        for name, value in view_tags(known, several=several).items():
            with suppress(MlflowException):  # an undocumented format: nice where it is understood, never needed
                client.set_experiment_tag(self._experiment, name, value)

    def _sync(self, trial: Record, *, final: bool) -> None:
        client = self._connect()
        run = self._run_of(trial)
        tags = run.data.tags if run else {}
        if final and tags.get(LEVEL) == trial.seal:
            return
        if run is not None and not trial.continues(tags):
            client.delete_run(run.info.run_id)  # MLflow has no way to take a point back
            run, tags = None, {}
        if run is None:
            started = int(trial.about["started"] * 1000)
            run = client.create_run(self._experiment, started, trial.tags(), trial.name)
        elif run.info.status != "RUNNING":
            client.update_run(run.info.run_id, status="RUNNING")  # a failed trial was taken up again
        run_id = run.info.run_id
        if "synced_lines" not in tags:
            _describe_run(client, run_id, trial)
        _log_lines(client, run_id, trial, tags)
        if final:
            _log_results(client, run_id, trial, tags)

    def _run_of(self, trial: Record) -> Any | None:  # noqa: ANN401
        """Return the run of a trial, which is one: a call whose answer was lost may have been repeated."""
        client = self._connect()
        found = client.search_runs([self._experiment], f"tags.trial_id = '{trial.about['id']}'")
        found.sort(key=lambda run: (-int(run.data.tags.get("synced_lines", -1)), run.info.run_id))
        for double in found[1:]:
            client.delete_run(double.info.run_id)
        return found[0] if found else None

    @contextmanager
    def _speaking(self, advice: str = SAFE) -> Iterator[None]:
        try:
            yield
        except _troubles() as error:
            raise StoreError(sentence(self.uri, error, advice)) from error


def open_store(root: Path) -> Store:
    """Return the store of the project at `root`, made if need be.

    Raises:
        StoreError: if it cannot be reached.
    """
    store = Store(root)
    store.connect()
    return store


def _make_database(path: Path) -> None:
    """Make the tables of MLflow, all or none: with those that a killed process has left it could not go on."""
    if not path.exists():
        with atomic(path) as draft:
            _mlflow_client(f"sqlite:///{draft}").search_experiments(max_results=1)


def _create_experiment(client: Any, place: str | None) -> str:  # noqa: ANN401
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(EXPERIMENT, artifact_location=place))
    except MlflowException:
        if found := client.get_experiment_by_name(EXPERIMENT):  # another machine was first, or the answer was lost
            return str(found.experiment_id)
        raise


def _describe_run(client: Any, run_id: str, trial: Record) -> None:  # noqa: ANN401
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    about, params = trial.about, [Param(key, value) for key, value in trial.params().items()]
    for start in range(0, len(params), PARAMS):
        client.log_batch(run_id, params=params[start : start + PARAMS])
    if data := about["dataset"]:
        source = json.dumps({"corpus": data["name"], "sha256": data["digest"]})
        dataset = Dataset(data["name"], data["digest"][:32], "etude", source, profile=json.dumps(data["windows"]))
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
    if about["environment"]:
        client.log_dict(run_id, about["environment"], "environment.json")


def _log_lines(client: Any, run_id: str, trial: Record, tags: dict[str, str]) -> None:  # noqa: ANN401
    known = int(tags.get("synced_lines", -1))
    if len(trial.lines) > known:
        _log_points(client, run_id, trial.history(max(known, 0)), trial.marks())


def _log_results(client: Any, run_id: str, trial: Record, tags: dict[str, str]) -> None:  # noqa: ANN401
    from mlflow.tracking._tracking_service import utils

    seal, ended = trial.seal, int((trial.about["ended"] or time.time()) * 1000)
    if trial.scores and "synced_scores" not in tags and trial.about["status"] != "KILLED":
        _log_points(client, run_id, trial.final(), {"synced_scores": sha256(trial.scores)})
    for file in trial.artifacts():
        parent = file.parent.relative_to(trial.path).as_posix()
        client.log_artifact(run_id, str(file), None if parent == "." else parent)
    if (rolls := trial.path / "roll.png").exists() and "mlflow.loggedImages" not in tags:  # a second one would be added
        _log_roll(client, run_id, trial, rolls)
    for name, text in trial.events.items():
        client.set_tag(run_id, name, text)
    client.set_terminated(run_id, trial.about["status"], ended)
    client.set_tag(run_id, LEVEL, seal)  # last: only now is the run level
    # MLflow keeps where the files of a thousand runs are, 10 kB each, and after a move does not look again.
    utils._artifact_repos_cache.clear()  # noqa: SLF001 - there is no other way


def _log_roll(client: Any, run_id: str, trial: Record, rolls: Path) -> None:  # noqa: ANN401
    """Log the roll of the first sample as `MlflowClient.log_image` would, but under the same name when repeated."""
    with first_images(rolls, image_name(trial.about)) as files:
        for file in files:
            client.log_artifact(run_id, str(file), "images")
    client.set_tag(run_id, "mlflow.loggedImages", "True")


def _log_points(client: Any, run_id: str, points: list[Point], tags: dict[str, str]) -> None:  # noqa: ANN401
    """Log points in batches, and the tags with the last of them: points that no tag vouches for are sent again.

    What is about to be sent is marked before: if it is another history when the sync is repeated, the run is made anew.
    """
    from mlflow.entities import Metric, RunTag

    infinite = sorted({point.key for point in points if math.isinf(point.value)})
    tags = tags | {f"infinite.{key}": "shown as NaN" for key in infinite}  # MLflow would show the largest float
    marks = {key.removeprefix(SYNCED): value for key, value in tags.items() if key.startswith(SYNCED)}
    client.log_batch(run_id, tags=[RunTag(SENDING + key, value) for key, value in marks.items()])
    metrics = [
        Metric(point.key, math.nan if math.isinf(point.value) else point.value, point.time, point.step)
        for point in points
    ]
    for start in range(0, max(len(metrics), 1), BATCH):
        last = start + BATCH >= len(metrics)
        labels = [RunTag(key, value) for key, value in tags.items()] if last else []
        client.log_batch(run_id, metrics[start : start + BATCH], tags=labels)


def _mlflow_client(uri: str) -> Any:  # noqa: ANN401
    """Import mlflow so that it tells nobody and prints nothing."""
    hush()
    from mlflow import MlflowClient
    from mlflow.store.db import utils

    utils.MAX_RETRY_COUNT = 3  # 10 by default: to find out that a database is damaged or down takes 100 seconds
    _guard_files()
    return MlflowClient(tracking_uri=uri)


def _guard_files() -> None:
    """Have no server choose where on this machine files are read or written: MLflow goes where a server says."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry as registry
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    def here(place: str, *words: Any, **settings: Any) -> LocalArtifactRepository:  # noqa: ANN401 - MLflow's own
        if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):
            raise MlflowException(
                f"it keeps files in {place} of this machine, and should with --serve-artifacts itself"
            )
        return LocalArtifactRepository(place, *words, **settings)

    for scheme in ("file", ""):
        registry.register(scheme, here)  # type: ignore[no-untyped-call]  # MLflow does not annotate it


def _troubles() -> tuple[type[Exception], ...]:
    """Return what may go wrong between here and a tracking store; asked only when something did."""
    try:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:  # a node without mlflow
        return (ImportError,)
    return (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError)  # the last for a database's driver

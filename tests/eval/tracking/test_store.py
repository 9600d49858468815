"""MLflow is a view of the run folders: laws of the sync with a real store."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from eval.listening.piano_rolls import save_rolls
from eval.tracking.logger import Tracker
from eval.tracking.runs import RunContent
from eval.tracking.store import EXPERIMENT, Store, StoreError, artifact_root, database_uri, open_store, relocate
from eval.tracking.views import TAG
from replication.util.errors import UserError
from replication.util.files import read_json, write_json
from replication.util.locks import lease
from replication.util.program import command
from tests.support.pieces import SINGLE, piece
from tests.support.tracking_stores import runs_table
from tests.support.trial_folders import START, append, end, make_trial, scores_of

SCORES = scores_of(2.3, overflow=math.inf)
# Every character that means something in an address, a shell or a pattern.
NAME = "my %20runs%41?x=1&y#z;'\"\né~$[a]*\\"


def runs_of(store: Store, folder: Path) -> list[Any]:
    return list(store._connect().search_runs([store.experiment], f"tags.trial_id = 'id-{folder.name}'"))


def history(store: Store, folder: Path, key: str = "train/loss") -> list[tuple[int, int, float]]:
    (run,) = runs_of(store, folder)
    points = store._connect().get_metric_history(run.info.run_id, key)
    return sorted((point.step, point.timestamp, point.value) for point in points)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder = tmp_path_factory.mktemp("store", numbered=False) / NAME
        folder.mkdir()
        return open_store(folder)


@pytest.fixture
def trial(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return make_trial(tmp_path / request.node.name)


def test_a_store_is_in_the_folder_that_was_named(store: Store) -> None:
    assert [path.name for path in store.root.parent.iterdir()] == [NAME]
    assert {path.name for path in store.root.iterdir()} >= {"mlflow.db"}


NAMES = ("my%20runs", "my%41", "%2F", "a?b", "a#b", 'it\'s "so"', "two\nlines", "é", "a;b:c@d", "~")


def test_the_address_of_a_database_leads_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "my runs").mkdir()
    for name in NAMES:
        (tmp_path / name).mkdir()
        database = tmp_path / name / "mlflow.db"
        with closing(sqlalchemy.create_engine(database_uri(database)).raw_connection()) as connection:
            connection.cursor().execute("CREATE TABLE found (x)")
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("found",)]
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == {
        "my runs",
        *NAMES,
        *(f"{name}/mlflow.db" for name in NAMES),
    }


def test_each_point_is_logged_once_with_its_own_step_and_time(store: Store, trial: Path) -> None:
    expected = [(step, int((START + step) * 1000), 1 / (step + 1)) for step in range(3)]
    for _ in range(2):
        store.sync(trial, final=False)
        assert history(store, trial) == expected
    assert runs_of(store, trial)[0].info.status == "RUNNING"


def test_a_sync_cut_off_before_its_tags_is_repeated_without_duplicates(store: Store, trial: Path) -> None:
    store.sync(trial, final=False)
    (run,) = runs_of(store, trial)
    store._connect().delete_tag(run.info.run_id, "synced_lines")
    store._connect().delete_tag(run.info.run_id, "synced_digest")
    store.sync(trial, final=False)
    assert len(history(store, trial)) == 3
    assert len(history(store, trial, "val/loss")) == 3


def test_later_lines_arrive_in_more_than_one_batch(store: Store, trial: Path) -> None:
    store.sync(trial, final=False)
    append(trial, range(3, 1200))
    store.sync(trial, final=False)
    assert [step for step, _, _ in history(store, trial)] == list(range(1200))
    assert len(runs_of(store, trial)) == 1


def test_a_torn_last_line_is_sent_once_it_is_complete(store: Store, trial: Path) -> None:
    whole = json.dumps({"step": 3, "time": START + 3, "train/loss": 0.5}) + "\n"
    metrics = trial / "metrics.jsonl"
    before = metrics.read_text(encoding="utf-8")
    metrics.write_text(before + whole[:20], encoding="utf-8")
    store.sync(trial, final=False)
    assert len(history(store, trial)) == 3
    metrics.write_text(before + whole, encoding="utf-8")
    store.sync(trial, final=False)
    assert history(store, trial)[-1] == (3, int((START + 3) * 1000), 0.5)


def test_a_damaged_line_is_refused_and_later_lines_are_not_sent(store: Store, trial: Path) -> None:
    store.sync(trial, final=False)
    with (trial / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "ti\n')
    append(trial, range(4, 6))
    for final in (False, True):
        with pytest.raises(UserError, match=r"metrics\.jsonl is damaged in line 4 "):
            store.sync(trial, final=final)
    assert [step for step, _, _ in history(store, trial)] == [0, 1, 2]


def test_a_finished_trial_shows_scores_data_artifacts_and_configuration(store: Store, trial: Path) -> None:
    end(trial, scores=SCORES)
    bound = {"exact": False, "nats_per_token": 1.0, "terms": {"prior": 0.25}}
    bound |= {"estimator": {"type": "Interpolated", "power": 2.0, "variance": 0.5}}
    bound |= {"plain": {"nats_per_token": 3.0, "error_of_estimate": 0.125}}
    write_json(trial / "likelihood.json", bound)
    (trial / "midi").mkdir()
    (trial / "midi" / "0.mid").write_bytes(b"MThd")
    store.sync(trial, final=True)
    (run,) = runs_of(store, trial)
    assert (run.info.status, run.info.run_name, run.info.end_time) == ("FINISHED", "e2e-s0", (START + 60) * 1000)
    assert history(store, trial, "distance") == [(0, int((START + 60) * 1000), 2.3)]
    assert math.isnan(run.data.metrics["validity"])
    assert (run.data.metrics["nll"], run.data.metrics["nll/prior"]) == (1.0, 0.25)
    assert (run.data.metrics["nll/plain"], run.data.metrics["nll/plain_se"]) == (3.0, 0.125)
    assert (run.data.metrics["nll/power"], run.data.metrics["nll/variance"]) == (2.0, 0.5)
    assert math.isnan(run.data.metrics["own/overflow"])
    assert run.data.tags["infinite.own/overflow"] == "shown as NaN"
    assert run.data.tags["variant"] == run.data.params["variant"] == "e2e"
    assert run.data.tags["mlflow.runColor"] == "#0072B2"
    assert run.data.params["model.embedding.type"] == "Learned"
    assert run.data.params["option149"] == "149"
    assert len(run.data.params["model.words"]) == 500
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("bach", "ab" * 16)
    client = store._connect()
    assert Path(client.download_artifacts(run.info.run_id, "midi/0.mid")).read_bytes() == b"MThd"
    listed = {item.path for item in client.list_artifacts(run.info.run_id)}
    files = {"trial.json", "metrics.jsonl", "scores.json", "likelihood.json"}
    assert listed == {"environment.json", "midi", *files}
    assert [item.path for item in client.list_artifacts(run.info.run_id, "midi")] == ["midi/0.mid"]


def test_a_run_that_is_up_to_date_is_not_changed(store: Store, trial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end(trial, scores=SCORES)
    store.sync(trial, final=True)
    with monkeypatch.context() as patch:
        for call in ("log_batch", "log_artifact", "log_image", "set_tag", "set_terminated", "update_run", "delete_run"):
            patch.setattr(store._connect(), call, None)
        store.sync(trial, final=True)


def test_a_trial_that_is_scored_again_replaces_its_run(store: Store, trial: Path) -> None:
    end(trial, scores=scores_of(2.3))
    store.sync(trial, final=True)
    end(trial, scores=scores_of(1.1))
    store.sync(trial, final=True)
    assert [value for _, _, value in history(store, trial, "distance")] == [1.1]
    assert len(history(store, trial)) == 3


def test_the_piano_roll_is_an_image_of_the_run_once(store: Store, trial: Path) -> None:
    save_rolls([piece(SINGLE)], trial / "roll.png", colour="#000000")
    end(trial, scores=scores_of(2.3))
    store.sync(trial, final=True)
    (trial / "samplers").mkdir()
    write_json(trial / "samplers" / "ddim-10.json", {})  # the study runs after the trial
    store.sync(trial, final=True)
    (run,) = runs_of(store, trial)
    client = store._connect()
    images = [item.path for item in client.list_artifacts(run.info.run_id, "images")]
    assert len([path for path in images if path.endswith(".png")]) == 1
    assert all(path.startswith("images/samples~roll+step+0+") for path in images)
    assert [item.path for item in client.list_artifacts(run.info.run_id, "samplers")] == ["samplers/ddim-10.json"]


def test_an_audit_is_a_curve_over_its_own_steps(store: Store, trial: Path) -> None:
    for scoring in ("new-old", "new-teacher"):
        write_json(trial / "audit" / f"{scoring}.json", {"0": {"bits_per_word": 1.0}, "800": {"bits_per_word": 0.5}})
    end(trial)
    write_json(trial / "scores.json", scores_of(2.3) | {"scoring": "new-teacher"})
    store.sync(trial, final=True)
    assert [(step, value) for step, _, value in history(store, trial, "audit/bits_per_word")] == [(0, 1.0), (800, 0.5)]


def test_a_run_says_what_it_is_for_and_how_to_reproduce_it(tmp_path: Path) -> None:
    folder = make_trial(tmp_path / "runs" / "smoke-tuning" / "mine" / "e2e-d8-s1" / "0")
    write_json(tmp_path / "runs" / "smoke" / "mine" / "data.json", {"given": "/my *music*`"})
    about = read_json(folder / "trial.json") | {"scale": "smoke-tuning", "experiment": "e2e-d8-s1", "kind": "tuning"}
    about |= {"point": {"dimension": 1, "scale": 1.0}, "tunes": "smoke"}
    write_json(folder / "trial.json", about)
    note = RunContent.read(folder).tags()["mlflow.note.content"]
    command = "--scale smoke --corpus '/my *music*`' --only e2e --seeds 1"
    assert f"    python3 -m nox -s replicate -- {command}\n" in note  # indented: nothing in it is Markdown
    assert "Claim" not in note
    assert " Embeddings: d 16, scale 1.\n" in note
    about |= {"scale": "smoke", "experiment": "gaussian", "arm": "gaussian", "kind": "trial", "seed": 2, "tunes": None}
    write_json(folder / "trial.json", about)
    note = RunContent.read(folder).tags()["mlflow.note.content"]
    assert "Claim **C1** (exploratory): Embeddings trained end to end are better than frozen Gaussian ones." in note
    assert "--only gaussian --seeds 3" in note
    for scale, seed, count in (("study", 102, 3), ("cpu", 1000, 1), ("another", 4, 5)):  # 1000 is the teacher's
        write_json(folder / "trial.json", about | {"scale": scale, "seed": seed, "point": None})
        note = RunContent.read(folder).tags()["mlflow.note.content"]
        assert f"--seeds {count}\n" in note
        assert "Embeddings:" not in note


def test_a_history_that_was_truncated_replaces_its_run(store: Store, trial: Path) -> None:
    store.sync(trial, final=False)
    lines = (trial / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (trial / "metrics.jsonl").write_text("".join(lines[:1]), encoding="utf-8")
    store.sync(trial, final=False)
    assert [step for step, _, _ in history(store, trial)] == [0]


def test_a_failed_trial_ends_failed_and_can_be_resumed(store: Store, trial: Path) -> None:
    end(trial, "FAILED")
    store.sync(trial, final=False)
    (failed,) = runs_of(store, trial)
    assert failed.info.status == "FAILED"
    append(trial, range(3, 5))
    end(trial, "RUNNING")
    with lease(trial / ".lock"):
        store.sync(trial, final=True)  # no sync ends a run while a worker runs its trial
    assert runs_of(store, trial)[0].info.status == "RUNNING"
    end(trial, scores=SCORES)
    store.sync(trial, final=True)
    (run,) = runs_of(store, trial)
    assert (run.info.run_id, run.info.status) == (failed.info.run_id, "FINISHED")
    assert len(history(store, trial)) == 5


def test_a_killed_trial_is_marked_once_and_resumes_in_the_same_run(store: Store, trial: Path) -> None:
    with lease(trial / ".lock"):
        store.sync(trial, final=True)
    assert runs_of(store, trial)[0].info.status == "RUNNING"
    store.sync(trial, final=True)
    (dead,) = runs_of(store, trial)
    assert (dead.info.status, dead.info.end_time) == ("KILLED", (START + 2) * 1000)
    store.sync(trial, final=True)
    (again,) = runs_of(store, trial)
    assert (again.info.status, again.info.end_time, again.data.tags) == (
        dead.info.status,
        dead.info.end_time,
        dead.data.tags,
    )
    append(trial, range(3, 5))
    store.sync(trial, final=False)
    assert runs_of(store, trial)[0].info.status == "RUNNING"
    end(trial, scores=SCORES)
    store.sync(trial, final=True)
    (run,) = runs_of(store, trial)
    assert (run.info.run_id, run.info.status, len(history(store, trial))) == (dead.info.run_id, "FINISHED", 5)


def test_the_tracker_syncs_at_intervals(store: Store, trial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("eval.tracking.logger.time.monotonic", lambda: now[0])
    tracker = Tracker(store.root, every=10)  # outside of its block it only collects requests
    counts = []
    for second in (0, 9, 11, 12):
        now[0] = second
        tracker._jobs.clear()
        tracker.update(trial)
        counts.append(len(tracker._jobs))
    assert counts == [1, 0, 1, 0]
    tracker.update(trial, final=True)
    with tracker:
        pass
    assert len(history(store, trial)) == 3


def test_a_folder_without_a_trial_stops_nothing_and_is_an_error_at_the_end(store: Store, tmp_path: Path) -> None:
    trial = make_trial(tmp_path / "after it")

    def sync_both() -> None:
        with Tracker(store.root) as tracker:
            for folder in (tmp_path / "nothing", trial):
                tracker.update(folder)

    with pytest.raises(UserError, match="nothing is malformed"):
        sync_both()
    assert len(history(store, trial)) == 3


@pytest.mark.parametrize(
    "uri", ["http://someone:secret@127.0.0.1:9", "sqlite:///{folder}/trial.json/mlflow.db"], ids=["server", "file"]
)
def test_a_store_that_is_down_costs_one_warning(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_trial(tmp_path / "down")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(folder=folder))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    with Tracker(tmp_path) as tracker:
        tracker.update(folder)
        tracker.update(folder, final=True)
    (line,) = capsys.readouterr().err.splitlines()
    assert "results are safe in the run folders" in line
    assert "etude sync" in line
    assert "secret" not in line
    with pytest.raises(StoreError, match="does not answer"):
        open_store(tmp_path)


# A user without a home folder and without an entry in the user database, as in a container with an arbitrary user id.
NOBODY = """
import os, pwd, sys
from pathlib import Path

def unknown(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")

pwd.getpwuid = unknown
for name in {"HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "MLFLOW_TRACKING_URI"} & {*os.environ}:
    del os.environ[name]
from eval.tracking.logger import Tracker
from eval.tracking.store import open_store
from replication.util.program import end_with

root = Path(sys.argv[1])
with Tracker(root) as tracker:
    tracker.update(root / "trial", final=True)
print("the report follows")
end_with(lambda: open_store(root), name="etude")
"""


def test_a_user_without_a_home_has_results_and_a_sentence_about_the_store(tmp_path: Path) -> None:
    end(make_trial(tmp_path / "trial"), scores=SCORES)
    done = subprocess.run([sys.executable, "-c", NOBODY, tmp_path], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "the report follows\n"), done.stderr
    warning, error = done.stderr.splitlines()
    assert warning.removeprefix("warning: ") == error.removeprefix("etude: ")
    assert "home directory.); set HOME to a folder that you can write to; the results are safe in the run" in error


@pytest.mark.parametrize("error", [RuntimeError("Could not determine home directory."), KeyError("uid not found: 7")])
def test_a_store_that_cannot_be_opened_costs_one_warning(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unavailable(_: object) -> None:
        raise error

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("eval.tracking.store._mlflow_client", unavailable)
    folder = make_trial(tmp_path / "one")
    with Tracker(tmp_path) as tracker:
        tracker.update(folder)
        tracker.update(folder, final=True)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: MLflow at {tmp_path / 'mlflow.db'} does not answer ({error}); ")
    assert line.endswith(
        f"; the results are safe in the run folders, and `{command('sync', root=tmp_path)}` will update MLflow"
    )


def test_the_experiment_is_described_and_opening_it_again_changes_nothing(store: Store) -> None:
    def tags() -> dict[str, str]:
        return dict(store._connect().get_experiment_by_name(EXPERIMENT).tags)

    before = tags()
    assert before[TAG]
    assert before["mlflow.experimentKind"] == "custom_model_development"
    Store(store.root).connect()
    assert tags() == before


def test_an_experiment_deleted_in_the_browser_is_restored(store: Store, trial: Path) -> None:
    store._connect().delete_experiment(store.experiment)
    again = Store(store.root)
    again.sync(trial, final=False)
    assert len(history(again, trial)) == 3


def test_the_table_has_one_row_per_run(store: Store, trial: Path) -> None:
    end(trial, scores=SCORES)
    store.sync(trial, final=True)
    table = runs_table(store.root)
    (row,) = table[table["tags.trial_id"] == f"id-{trial.name}"].to_dict("records")
    assert row["metrics.distance"] == 2.3
    assert (row["tags.seed"], row["status"]) == ("0", "FINISHED")


def test_artifacts_are_found_after_the_project_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store, empty_store: Path
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    old, new = tmp_path / "old%20place", tmp_path / "new place?#"
    old.mkdir()
    shutil.copy(empty_store, old)
    folder = make_trial(old / "runs" / "moving")
    end(folder, scores=SCORES)
    open_store(old).sync(folder, final=True)
    old.rename(new)
    assert relocate(new)
    assert not relocate(new)
    moved = open_store(new)
    (run,) = runs_of(moved, folder)
    assert run.info.artifact_uri.startswith(artifact_root(new) + "/")
    assert "trial.json" in {item.path for item in moved._connect().list_artifacts(run.info.run_id)}
    assert store.root != moved.root

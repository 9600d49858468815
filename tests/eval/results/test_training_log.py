"""The training log: what is written, and one policy for damage in all readers."""

from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from eval.results.anomalies import find_anomalies
from eval.results.frames import anomaly_rows
from eval.results.training_log import FILE, TrainingLog, read, read_last
from eval.results.trial_folder import TrialFolder
from eval.results.trial_rows import curve_rows
from eval.tracking.store import Store, open_store
from replication.util.errors import UserError
from tests.support.trial_folders import append, make_trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TORN = b'{"step": 3, "time": 1763000003.0, "train/lo'
DAMAGED = (
    b"{",
    b"",
    b"[]",
    b"null",
    b'"step"',
    b"{}",
    b'{"step": 3}',
    b'{"step": "x", "time": 1}',
    b"\xff\xfe",
    b"[" * 10**5,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return open_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def trial(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A trial with steps 0 to 2 in its log."""
    return make_trial(tmp_path / "runs" / "smoke" / "bach" / "e2e" / request.node.name)


def add(trial: Path, content: bytes) -> None:
    with (trial / FILE).open("ab") as file:
        file.write(content)


READERS: dict[str, Callable[[Path], object]] = {
    "all entries": lambda trial: read(trial / FILE),
    "points": lambda trial: TrialFolder.read(trial).history(),
    "curves of the report": curve_rows,
    "anomalies of the report": lambda trial: anomaly_rows(trial.parents[1]),
    "resumed training": lambda trial: TrainingLog(trial / FILE),
}


def test_a_line_has_step_time_values_and_memory_and_each_step_comes_once(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / FILE)
    for step in (0, 5, 5, 0, 10):
        log(step, {"train/loss": 1 / (step + 1), "train/seconds": 2.0 * step})
    entries = read(tmp_path / FILE)
    assert [entry.step for entry in entries] == [0, 5, 10]
    assert [entry.values["train/loss"] for entry in entries] == [1.0, 1 / 6, 1 / 11]
    assert all(entry.values["system/peak_memory_mb"] > 0 for entry in entries)
    assert entries[-1] == read_last(tmp_path / FILE)
    resumed = TrainingLog(tmp_path / FILE)
    assert (resumed.last, resumed.seconds) == (10, 20.0)
    resumed(10, {"train/loss": math.nan, "train/seconds": 99.0})
    assert read(tmp_path / FILE) == entries


def test_without_a_file_there_are_no_entries(tmp_path: Path) -> None:
    assert read(tmp_path / FILE) == []
    assert read_last(tmp_path / FILE) is None
    assert curve_rows(tmp_path) is None
    log = TrainingLog(tmp_path / FILE)
    assert (log.last, log.seconds, (tmp_path / FILE).exists()) == (-1, None, False)


def test_every_reader_skips_a_torn_last_line(trial: Path, store: Store) -> None:
    whole = (trial / FILE).read_bytes()
    add(trial, TORN)
    assert [entry.step for entry in read(trial / FILE)] == [0, 1, 2]
    last = read_last(trial / FILE)
    assert last is not None
    assert last.step == 2
    assert [point.step for point in TrialFolder.read(trial).history()] == [0, 0, 1, 1, 2, 2]
    curves = curve_rows(trial)
    assert curves is not None
    assert sorted(set(curves["step"])) == [0, 1, 2]
    found = find_anomalies(trial, TrialFolder.read(trial).history())
    assert [(row.anomaly, row.last) for row in found] == [("loss-not-finite", 2)]
    store.sync(trial, final=False)
    assert steps(store, trial) == [0, 1, 2]
    assert (trial / FILE).read_bytes() == whole + TORN  # no reader changes the file


def test_the_next_run_removes_a_torn_last_line_and_logs_its_step_again(trial: Path, store: Store) -> None:
    whole = (trial / FILE).read_bytes()
    add(trial, TORN)
    log = TrainingLog(trial / FILE)
    assert log.last == 2
    assert (trial / FILE).read_bytes() == whole
    log(3, {"train/loss": 0.5, "train/seconds": 3.0})
    assert [entry.step for entry in read(trial / FILE)] == [0, 1, 2, 3]
    store.sync(trial, final=False)
    assert steps(store, trial) == [0, 1, 2, 3]


def test_a_log_that_is_one_torn_line_is_empty(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(TORN)
    assert read(tmp_path / FILE) == []
    assert read_last(tmp_path / FILE) is None
    assert TrainingLog(tmp_path / FILE).last == -1
    assert (tmp_path / FILE).read_bytes() == b""


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("damage", DAMAGED, ids=lambda damage: repr(damage[:20]))
@pytest.mark.parametrize("followed", [True, False], ids=["in the middle", "at the end"])
def test_every_reader_refuses_a_damaged_line(trial: Path, reader: str, damage: bytes, followed: bool) -> None:
    add(trial, damage + b"\n")
    if followed:
        append(trial, range(4, 6))
    content = (trial / FILE).read_bytes()
    with pytest.raises(UserError) as error:
        READERS[reader](trial)
    assert str(error.value).startswith(f"{trial / FILE} is damaged in line 4 (")
    assert str(error.value).endswith("delete its folder to train the trial again")
    assert (trial / FILE).read_bytes() == content


@pytest.mark.parametrize("final", [True, False])
def test_mlflow_gets_nothing_of_a_log_from_its_damaged_line_on(trial: Path, store: Store, final: bool) -> None:
    store.sync(trial, final=False)
    add(trial, b"{\n")
    append(trial, range(4, 6))
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged in line 4 "):
        store.sync(trial, final=final)
    assert steps(store, trial) == [0, 1, 2]


def test_the_progress_bar_refuses_a_damaged_last_line(trial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bar = bar_of(trial, monkeypatch)
    bar.update()
    assert bar._bar.n == 2
    add(trial, TORN)
    bar.update()
    assert bar._bar.n == 2
    add(trial, b"\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged in line 4 "):
        bar.update()


def bar_of(trial: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a private class
    """Return the progress bar of a trial as the scheduler shows it on a terminal."""
    from types import SimpleNamespace

    import tqdm

    from etude.runner import scheduler

    shown: Callable[..., object] = lambda **words: original(**words | {"disable": False, "file": io.StringIO()})  # noqa: E731
    original = tqdm.tqdm
    monkeypatch.setattr(tqdm, "tqdm", shown)
    place: Any = SimpleNamespace(folder=trial, budget=SimpleNamespace(steps=10))
    return scheduler._ProgressBar(place, "e2e")


def steps(store: Store, trial: Path) -> list[int]:
    """Return the steps that MLflow has of the training loss of a trial."""
    client = store._connect()
    name = json.loads((trial / "trial.json").read_text(encoding="utf-8"))["id"]
    (run,) = client.search_runs([store.experiment], f"tags.trial_id = '{name}'")
    points = client.get_metric_history(run.info.run_id, "train/loss")
    return sorted(point.step for point in points)

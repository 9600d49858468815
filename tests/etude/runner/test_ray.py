"""Trials on a real cluster: two Ray nodes on this machine, where one is lost halfway."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from etude.runner.executors import RayExecutor, _work_there
from replication.corpora.corpus import folder_corpus
from replication.corpora.reading import load
from replication.util.checksums import write_checksums
from replication.util.errors import UserError
from tests.support.program import ROOT, assert_user_error, music
from tests.support.small_trials import ONE_THREAD, bits, interrupt, planned, run, run_here, task
from tests.support.tracking_stores import runs_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from ray.cluster_utils import Cluster

    from etude.runner.plan import Plan

pytestmark = pytest.mark.slow
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("PYTHONPATH", str(ROOT))
        from ray.cluster_utils import Cluster

        small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        cluster: Any = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
        yield cluster
        cluster.shutdown()


@pytest.fixture
def executor(cluster: Cluster) -> RayExecutor:
    return RayExecutor(workers=ONE_THREAD, address=cluster.address)


def lose_halfway(plan: Plan, lose: Callable[[], object]) -> None:
    """Lose a node once two trials, one of them on that node, have written checkpoints."""
    while sum((trial.weights.parent / "last.safetensors").exists() for trial in plan.trials) < 2:
        time.sleep(0.01)
    lose()


@needs_ray
def test_trials_of_a_lost_node_resume_elsewhere(cluster: Cluster, executor: RayExecutor, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    plan = planned(tmp_path / "there", "e2e", "gaussian", steps=200)
    killer = threading.Thread(target=lose_halfway, args=(plan, lambda: cluster.remove_node(node, allow_graceful=False)))
    killer.start()
    assert run(plan, executor) == []
    killer.join()
    assert all(trial.is_done() for trial in plan.trials)
    assert len({trial.about()["id"] for trial in plan.trials}) == len(plan.trials) == 2
    runs = runs_table(plan.root)
    assert sorted(runs["tags.variant"]) == ["e2e", "gaussian"]
    assert set(runs["status"]) == {"FINISHED"}
    for trial in plan.trials:
        steps = [line.partition(",")[0] for line in (trial.folder / "metrics.jsonl").read_text().splitlines()]
        assert len(steps) == len(set(steps)) == trial.budget.steps // trial.budget.log_every
    here = planned(tmp_path / "here", "e2e", "gaussian", steps=200)
    run_here(here)
    assert bits(plan) == bits(here)


@needs_ray
def test_a_failing_trial_is_marked_once_and_the_others_continue(executor: RayExecutor, tmp_path: Path) -> None:
    plan = planned(tmp_path, "e2e", "ngram")
    wild = replace(plan, scale=replace(plan.scale, budget=replace(plan.scale.budget, learning_rate=1e30)))
    assert [trial.name for trial in run(wild, executor)] == ["e2e seed 0"]
    assert "the loss is" in wild.trials[0].about()["error"]
    assert runs_table(tmp_path).set_index("tags.variant")["status"].to_dict() == {"e2e": "FAILED", "ngram": "FINISHED"}


@needs_ray
def test_a_damaged_file_ends_the_run_with_a_message(executor: RayExecutor, tmp_path: Path) -> None:
    plan = planned(tmp_path, "ngram")
    (trial,) = plan.trials
    trial.weights.parent.mkdir(parents=True)
    trial.weights.write_bytes(b"weights")
    write_checksums(trial.folder / "fit.sha256", [trial.weights])
    trial.weights.write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"model\.safetensors does not match its checksum in fit\.sha256"):
        run(plan, executor)
    assert trial.about()["status"] == "FAILED"


@needs_ray
def test_an_interrupted_run_leaves_no_worker_and_resumes(
    cluster: Cluster, executor: RayExecutor, tmp_path: Path
) -> None:
    plan = planned(tmp_path, "e2e")
    interrupt(plan, "--engine", "ray", "--address", cluster.address, "--workers", str(executor.workers))
    assert run(plan, executor) == []
    assert len(runs_table(tmp_path)) == 1


@needs_ray
def test_a_cluster_without_room_for_a_trial_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    if ONE_THREAD == 1:
        pytest.skip("a trial takes one core here, and the node has it")
    with pytest.raises(UserError, match=f"no machine of the Ray cluster has the {ONE_THREAD} CPU"):
        run(planned(tmp_path, "ngram"), RayExecutor(workers=1, address=cluster.address))


@needs_ray
def test_a_cluster_that_does_not_answer_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"the Ray cluster at 127\.0\.0\.1:1 cannot be used \(.*refused"):
        run(planned(tmp_path, "ngram"), RayExecutor(workers=1, address="127.0.0.1:1"))
    assert "trusted networks only" in capsys.readouterr().err


@needs_ray
def test_a_cluster_reads_the_same_corpus(executor: RayExecutor, tmp_path: Path) -> None:
    corpus = folder_corpus(music(tmp_path, 12))
    (tmp_path / "music" / "broken.mid").write_bytes(b"MThd")
    there, here = load(corpus, tmp_path / "there", batches=executor.read), load(corpus, tmp_path / "here")
    assert there.digest == here.digest
    assert there.dropped == here.dropped
    assert len(there.ids) == 12


def test_a_machine_that_does_not_share_the_folder_is_named(tmp_path: Path) -> None:
    plan = planned(tmp_path, "ngram")
    with pytest.raises(UserError, match=f"{os.uname().nodename} does not see .* must share this folder"):
        _work_there(task(plan.trials[0], tmp_path), plan.comparison / ".shared-by-another")


def test_the_message_without_ray_names_the_extra(tmp_path: Path) -> None:
    words = ["etude", "run", "--scale", "smoke", "--only", "ngram", "--engine", "ray"]
    code = f"import sys; sys.modules['ray'] = None; sys.argv = {words}; from etude.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "ETUDE_CACHE": str(tmp_path / "cache")},
        text=True,
        capture_output=True,
        check=False,
    )
    assert_user_error(done, "--engine ray needs Ray, which is not installed: pip install 'etude[ray]'")

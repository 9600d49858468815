from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from baselines.autoregressive import Autoregressive
from replication.models.diffusion_lm import DiffusionLM
from replication.models.embeddings import Learned
from replication.training.distributed import ProcessGroup, joined_processes, process_group
from replication.training.loop import train_network
from replication.util.checkpoint import CHECKPOINT, read_tensors, save_weights
from replication.util.errors import UserError
from replication.util.generators import seeded
from tests.support.small_scales import job, small_scale

if TYPE_CHECKING:
    from torch import Tensor

    from replication.training.neural_model import NeuralModel

# Windows of different lengths, and batches that two processes share unevenly and split into parts.
SCALE = small_scale(
    steps=20, batch=9, accumulate=2, log_every=5, validate_every=10, checkpoint_every=10, milestones=(10,)
)


def model(kind: str) -> NeuralModel:
    with seeded("model", 0):
        if kind == "diffusion":
            return DiffusionLM(Learned(), vocabulary=12, scale=SCALE)
        return Autoregressive(vocabulary=12, scale=SCALE)


def main(kind: str, folder: Path, stop: int) -> None:
    """Train; called by torchrun in each process."""
    logged: list[dict[str, float]] = []

    def log(step: int, values: Any) -> None:  # noqa: ANN401 - a mapping
        if step == stop:
            raise KeyboardInterrupt
        logged.append({"step": step, **values})

    with joined_processes():
        average = train_network(model(kind), replace(job(folder, SCALE), log=log))
        if process_group().first:
            save_weights(average, folder / "average.safetensors")
            (folder / f"log-{process_group().size}.json").write_text(json.dumps(logged))


def together(processes: int, kind: str, folder: Path, *, stop: int = 0) -> subprocess.CompletedProcess[str]:
    here = Path(__file__)
    environment = os.environ | {"PYTHONPATH": str(here.parents[3]), "OMP_NUM_THREADS": "1"}
    words = ["--standalone", f"--nproc-per-node={processes}", str(here), kind, str(folder), str(stop)]
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def alone(kind: str, folder: Path) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    logged: list[dict[str, float]] = []
    task = replace(job(folder, SCALE), log=lambda step, values: logged.append({"step": step, **values}))
    return train_network(model(kind), task).state_dict(), logged


def check(folder: Path, expected: dict[str, Tensor]) -> None:
    found, _ = read_tensors(folder / "average.safetensors")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["diffusion", "autoregressive"])
def test_two_processes_give_the_losses_of_one(kind: str, tmp_path: Path) -> None:
    expected, losses = alone(kind, tmp_path / "one")
    result = together(2, kind, tmp_path / "two")
    assert result.returncode == 0, result.stderr
    check(tmp_path / "two", expected)
    logged = json.loads((tmp_path / "two" / "log-2.json").read_text())
    assert [values["step"] for values in logged] == [5, 10, 15, 20]
    for one, other in zip(losses, logged, strict=True):
        names = [name for name in one if name != "train/seconds"]
        assert names == [name for name in other if name != "train/seconds"]
        for name in names:
            assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-6), name
    kept = {path.name for path in (tmp_path / "two").iterdir()}
    assert kept == {CHECKPOINT, "step-10.safetensors", "average.safetensors", "log-2.json"}


@pytest.mark.slow
def test_a_run_resumes_with_another_number_of_processes(tmp_path: Path) -> None:
    expected, _ = alone("diffusion", tmp_path / "one")
    assert together(2, "diffusion", tmp_path / "two", stop=15).returncode != 0  # interrupted
    _, progress = read_tensors(tmp_path / "two" / CHECKPOINT)
    assert progress["step"] == "10"
    assert together(1, "diffusion", tmp_path / "two").returncode == 0
    steps = [values["step"] for values in json.loads((tmp_path / "two" / "log-1.json").read_text())]
    assert steps == [15, 20]
    check(tmp_path / "two", expected)


@pytest.mark.slow
def test_the_suite_continues_a_trial_that_two_processes_have_trained(tmp_path: Path) -> None:
    here = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(here), "OMP_NUM_THREADS": "1"}
    environment |= {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    words = ["--scale", "smoke", "--seeds", "1", "--only", "e2e", "ngram", "--root", str(tmp_path)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    result = subprocess.run(
        [*torchrun, "-m", "etude", "fit", *words], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.count("All networks are trained.") == 1
    trial = tmp_path / "runs/smoke/synthetic/e2e/0"
    weights = (trial / "checkpoint" / "model.safetensors").read_bytes()
    about = json.loads((trial / "trial.json").read_text())
    assert (about["status"], about["environment"]["processes"]) == ("RUNNING", 2)
    lines = (trial / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(5, 65, 5))  # every step once
    assert not (tmp_path / "runs/smoke/synthetic/ngram").exists()  # an n-gram model is not trained
    subprocess.run([sys.executable, "-m", "etude", "run", *words], env=environment, capture_output=True, check=True)
    assert (trial / "checkpoint" / "model.safetensors").read_bytes() == weights
    assert (trial / "scores.json").exists()


def test_more_processes_than_windows_in_a_batch_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("replication.training.loop.process_group", lambda: ProcessGroup(rank=0, size=10))
    with pytest.raises(UserError, match="10 processes cannot share a batch of 9 windows; start fewer processes"):
        train_network(model("diffusion"), job(tmp_path, SCALE))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines import AutoregressiveConfig, NGramConfig, ReplayConfig
from baselines.autoregressive import Autoregressive
from replication.models.ablations import Diffusion
from replication.models.diffusion_lm import DiffusionLM
from replication.models.embeddings import Learned, Pretrained, SkipGram
from replication.training.loop import DivergedError, _learning_rate, batch_indices, train_network, validate
from replication.training.neural_model import NeuralModel
from replication.training.scales import BestValidation, Budget, Last
from replication.util.checkpoint import CHECKPOINT, milestone, read_tensors
from replication.util.errors import UserError
from replication.util.generators import seeded
from tests.support.small_scales import job, small_scale

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from replication.training.model import Job, Log, ModelConfig

LONG = small_scale(steps=30, log_every=5, validate_every=10, checkpoint_every=10)


def diffusion(scale: object = LONG) -> DiffusionLM:
    with seeded("model", 0):
        return DiffusionLM(Learned(), vocabulary=12, scale=scale)  # type: ignore[arg-type]  # a scale in all uses


def autoregressive() -> Autoregressive:
    with seeded("model", 0):
        return Autoregressive(vocabulary=12, scale=LONG)


class Interrupted(Exception):  # noqa: N818 - not an error
    pass


def test_milestones_save_the_average_at_their_step_and_change_no_bits(tmp_path: Path) -> None:
    assert LONG.budget.ema > 0
    marked = replace(LONG, budget=replace(LONG.budget, milestones=(0, 7, 20, 30)))
    without = train_network(diffusion(), job(tmp_path / "without", LONG)).state_dict()

    def interrupt(step: int, values: object) -> None:  # noqa: ARG001 - a log
        if step == 25:
            raise Interrupted

    task = job(tmp_path / "with", marked)
    with pytest.raises(Interrupted):
        train_network(diffusion(), replace(task, log=interrupt))
    kept = {step: milestone(task.folder, step).read_bytes() for step in (0, 7, 20)}
    assert not milestone(task.folder, 30).exists()
    train_network(diffusion(), task)
    assert all(milestone(task.folder, step).read_bytes() == content for step, content in kept.items())
    assert sorted(path.name for path in task.folder.iterdir()) == [
        CHECKPOINT,
        *(f"step-{step}.safetensors" for step in (0, 20, 30, 7)),
    ]
    last, first = (read_tensors(milestone(task.folder, step))[0] for step in (30, 0))
    assert last.keys() == without.keys()
    assert all(torch.equal(last[name], without[name]) for name in without)
    assert all(torch.equal(first[name], value) for name, value in diffusion().state_dict().items())


def test_the_learning_rate_decays_linearly_to_zero() -> None:
    assert [_learning_rate(step, Budget(steps=4, learning_rate=8)) for step in range(4)] == [8, 6, 4, 2]
    assert [_learning_rate(step, Budget(steps=2, anneal=4, learning_rate=8)) for step in range(2)] == [8, 6]
    assert [_learning_rate(step, Budget(steps=4, warmup=2, learning_rate=8)) for step in range(4)] == [4, 6, 4, 2]


@pytest.mark.parametrize("build", [diffusion, autoregressive])
def test_an_interrupted_run_ends_with_the_same_bits(build: type, tmp_path: Path) -> None:
    whole = train_network(build(), job(tmp_path / "whole", LONG)).state_dict()

    def interrupt(step: int, values: object) -> None:  # noqa: ARG001 - a log
        if step == 25:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_network(build(), replace(job(tmp_path / "cut", LONG), log=interrupt))
    torch.manual_seed(123)  # the global generator is not used
    steps = []
    resumed = train_network(
        build(), replace(job(tmp_path / "cut", LONG), log=lambda step, _: steps.append(step))
    ).state_dict()
    assert steps == [25, 30]  # from the checkpoint of step 20
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


OVERFITTING = small_scale(  # on few windows: the validation loss has its minimum within the run
    steps=80, learning_rate=4e-3, log_every=5, validate_every=10, checkpoint_every=20, keep=BestValidation()
)


def stopped_early(folder: Path, log: Log) -> tuple[dict[str, Tensor], Job]:
    """Return the weights that training keeps at the lowest validation loss."""
    task = replace(job(folder, OVERFITTING, n=24), log=log)
    return train_network(autoregressive(), task).state_dict(), task


def test_early_stopping_keeps_the_average_at_the_lowest_validation_loss(tmp_path: Path) -> None:
    losses: dict[int, float] = {}
    best_steps = []

    def note(step: int, values: Mapping[str, float]) -> None:
        if "val/loss" in values:
            losses[step] = values["val/loss"]
            best_steps.append(values["val/best_step"])

    kept, task = stopped_early(tmp_path, note)
    best = min(losses, key=losses.__getitem__)
    assert 10 < best < 80
    assert best_steps == [min(list(losses)[: n + 1], key=losses.__getitem__) for n in range(len(losses))]
    model = autoregressive().eval()
    model.load_state_dict(kept)
    assert validate(model, task)["loss"] == losses[best]
    last = replace(OVERFITTING, budget=replace(OVERFITTING.budget, keep=Last()))
    final = train_network(
        autoregressive(), replace(task, scale=last, folder=tmp_path / "last", log=lambda *_: None)
    ).state_dict()
    assert not all(torch.equal(value, kept[name]) for name, value in final.items())


@pytest.mark.parametrize("cut", [25, 75])  # before and after the best step
def test_the_best_weights_survive_an_interruption(cut: int, tmp_path: Path) -> None:
    whole, _ = stopped_early(tmp_path / "whole", lambda *_: None)

    def interrupt(step: int, values: object) -> None:  # noqa: ARG001 - a log
        if step == cut:
            raise Interrupted

    with pytest.raises(Interrupted):
        stopped_early(tmp_path / "cut", interrupt)
    resumed, _ = stopped_early(tmp_path / "cut", lambda *_: None)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    again, _ = stopped_early(tmp_path / "cut", lambda *_: pytest.fail("trained again"))
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


def test_a_checkpoint_without_the_best_weights_is_not_resumed(tmp_path: Path) -> None:
    last = replace(OVERFITTING, budget=replace(OVERFITTING.budget, keep=Last(), steps=20))
    train_network(autoregressive(), job(tmp_path, last))
    with pytest.raises(UserError, match="belongs to another model"):
        train_network(autoregressive(), job(tmp_path, OVERFITTING))


@pytest.mark.parametrize(
    "config",
    [AutoregressiveConfig(), Diffusion(embedding=Pretrained(SkipGram(steps=20))), NGramConfig(order=3), ReplayConfig()],
    ids=lambda config: type(config).__name__,
)
@pytest.mark.parametrize("resident", [True, False])
def test_windows_in_a_file_give_the_same_model_as_in_memory(
    config: ModelConfig, resident: bool, tmp_path: Path
) -> None:
    scale = small_scale(steps=10, log_every=5, validate_every=10, checkpoint_every=10, resident=resident)
    task = job(tmp_path / "memory", scale)
    np.save(tmp_path / "windows.npy", task.train.numpy().view(np.uint16))
    mapped = np.load(tmp_path / "windows.npy", mmap_mode="c")
    for name, train in {"memory": task.train.long(), "file": torch.from_numpy(mapped.view(np.int16))}.items():
        with seeded("model", 0):
            model = config.build(vocabulary=12, scale=scale)
        model.fit(replace(task, train=train, folder=tmp_path / name))
        model.save(tmp_path / name / "model.safetensors")
    one, other = (read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("memory", "file"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name].to(one[name].dtype)) for name in one)


@pytest.mark.parametrize("build", [diffusion, autoregressive])
def test_a_batch_in_parts_gives_the_loss_and_the_gradients_of_the_whole(build: type, tmp_path: Path) -> None:
    logs: dict[int, list[float]] = {}
    models = {}
    for parts in (1, 3):  # unequal parts of windows of different lengths
        scale = small_scale(steps=30, log_every=5, validate_every=10, checkpoint_every=10, accumulate=parts)
        losses = logs.setdefault(parts, [])
        task = replace(
            job(tmp_path / str(parts), scale),
            log=lambda _, values, losses=losses: losses.append(values["train/loss"]),  # type: ignore[misc]  # a default
        )
        models[parts] = train_network(build(), task)
    assert logs[1] == pytest.approx(logs[3], rel=1e-4)
    for one, other in zip(models[1].parameters(), models[3].parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_logged_terms_add_up_to_the_loss(tmp_path: Path) -> None:
    logged: list[dict[str, float]] = []
    train_network(diffusion(), replace(job(tmp_path, LONG), log=lambda _, values: logged.append(dict(values))))
    assert len(logged) == 6
    for values in logged:
        for part in ("train", "val"):
            terms = [values.get(f"{part}/{name}", 0.0) for name in ("mse", "rounding", "prior")]
            assert sum(terms) == pytest.approx(values.get(f"{part}/loss", 0.0), rel=1e-4)
    assert "val/loss" in logged[1]
    assert "val/loss" not in logged[0]


class Exploding(NeuralModel):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.calls = 0

    def terms(self, tokens: Tensor, *noise: Tensor) -> dict[str, Tensor]:  # noqa: ARG002 - no noise here
        self.calls += self.training
        return {"term": self.weight.sum() * 0 + (float("nan") if self.calls > 12 else 1.0)}

    def draw_chunk(self, indices: range, *, seed: int) -> Tensor:  # noqa: ARG002 - see NeuralModel
        return torch.zeros(len(indices), 1)


def test_a_loss_that_is_not_finite_stops_training(tmp_path: Path) -> None:
    with pytest.raises(
        DivergedError, match=r"the loss is nan .* by step 15; the last good checkpoint is .* of step 10"
    ):
        train_network(Exploding(), job(tmp_path, LONG))
    assert (tmp_path / CHECKPOINT).exists()


def test_a_damaged_checkpoint_is_an_error_that_names_it(tmp_path: Path) -> None:
    train_network(diffusion(), job(tmp_path, LONG))
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"last\.safetensors is damaged"):
        train_network(diffusion(), job(tmp_path, LONG))


def test_a_checkpoint_of_another_model_is_an_error(tmp_path: Path) -> None:
    train_network(diffusion(), job(tmp_path, LONG))
    wider = replace(LONG, dimension=5)
    with pytest.raises(UserError, match=r"belongs to another model: .* has shape"):
        train_network(diffusion(wider), job(tmp_path, wider))


def test_every_epoch_has_every_example_once() -> None:
    seen = torch.cat([batch_indices(step, batch=7, size=21, seed=0) for step in range(6)])
    for epoch in (seen[:21], seen[21:]):
        assert sorted(epoch.tolist()) == list(range(21))
    assert not torch.equal(seen[:21], seen[21:])
    assert batch_indices(0, batch=50, size=20, seed=0).max() < 20  # a batch of more than one epoch

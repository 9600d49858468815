from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from baselines.autoregressive import Autoregressive
from baselines.ngram import NGram
from eval.scoring.teacher import teacher_nll, token_entropy
from replication.models.diffusion_lm import DiffusionLM
from replication.models.embeddings import Learned
from replication.tokens.protocol import CLS, PAD, SEP
from replication.training.model import token_counts
from replication.util.errors import UserError
from replication.util.files import sha256
from replication.util.generators import seeded
from tests.support.small_scales import job, random_windows, small_scale

if TYPE_CHECKING:
    from pathlib import Path

SCALE = small_scale()


def teacher() -> Autoregressive:
    with seeded("model", 1000):
        return Autoregressive(vocabulary=12, scale=SCALE, masked=True)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    model = teacher()
    model.fit(job(tmp_path, SCALE, seed=1000))
    model.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_a_teacher_gives_the_likelihood_of_its_model(weights: Path) -> None:
    windows = random_windows(50, SCALE.length, 12, seed=2)
    judgement = teacher_nll(windows.short(), teacher(), weights)
    model = teacher()
    model.load(weights)
    expected = model.nll(windows, seed=7).total.sum() / token_counts(windows).sum()
    assert judgement.nll == pytest.approx(expected.item())
    assert judgement.ruled_out == 0
    assert judgement.sha256 == sha256(weights)


def test_windows_that_break_the_grammar_are_counted_and_left_out(weights: Path) -> None:
    windows = random_windows(40, SCALE.length, 12, seed=2)
    broken = windows.clone()
    broken[:10, 0] = SEP
    judgement = teacher_nll(broken, teacher(), weights)
    assert judgement.ruled_out == 0.25
    assert judgement.nll == teacher_nll(windows[10:], teacher(), weights).nll
    nothing = teacher_nll(broken[:10], teacher(), weights)
    assert math.isnan(nothing.nll)
    assert nothing.ruled_out == 1


def test_simple_tokens_are_likelier_than_real_ones_and_have_lower_entropy(tmp_path: Path) -> None:
    task = job(tmp_path, SCALE)
    model = NGram(order=2, vocabulary=12, length=SCALE.length)
    task.train[:, 1:20] = torch.randint(3, 12, (len(task.train), 19)).clamp(max=7).short()
    model.fit(task)
    model.save(tmp_path / "model.safetensors")
    simple = task.train.long().clone()
    simple[:, 1:17] = 7
    real, boring = (teacher_nll(windows, model, tmp_path / "model.safetensors") for windows in (task.train, simple))
    assert boring.nll < real.nll
    assert token_entropy(simple) < token_entropy(task.train)


def test_a_bound_cannot_be_a_teacher(tmp_path: Path) -> None:
    model = DiffusionLM(Learned(), vocabulary=12, scale=SCALE)
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="gives a bound; its likelihood must be exact"):
        teacher_nll(random_windows(2, SCALE.length, 12), model, tmp_path / "model.safetensors")


def test_weights_of_another_model_are_refused(weights: Path) -> None:
    with pytest.raises(UserError, match="belongs to another model"):
        teacher_nll(random_windows(2, SCALE.length, 13), Autoregressive(vocabulary=13, scale=SCALE), weights)


def test_token_entropy_has_its_closed_form() -> None:
    windows = torch.tensor([[CLS, 5, 6, SEP, PAD], [CLS, 5, 6, 7, SEP]])
    expected = -(3 * (2 / 7) * math.log(2 / 7) + (1 / 7) * math.log(1 / 7))
    assert token_entropy(windows) == pytest.approx(expected)
    assert token_entropy(torch.tensor([[CLS, 5, 5, 5]])) == 0
    assert math.isnan(token_entropy(torch.tensor([[CLS, PAD, PAD]])))

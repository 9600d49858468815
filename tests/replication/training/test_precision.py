from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F

from baselines.autoregressive import Autoregressive
from replication.models.diffusion_lm import DiffusionLM
from replication.models.embeddings import Learned
from replication.models.transformer import attend
from replication.training.loop import train_network
from replication.training.precision import accelerated, has_bfloat16, has_compiler
from replication.training.scales import Budget
from replication.util.generators import generator, seeded
from tests.support.small_scales import job, random_windows, small_scale

if TYPE_CHECKING:
    from replication.training.neural_model import NeuralModel
    from replication.training.scales import Scale

CPU = torch.device("cpu")
SHORT = small_scale(steps=10, log_every=5, validate_every=10, checkpoint_every=10)


def diffusion(scale: Scale) -> NeuralModel:
    with seeded("model", 0):
        return DiffusionLM(Learned(), vocabulary=12, scale=scale)


def autoregressive(scale: Scale) -> NeuralModel:
    with seeded("model", 0):
        return Autoregressive(vocabulary=12, scale=scale)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_as_matrix_products_equals_the_kernel(causal: bool) -> None:
    query, key, value = torch.randn(3, 2, 4, 34, 8, generator=generator("attention")).bfloat16()
    exact = F.scaled_dot_product_attention(query.double(), key.double(), value.double(), is_causal=causal)
    found = attend(query, key, value, dropout=0.0, causal=causal)
    torch.testing.assert_close(found.double(), exact, atol=0.02, rtol=0.02)
    single = (query.float(), key.float(), value.float())
    torch.testing.assert_close(attend(*single, dropout=0.0, causal=causal).double(), exact, atol=1e-5, rtol=1e-5)


def test_dropout_of_attention_as_matrix_products_has_the_right_rate() -> None:
    values = torch.ones(1, 1, 400, 400, dtype=torch.bfloat16)
    with seeded("dropout", 0):
        found = attend(values, values, values, dropout=0.25, causal=False)
    # Each of 400 equal weights is dropped with probability 1/4, and the others are scaled up.
    assert found.float().mean().item() == pytest.approx(1, abs=0.01)
    assert found.float()[..., 0].std().item() == pytest.approx((0.25 / 0.75 / 400) ** 0.5, rel=0.2)


@pytest.mark.parametrize("build", [diffusion, autoregressive])
def test_the_loss_in_bfloat16_equals_single_precision_up_to_rounding(build: type) -> None:
    model: NeuralModel = build(SHORT)
    for weight in model.parameters():  # residual branches start at zero, which would hide differences
        torch.nn.init.normal_(weight, std=0.2)
    tokens = random_windows(32, SHORT.length, 12)
    noise = model.noise(tokens, random=generator("noise"))
    exact = model.terms(tokens, *noise)
    found = accelerated(model.terms, Budget(bfloat16=True), CPU)(tokens, *noise)
    for name, value in exact.items():
        torch.testing.assert_close(found[name].float(), value, rtol=0.02, atol=1e-6)
    if has_bfloat16(CPU):
        assert any(not torch.equal(found[name], exact[name]) for name in exact)


@pytest.mark.slow
@pytest.mark.parametrize("build", [diffusion, autoregressive])
def test_compiled_training_equals_plain_training_up_to_rounding(
    build: type, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    models = {}
    for compiled in (False, True):
        scale = replace(SHORT, budget=replace(SHORT.budget, compile=compiled))
        models[compiled] = train_network(build(scale), job(tmp_path / str(compiled), scale))
    assert "torch.compile does not work" not in capfd.readouterr().err
    for one, other in zip(models[False].parameters(), models[True].parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_without_a_compiler_training_continues_with_one_warning(tmp_path: Path) -> None:
    program = """
import torch
from replication.training.precision import accelerated
from replication.training.scales import Budget
double = accelerated(lambda x: (x * 2).sin(), Budget(compile=True), torch.device("cpu"))
x = torch.arange(4.0)
assert torch.equal(double(x), (x * 2).sin()) and torch.equal(double(x + 1), (x * 2 + 2).sin())
accelerated(lambda x: x, Budget(compile=True), torch.device("cpu"))
"""
    environment = os.environ | {"CXX": "/no/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[3])}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    warned = [line for line in result.stderr.splitlines() if line.startswith("torch.compile does not work here (")]
    assert len(warned) == 1
    assert warned[0].endswith("; continuing without it")


def test_the_compiler_is_found_without_gradients_too() -> None:
    has_compiler.cache_clear()
    with torch.no_grad():
        assert has_compiler(CPU)


@pytest.mark.slow
def test_compiled_training_with_dropout_resumes_with_the_same_bits(tmp_path: Path) -> None:
    budget = replace(SHORT.budget, compile=True, bfloat16=True, accumulate=2, steps=10, checkpoint_every=5)
    scale = replace(SHORT, backbone=replace(SHORT.backbone, dropout=0.1), budget=budget)
    whole = train_network(diffusion(scale), job(tmp_path / "whole", scale)).state_dict()

    def interrupt(step: int, values: object) -> None:  # noqa: ARG001 - a log
        if step == 10:
            raise InterruptedError

    cut = job(tmp_path / "cut", scale)
    with pytest.raises(InterruptedError):
        train_network(diffusion(scale), replace(cut, log=interrupt))
    resumed = train_network(diffusion(scale), cut).state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())

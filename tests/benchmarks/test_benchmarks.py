from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import data as bench_data
from benchmarks import scores as bench_scores
from benchmarks.__main__ import GROUPS, Setting, bench
from benchmarks.compare import compare, ratios
from benchmarks.models import diffusion_ends, training_flop
from benchmarks.race import Measurement, Row, exponent, race, repeat
from benchmarks.reference import Published, available, bert
from benchmarks.scaling import SERIES, scaling
from benchmarks.table import present, read_run, records
from replication.models.diffusion_lm import DiffusionLM
from replication.models.embeddings import Learned
from replication.training.backbones import Bert
from replication.training.scales import SCALES
from replication.util.errors import UserError
from replication.util.generators import generator, seeded
from tests.support.small_scales import SMOKE, random_windows

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

VOCABULARY = 12
SMALL = replace(SMOKE, backbone=Bert(layers=2, width=32, heads=4, feedforward=64, positions=40, dropout=0.0))
SETTING = Setting(scale=SMOKE, vocabulary=VOCABULARY, batch=4, reference=available())
ROWS = {row.name: row for rows in GROUPS.values() for row in rows(SETTING)}

with_transformers = pytest.mark.skipif(not available(), reason="transformers is in the bench group")


class Enough(Exception):  # noqa: N818 - not an error
    pass


def published(model: DiffusionLM) -> Published:
    """Return the reference implementation with the weights of a model of Etude."""
    backbone = model.scale.backbone
    assert isinstance(backbone, Bert)
    vocabulary, dimension = model.embedding.weight.shape
    result = Published(backbone, vocabulary=vocabulary, dimension=dimension, alpha_bar=model.alpha_bar)
    state = model.state_dict()
    theirs = {
        "word_embedding.weight": state["embedding.weight"],
        "lm_head.weight": state["embedding.weight"],
        "lm_head.bias": state["rounding_bias"],
        "position_embeddings.weight": state["transformer.positions.weight"],
    }
    names = {"time": "time_embed", "up": "input_up_proj", "down": "output_down_proj", "transformer.norm": "norm"}
    names |= {
        f"transformer.layers.{layer}.{own}": f"encoder.layer.{layer}.{its}"
        for layer in range(backbone.layers)
        for own, its in {
            "attention.out": "attention.output.dense",
            "norms.0": "attention.output.LayerNorm",
            "widen": "intermediate.dense",
            "narrow": "output.dense",
            "norms.1": "output.LayerNorm",
        }.items()
    }
    for own, its in names.items():
        theirs |= {name.replace(own, its, 1): value for name, value in state.items() if name.startswith(f"{own}.")}
    for layer in range(backbone.layers):
        for kind in ("weight", "bias"):
            parts = state[f"transformer.layers.{layer}.attention.qkv.{kind}"].chunk(3)
            attention = f"encoder.layer.{layer}.attention.self"
            theirs |= {
                f"{attention}.{part}.{kind}": value
                for part, value in zip(("query", "key", "value"), parts, strict=True)
            }
    result.load_state_dict(theirs)
    return result


@with_transformers
def test_the_published_step_has_our_loss_and_gradients_with_the_same_weights_and_noise() -> None:
    with seeded("model", 0):
        ours = DiffusionLM(Learned(), vocabulary=VOCABULARY, scale=SMALL)
    torch.nn.init.normal_(ours.rounding_bias, generator=generator("bias"))
    theirs = published(ours)
    tokens = random_windows(6, SMALL.length, VOCABULARY)
    start, index, step = ours.noise(tokens, random=generator("noise"))
    index[0] = 0  # the timestep with another target
    loss = torch.stack(list(ours.terms(tokens, start, index, step).values())).sum()
    reference = theirs.loss(tokens, index, start, step)
    torch.testing.assert_close(loss, reference)
    loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    reference.backward()  # type: ignore[no-untyped-call]  # the same
    pairs: list[tuple[Tensor | None, Tensor | None]] = [
        (ours.embedding.weight.grad, theirs.word_embedding.weight.grad),
        (ours.rounding_bias.grad, theirs.lm_head.bias.grad),
        (ours.get_parameter("up.0.weight").grad, theirs.get_parameter("input_up_proj.0.weight").grad),
        (ours.get_parameter("time.2.bias").grad, theirs.get_parameter("time_embed.2.bias").grad),
    ]
    for own, its in pairs:
        torch.testing.assert_close(own, its, atol=1e-5, rtol=1e-4)


@with_transformers
def test_the_published_network_has_the_published_number_of_parameters() -> None:
    paper = SCALES["paper"]
    with torch.device("meta"):
        theirs = Published(bert(paper), vocabulary=821, dimension=16, alpha_bar=torch.ones(1))
    assert sum(parameter.numel() for parameter in theirs.parameters()) == 87_129_749
    with torch.device("meta"):
        ours = DiffusionLM(Learned(), vocabulary=821, scale=paper)
    assert ours.parameters_count() == 87_129_749


@with_transformers
def test_training_flop_equals_the_operations_of_the_published_step() -> None:
    batch, width = 3, SMALL.backbone.width
    alpha_bar = torch.from_numpy(SMALL.schedule.alpha_bar(SMALL.timesteps))
    assert isinstance(SMALL.backbone, Bert)
    model = Published(SMALL.backbone, vocabulary=VOCABULARY, dimension=SMALL.dimension, alpha_bar=alpha_bar)
    tokens = random_windows(batch, SMALL.length, VOCABULARY)
    noise = torch.randn(2, *tokens.shape, SMALL.dimension)
    with FlopCounterMode(display=False) as counter:
        model.loss(tokens, torch.ones(batch, dtype=torch.long), *noise).backward()  # type: ignore[no-untyped-call]
    time_network = 4 * 128 * 512 + 6 * 512 * width  # no gradient flows into the time
    counted = training_flop(SMALL.backbone, length=SMALL.length, ends=diffusion_ends(SMALL, VOCABULARY))
    assert counter.get_total_flops() == tokens.numel() * counted + batch * time_network


@pytest.mark.parametrize("name", ROWS)
def test_every_contender_reports_equal_positive_amounts(name: str) -> None:
    amounts: list[float] = []

    def lap(amount: float) -> None:
        amounts.append(amount)
        if len(amounts) == 2:
            raise Enough

    with pytest.raises(Enough):
        ROWS[name].contender(lap)
    assert amounts[0] == amounts[1] > 0


def test_row_names_are_unique_and_rows_refer_to_their_group() -> None:
    for rows in GROUPS.values():
        names = [row.name for row in rows(SETTING)]
        assert len(set(names)) == len(names)
        assert {row.against for row in rows(SETTING) if row.against} <= set(names)
        assert {name for row in rows(SETTING) for name in row.peaks} <= set(names)


def test_without_transformers_no_row_refers_to_it() -> None:
    rows = [row for group in ("train", "sample") for row in GROUPS[group](replace(SETTING, reference=False))]
    assert rows
    assert all(row.against is None for row in rows)
    assert not any("published" in row.name or "generate" in row.name for row in rows)


def test_contenders_are_measured_in_separate_processes() -> None:
    nap = partial(repeat, partial(time.sleep, 0.01), 2.0)
    rows = [
        Row(name="one", unit="naps/s", contender=nap, threads=1),
        Row(name="two at once", unit="naps/s", contender=nap, threads=1, copies=2, against="one"),
    ]
    measured = race(rows, laps=3, seconds=0.05)
    assert set(measured) == {"one", "two at once"}
    for result in measured.values():
        assert len(result.rates) == 3
        assert min(result.rates) > 0
        assert result.start > 0
        assert result.memory > 10
    assert max(measured["one"].rates) <= 2 / 0.01  # no nap is shorter


def test_a_contender_that_ends_is_named() -> None:
    gone = Row(name="gone", unit="1/s", contender=partial(repeat, partial(sys.exit, 3), 1.0), threads=1)
    with pytest.raises(UserError, match="'gone' ended with code 3"):
        race([gone])


def test_ratios_are_medians_of_the_ratios_per_lap() -> None:
    slowing = Measurement(rates=(8.0, 4.0, 2.0), start=0, memory=0)  # other load slowed down both
    other = Measurement(rates=(4.0, 2.0, 1.0), start=0, memory=0)
    assert slowing.rate == 4
    assert slowing.against(other) == 2


@pytest.mark.parametrize("power", [-1, 1, 2])
def test_exponents_of_made_up_timings(power: float) -> None:
    sizes = [1, 2, 4, 8, 16]
    assert exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)
    assert exponent(sizes, [5 + 3 * size**power for size in sizes], fixed=5) == pytest.approx(power)
    assert math.isnan(exponent(sizes, [1.0] * 5, fixed=1.0))


def test_every_series_is_measured_at_four_sizes_and_a_small_one() -> None:
    for series in SERIES.values():
        assert len(series.sizes) >= 4
        assert series.small < min(series.sizes)


def write_run(path: Path, factor: float, name: str = "fast", **about: object) -> Path:
    rows = [
        Row(name="matrix", unit="GFLOP/s", contender=repeat, threads=1, flop=1e9),  # type: ignore[arg-type]  # never run
        Row(name=name, unit="tokens/s", contender=repeat, threads=1, against="slow", flop=1e6, peaks=("matrix",)),  # type: ignore[arg-type]
        Row(name="slow", unit="tokens/s", contender=repeat, threads=1),  # type: ignore[arg-type]
    ]
    rates = {"matrix": 10.0, name: 6 * factor, "slow": 2 * factor}
    measured = {name: Measurement(rates=(rate,), start=1, memory=300) for name, rate in rates.items()}
    present(records(rows, measured), path, **{"scale": "smoke"} | about)
    return path


def test_json_holds_the_rows_and_the_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(write_run(tmp_path / "a.json", 1).read_text())
    assert set(content) == {"scale", "rows", "machine", "checksum"}
    assert content["rows"]["fast"] == {
        "value": 6,
        "unit": "tokens/s",
        "lowest": 6,
        "highest": 6,
        "against": "slow",
        "ratio": 3,
        "flop_per_s": 6e6,
        "share_of_matrix_rate": pytest.approx(6e6 / 10e9),
        "threads": 1,
        "copies": 1,
        "start_s": 1,
        "peak_memory_MB": 300,
        "peak_device_memory_MB": None,
    }
    assert {"processor", "cores", "threads", "packages", "commit", "gpu", "memory_GB"} <= set(content["machine"])
    assert "transformers" in content["machine"]["packages"]
    assert "ratio of fast: to slow" in capsys.readouterr().out


def test_two_runs_are_compared_row_by_row(tmp_path: Path) -> None:
    before, after = write_run(tmp_path / "a.json", 1), write_run(tmp_path / "b.json", 2, name="faster")
    assert ratios(before, after) == {"matrix": (10, 10, "GFLOP/s", 1), "slow": (2, 4, "tokens/s", 2)}


def test_runs_with_different_settings_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = write_run(tmp_path / "a.json", 1), write_run(tmp_path / "b.json", 2, scale="cpu")
    with pytest.raises(UserError, match="cannot be compared: scale is smoke in the first and cpu in the second"):
        ratios(before, after)
    capsys.readouterr()
    compare(before, before)
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()][-2:] == ["A", "B"]


def test_files_that_are_not_results_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    for content in ('{"rows": {"a": 1}}', '{"rows": {"a": {"value": "x", "unit": "s"}}}', '{"rows": {}}'):
        path.write_text(content)
        with pytest.raises(UserError, match="is not a result of"):
            read_run(path)
    with pytest.raises(UserError, match="is not a result of"):
        read_run(tmp_path / "missing.json")


def test_invalid_options_are_refused() -> None:
    with pytest.raises(UserError, match="--only nothing"):
        bench("smoke", only=("nothing",))
    with pytest.raises(UserError, match="--batch"):
        bench("smoke", batch=0)
    with pytest.raises(UserError, match="--only nothing"):
        scaling(("nothing",))
    with pytest.raises(UserError, match="unknown corpus 'foo'"):
        bench_data.bench(("foo",))
    with pytest.raises(UserError, match="--sample 0"):
        bench_data.bench(sample=0)
    with pytest.raises(UserError, match="--samples 4"):
        bench_scores.bench(samples=4)

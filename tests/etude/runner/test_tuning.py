from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest

from baselines import BASELINES
from etude.runner.tuning import TUNED, choose, is_tuned, tuned, tuning_experiments
from eval.scoring.experiments import EXPERIMENTS, default
from replication.models.ablations import ABLATIONS, Diffusion, Experiment
from replication.models.embeddings import Pretrained
from replication.models.transformer import Transformer
from replication.training.backbones import Bert, Larger, PreNorm, Smaller, encoder_weights
from replication.training.scales import SCALES, Scale, TuningPoint, tuning_scale
from replication.util.errors import UserError

GPU = SCALES["gpu"]
ROWS = tuple(row for row in (*ABLATIONS, *BASELINES) if row.encoding == "paper")
OTHERS = ("gaussian-official", "pretrained-official", "e2e-large", "e2e-small")  # at the point of an arm
ARMS = tuple(EXPERIMENTS[name] for name in TUNED)


def model_of(row: Experiment) -> Diffusion:
    assert isinstance(row.model, Diffusion)
    return row.model


def test_the_arms_are_the_rows_that_differ_in_their_embeddings() -> None:
    assert TUNED == ("e2e", "gaussian", "pretrained", "pretrained-ar")
    assert [row.name for row in EXPERIMENTS.values() if is_tuned(row)] == [*TUNED, *OTHERS]
    assert EXPERIMENTS["e2e-small"].arm == "e2e"
    for row in EXPERIMENTS.values():
        if is_tuned(row):
            assert model_of(row).dimension is None
            assert row.point is None


def test_every_arm_is_tried_at_the_same_points_and_at_equal_cost() -> None:
    rows = tuning_experiments(ARMS, GPU)
    assert len(rows) == len(TUNED) * len(GPU.tuning_grid) == len({row.name for row in rows})
    assert {row.kind for row in rows} == {"tuning"}
    for arm in TUNED:
        own = [row for row in rows if row.arm == arm]
        assert [row.point for row in own] == list(GPU.tuning_grid)
        points = [(model_of(row).dimension, model_of(row).embedding.scale) for row in own]
        assert points == [(16, 1.0), (16, 0.5), (32, 1.0), (32, 0.5)]
    assert rows[3].name == "e2e-d32-s0.5"
    assert rows[3].label == "Diffusion-LM, end-to-end, d 32, scale 0.5"
    assert not {row.name for row in rows} & EXPERIMENTS.keys()


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_the_tuning_scale_is_shorter_and_sees_nothing_of_the_test_split(scale: Scale) -> None:
    tuning = tuning_scale(scale)
    assert (tuning.name, tuning.tunes, scale.tunes) == (f"{scale.name}-tuning", scale.name, None)
    assert tuning.held_out == "validation" != scale.held_out
    assert tuning.budget.steps == scale.budget.steps // scale.tuning_share
    assert tuning.budget.warmup <= tuning.budget.steps
    assert tuning.samples >= 32
    changed = {"name", "about", "budget", "samples", "tuning_grid", "held_out", "tunes", "experiments"}
    kept = {field.name for field in fields(scale)} - changed
    assert all(getattr(tuning, name) == getattr(scale, name) for name in kept)


def test_the_best_point_of_every_arm_is_chosen_and_the_first_of_equal_ones() -> None:
    scores = {(arm, point): 3.0 for arm in TUNED for point in GPU.tuning_grid}
    scores["e2e", TuningPoint(dimension=2)] = scores["e2e", TuningPoint(dimension=2, scale=0.5)] = 1.0
    scores["gaussian", TuningPoint()] = math.nan
    scores["pretrained", TuningPoint(scale=0.5)] = 2.9
    assert choose(scores, GPU) == {
        "e2e": TuningPoint(dimension=2),
        "gaussian": TuningPoint(scale=0.5),
        "pretrained": TuningPoint(scale=0.5),
        "pretrained-ar": TuningPoint(),
    }
    assert choose({}, GPU) == {}


def test_an_incomplete_grid_chooses_nothing() -> None:
    keys = [("e2e", point) for point in GPU.tuning_grid]
    with pytest.raises(UserError, match=r"e2e cannot be tuned without its trials at d 32, scale 0\.5: run the whole"):
        choose(dict.fromkeys(keys[:-1], 1.0), GPU)
    assert choose(dict.fromkeys(keys, math.nan), GPU) == {}


def test_the_chosen_point_is_put_into_the_model() -> None:
    point = TuningPoint(dimension=2, scale=0.5)
    rows = {row.name: tuned(row, dict.fromkeys(TUNED, point), GPU) for row in ROWS}
    for before in ROWS:
        after = rows[before.name]
        if before.name not in {*TUNED, *OTHERS}:
            assert after is before
            continue
        assert model_of(after).dimension == 32
        assert model_of(after).embedding.scale == 0.5
        assert after.point == point
        assert replace(after, model=before.model, point=None) == before
    assert rows["e2e-small"].model == replace(model_of(rows["e2e"]), backbone=Smaller())
    assert all(tuned(row, {}, GPU) is row for row in ROWS)


def test_the_default_scale_tunes_nothing_and_a_study_has_seeds_of_its_own() -> None:
    cpu, study = SCALES["cpu"], SCALES["study"]
    assert cpu.tuning_grid == ()
    assert "demonstration" in cpu.about
    assert study.seeds == tuple(range(100, 110))
    assert {point.dimension for point in study.tuning_grid} == {1}
    assert [point.scale for point in study.tuning_grid] == [1.0, 0.5]
    others = {seed for scale in SCALES.values() if scale is not study for seed in scale.seeds}
    assert not set(study.seeds) & others


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_seeds_are_counted_from_the_first_of_the_scale(scale: Scale) -> None:
    assert scale.seeds == scale.countable_seeds[: len(scale.seeds)]
    assert list(scale.countable_seeds) == sorted(set(scale.countable_seeds))
    assert scale.count_of(scale.seeds) == len(scale.seeds)
    assert scale.count_of([scale.seeds[-1] + 2]) == len(scale.seeds) + 2
    assert scale.count_of([]) == scale.count_of([1000]) == scale.count_of(scale.seeds[:1]) == 1


def test_pretrained_vectors_exist_at_every_point_of_every_grid() -> None:
    for scale in SCALES.values():
        for row in tuning_experiments(ARMS, scale):
            model = model_of(row)
            assert model.dimension
            if isinstance(model.embedding, Pretrained):
                assert math.log2(model.dimension).is_integer()


def test_the_smaller_backbone_is_electras_share_of_berts() -> None:
    small = Smaller()(Bert(), dimension=16)
    assert (small.layers, small.heads, small.width, small.feedforward) == (12, 4, 256, 1024)
    assert encoder_weights(Bert()) == 9 * encoder_weights(small)
    backbone = PreNorm(width=32, heads=2, feedforward=64)
    assert Larger()(backbone, dimension=8) == PreNorm(width=48, heads=3, feedforward=96)
    assert Smaller()(backbone, dimension=8) == PreNorm(width=16, heads=1, feedforward=32)
    assert Larger()(Bert(), dimension=16) == Bert()
    for scale in SCALES.values():
        small = Smaller()(scale.backbone, dimension=1)
        assert encoder_weights(Larger()(scale.backbone, dimension=1)) == 9 * encoder_weights(small)
        assert small.width // small.heads == scale.backbone.width // scale.backbone.heads
        assert small.feedforward * scale.backbone.width == scale.backbone.feedforward * small.width


def test_a_smaller_backbone_below_twice_the_dimension_is_refused() -> None:
    scale = replace(SCALES["cpu"], backbone=PreNorm(layers=4, width=64, heads=4, feedforward=256))
    assert Smaller()(scale.backbone, dimension=16) == PreNorm(layers=4, width=32, heads=2, feedforward=128)
    message = r"the smaller backbone has width 32, below 2 times d = 17; use a scale whose backbone is wider than 64"
    with pytest.raises(UserError, match=message):
        Smaller()(scale.backbone, dimension=17)
    row = EXPERIMENTS["e2e-small"]
    with pytest.raises(UserError, match="has width 32, below 2 times d = 32"):
        replace(model_of(row), dimension=32).build(vocabulary=12, scale=scale)


@pytest.mark.parametrize("name", [name for name, scale in SCALES.items() if "e2e-small" in default(scale)])
def test_scales_that_compare_backbones_have_room_for_the_smaller_one(name: str) -> None:
    scale = SCALES[name]
    dimensions = {scale.dimension * point.dimension for point in (TuningPoint(), *scale.tuning_grid)}
    assert Smaller()(scale.backbone, dimension=max(dimensions))


def test_the_notes_state_the_sizes_of_backbones_at_their_scale() -> None:
    row = EXPERIMENTS["e2e-small"]
    nine = "9,437,184 instead of 84,934,656, with width 256 instead of 768."
    than = "Its layers have 9 times fewer weights than those of the larger backbone:"
    assert row.note_at(SCALES["paper"]) == f"{row.note} {than} {nine}"
    backbone = PreNorm(layers=4, width=64, heads=4, feedforward=256)
    assert "2.25 times the weights of the scale's backbone: 442,368, with width 96." in Larger().comparison(backbone)
    assert "49,152 instead of 442,368, with width 32 instead of 96." in Smaller().comparison(backbone)
    assert EXPERIMENTS["e2e"].note_at(SCALES["paper"]) == EXPERIMENTS["e2e"].note


def test_encoder_weights_are_those_of_the_matrices_of_the_layers() -> None:
    for backbone in (PreNorm(width=32, heads=2, feedforward=48), Bert(width=32, heads=4, feedforward=64, layers=3)):
        layers = Transformer(backbone, length=8, causal=False).layers
        assert encoder_weights(backbone) == sum(weight.numel() for weight in layers.parameters() if weight.ndim == 2)

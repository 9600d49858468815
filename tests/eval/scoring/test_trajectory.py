from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from etude.trial import stages
from etude.trial.scoring import read_samples
from etude.trial.workbench import Workbench
from eval.scoring.trajectory import LEVELS, Estimate, RecordingRounding, curves, margin, notes, trajectory
from replication.diffusion.rounding import AsPredicted, Expectation, Nearest, nearest
from replication.diffusion.samplers import DDIM, Ancestral, DPMSolver, Euler, Renoised
from replication.diffusion.schedule import Sqrt
from replication.diffusion.selection import MinimumBayesRisk
from replication.midi.piece import PAPER_GRID
from replication.models.diffusion_lm import DiffusionLM
from replication.models.embeddings import Learned
from replication.tokens.encodings import Paper
from replication.util.generators import generator, seeded
from tests.support.small_scales import small_scale
from tests.support.small_trials import planned, windows

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from replication.diffusion.samplers import IterativeSampler

WALKS: tuple[IterativeSampler, ...] = (
    *(kind(steps=6) for kind in (Ancestral, Renoised, DDIM, DPMSolver, Euler)),
    *(Ancestral(steps=6, rounding=rounding) for rounding in (AsPredicted(), Expectation(), Nearest(last=0.5))),
)


@pytest.mark.parametrize("walk", WALKS, ids=str)
def test_recording_a_trajectory_does_not_change_the_sample(walk: IterativeSampler) -> None:
    seen: list[Estimate] = []
    drawn = []
    for sampler in (walk, replace(walk, rounding=RecordingRounding(walk.rounding, seen))):
        with seeded("test", 0):
            model = DiffusionLM(Learned(), vocabulary=12, scale=replace(small_scale(length=10), sampler=sampler)).eval()
        drawn.append(model.sample(range(64), seed=3))
    assert torch.equal(*drawn)
    assert len(seen) == 6
    assert (seen[-1].tokens == drawn[0].numpy()).all()
    assert [one.t for one in seen] == pytest.approx([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6], abs=0.01)


def test_margins_are_differences_of_the_two_smallest_distances() -> None:
    table = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    assert margin(table[:1], table) == pytest.approx(3)  # at a word: the distance to the next
    assert margin(table[:2].mean(0), table) == pytest.approx(0)  # half-way: a toss
    assert margin(torch.tensor([[1.0, 0.0]], dtype=torch.float64), table) == pytest.approx(1)
    assert margin(table, table) == pytest.approx((3 + 3 + 4) / 3)  # the mean over predictions


def test_the_optimal_denoiser_begins_at_the_mean_embedding_and_ends_certain() -> None:
    table = torch.tensor([[-2.0], [0.5], [2.0]], dtype=torch.float64)
    shares = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64)
    alpha_bar = torch.from_numpy(Sqrt().alpha_bar(2000))

    def denoise(x: Tensor, index: float) -> Tensor:
        kept = alpha_bar[int(index)]
        distances = (x[..., None, :] - kept.sqrt() * table).pow(2).sum(-1)
        return (shares.log() - distances / (2 * (1 - kept))).softmax(-1) @ table

    random = generator("noise")
    seen: list[Estimate] = []
    Ancestral(steps=100, rounding=RecordingRounding(AsPredicted(), seen))(
        denoise, table, alpha_bar, lambda: torch.randn(200, 1, 1, generator=random, dtype=torch.float64)
    )
    mean = (shares @ table)[None]
    assert (seen[0].tokens == nearest(table, mean).item()).mean() > 0.95
    assert seen[0].margin == pytest.approx(margin(mean, table), abs=0.1)
    words = seen[-1].tokens.ravel()
    gaps = np.array([2.5, 1.5, 1.5])  # from each word to the next
    assert seen[-1].margin == pytest.approx(gaps[words].mean(), abs=0.05)


def test_curves_count_what_changes_and_what_is_valid() -> None:
    encoding = Paper()
    ids = {word: index for index, word in enumerate(encoding.vocabulary)}
    scale = [ids[word] for word in ("[CLS]", "v64", "d8", *(f"p{60 + step}" for step in range(12)), "[SEP]")]
    octave = [ids[word] for word in ("[CLS]", "v64", "d8", *(["p60"] * 12), "[SEP]")]
    broken = [ids["p60"]] * 16
    steps = [np.array([broken, broken]), np.array([scale, broken]), np.array([scale, octave])]
    found = curves([Estimate(1 - index / 3, tokens, 0.1) for index, tokens in enumerate(steps)], encoding)
    assert found["step"].tolist() == [0, 1, 2]
    assert found["t"].tolist() == pytest.approx([1, 2 / 3, 1 / 3])
    assert math.isnan(found["flips"][0])
    assert found["flips"][1:].tolist() == pytest.approx([15 / 32, 4 / 32])  # the scale has one p60, the octave twelve
    assert found["validity"].tolist() == [0, 0.5, 1]
    assert math.isnan(found["entropy"][0])  # nobody plays a note
    assert found["entropy"][1:].tolist() == pytest.approx([math.log2(12), math.log2(12) / 2])
    assert (found["margin"] == 0.1).all()


def test_notes_are_those_of_the_first_sample_at_the_nearest_estimates() -> None:
    encoding = Paper()
    ids = {word: index for index, word in enumerate(encoding.vocabulary)}

    def plays(pitch: int) -> np.ndarray:
        return np.array([[ids[word] for word in ("[CLS]", "v64", "d8", f"p{pitch}", "[SEP]")]] * 2)

    found = notes([Estimate(1 - index / 10, plays(60 + index), 0.0) for index in range(10)], encoding)
    assert found["level"].tolist() == list(LEVELS)
    assert found["pitch"].tolist() == [60, 62, 64, 66, 68, 69]  # of the last there is only t = 0.1


def test_a_trial_is_followed_to_its_own_samples(tmp_path: Path) -> None:
    (trial,) = planned(tmp_path, "e2e").trials
    dataset = windows(trial, tmp_path)
    bench = Workbench(trial=trial, dataset=dataset, grid=PAPER_GRID, device=torch.device("cpu"))
    bench.untrained().save(trial.weights)
    stages.SAMPLE(bench)
    found = trajectory(bench.with_scale, trial.scale, bench.encoding, seed=trial.seed)
    samples = read_samples(trial.folder)
    end = [Estimate(0.0, samples.astype(np.int64), 0.0)]
    sample = notes(end, bench.encoding)
    assert found["trajectory-notes"].query("level == 0").drop(columns="level").to_dict("list") == (
        sample.query("level == 0").drop(columns="level").to_dict("list")
    )
    last, own = found["trajectory"].iloc[-1], curves(end, bench.encoding).iloc[0]
    assert len(found["trajectory"]) == trial.scale.sampler.evaluations
    assert last["validity"] == own["validity"]
    assert last["entropy"] == pytest.approx(own["entropy"], nan_ok=True)
    assert (found["trajectory"]["margin"] > 0).all()
    best = MinimumBayesRisk(sampler=Ancestral(steps=2), candidates=2)
    scale = replace(trial.scale, sampler=best)
    assert (
        trajectory(bench.with_scale, scale, bench.encoding, seed=trial.seed) == {}
    )  # of several walks, which would be the sample's?

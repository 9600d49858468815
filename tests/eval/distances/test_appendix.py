from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from eval.distances.appendix import (
    densities,
    frame_duration,
    frame_facts,
    frame_pitch,
    frame_pitch_variance,
    kullback_leibler,
    mgeval_facts,
    mgeval_kld,
    mgeval_oa,
    overlap,
)
from eval.distances.rows import Rows
from eval.metrics.table import score
from eval.metrics.windows import Windows
from tests.support.pieces import Notes, piece, random_windows

RNG = np.random.default_rng(0)


def facts_of(*pieces: Notes) -> np.ndarray:
    windows = Windows.of([piece(notes) for notes in pieces])
    return mgeval_facts(windows, score(windows))


def rows(values: np.ndarray) -> Rows:
    return Rows(values, np.arange(len(values)))


def test_overlap_of_gaussians_has_a_closed_form() -> None:
    assert overlap(0, 1, 1, 1) == pytest.approx(0.6170750774519738, abs=1e-15)
    assert overlap(3, 2, 3, 2) == 1
    assert overlap(0, 1, 1e6, 1) == 0
    assert overlap([0, 5], 1, [1, 5], [1, 1]) == pytest.approx([0.6170750774519738, 1])


def test_overlap_is_that_of_the_standard_library() -> None:
    rng = np.random.default_rng(0)
    m, n = rng.normal(size=(2, 200)) * 3
    s, t = rng.uniform(0.1, 4, size=(2, 200))
    expected = [
        NormalDist(*a).overlap(NormalDist(*b))
        for a, b in zip(np.column_stack([m, s]), np.column_stack([n, t]), strict=True)
    ]
    np.testing.assert_allclose(overlap(m, s, n, t), expected, atol=1e-12)


def test_far_gaussians_diverge_because_both_are_taken_at_the_same_points() -> None:
    rng = np.random.default_rng(0)
    f, g, step = densities(rng.normal(0, 1, 2000), rng.normal(10, 1, 2000))
    assert f.sum() * step == pytest.approx(1)
    assert kullback_leibler(f, g, step) == pytest.approx(26.2, abs=0.3)
    assert kullback_leibler(f, f, step) == 0


def test_densities_are_those_of_the_sum_over_kernels() -> None:
    values, other = np.random.default_rng(0).normal(size=(2, 300))
    f, _, step = densities(values, other)
    widths = [part.std() * 300**-0.2 for part in (values, other)]
    points = min(values.min(), other.min()) - 8 * max(widths) + step * (np.arange(len(f)) + 0.5)
    exact = stats.norm.pdf(points[:, None], values, widths[0]).mean(axis=1)
    np.testing.assert_allclose(f, exact, atol=1e-4)


def test_densities_of_constants_are_spikes() -> None:
    f, g, step = densities(np.zeros(10), np.zeros(20))
    assert np.minimum(f, g).sum() * step == pytest.approx(1)
    f, g, step = densities(np.zeros(10), np.ones(20))
    assert np.minimum(f, g).sum() * step == pytest.approx(0, abs=1e-9)


def test_mgeval_features_of_a_small_piece() -> None:
    (found, none) = facts_of([(0, 1, 60), (1, 1, 64), (2, 0.5, 60), (2.5, 4, 72)], [])
    used, notes, classes, turns, reach, leap, wait, lengths, changes = np.split(
        found, np.cumsum((1, 1, 12, 144, 1, 1, 1, 12))
    )
    assert (used.item(), notes.item(), reach.item()) == (3, 4, 12)
    assert classes[[0, 4]].tolist() == [0.75, 0.25]
    assert (turns[4], turns[48], turns[0], turns.sum()) == (1, 1, 1, 3)
    assert leap.item() == pytest.approx((4 + 4 + 12) / 3)
    assert wait.item() == pytest.approx(2.5 / 3)
    assert (lengths[6], lengths[3], lengths[11], lengths.sum()) == (0.5, 0.25, 0.25, 1)
    assert (changes[6 * 12 + 6], changes[6 * 12 + 3], changes[3 * 12 + 11], changes.sum()) == (1, 1, 1, 3)
    assert none.tolist() == [0] * 317


def test_overlapping_area_prefers_collapse_to_noise_as_published() -> None:
    windows = random_windows(120)
    facts = mgeval_facts(windows, score(windows))
    real, other = rows(facts[:60]), rows(facts[60:])
    near = mgeval_oa(other, real, RNG)
    assert 0.9 < near <= 1
    assert mgeval_oa(rows(facts[60:] * 5), real, RNG) < 0.6
    assert 0 <= mgeval_kld(other, real, RNG) < 0.1 < mgeval_kld(rows(facts[60:] * 5), real, RNG)
    collapsed = rows(np.tile(np.median(facts[60:], axis=0), (60, 1)))
    assert mgeval_oa(collapsed, real, RNG) > 0.5


def test_frames_that_repeat_overlap_entirely() -> None:
    half = [(0, 1, 60), (2, 2, 64), (5, 1, 67)]
    windows = Windows.of([piece([(8 * k + onset, d, p) for k in range(5) for onset, d, p in half]), piece(half)])
    found = frame_facts(windows, score(windows))
    np.testing.assert_allclose(found[0], 3)  # four frames, three pairs
    assert (found[1] == 0).all()


def test_frames_overlap_as_gaussians_of_their_notes() -> None:
    pitches = [60, 64, 70, 72, 50, 54]
    windows = Windows.of([piece([(4 * k, 1, pitch) for k, pitch in enumerate(pitches)])])
    (pitch, duration) = frame_facts(windows, score(windows))[0]
    first, second = (NormalDist(float(np.mean(part)), float(np.std(part))) for part in (pitches[:4], pitches[2:]))
    area = first.overlap(second)
    np.testing.assert_allclose(pitch, [1, area, area**2])
    np.testing.assert_allclose(duration, 1)


def test_agreement_is_one_with_oneself_and_nan_without_frames() -> None:
    facts = np.ones((4, 2, 3)) * [2, 1, 0.8]
    real = rows(facts)
    for function in (frame_pitch, frame_duration, frame_pitch_variance):
        assert function(real, real, RNG) == pytest.approx(1)
        assert math.isnan(function(rows(facts * 0), real, RNG))
        assert math.isnan(function(real, rows(facts * 0), RNG))
    for theirs, expected in ((0.5, 1), (0.4, 0.75), (0.2, 0)):  # the sample's mean overlap is 1 / 2
        assert frame_pitch(real, rows(facts * [1, 2 * theirs, 1]), RNG) == pytest.approx(expected)

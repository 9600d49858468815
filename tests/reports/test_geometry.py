from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from reports.sections.embeddings import (
    SHUFFLES,
    STATISTICS,
    Geometry,
    against_chance,
    embedding_geometry,
    geometry,
    geometry_table,
)
from tests.support.synthetic_results import synthetic_results

PITCHES = np.arange(30, 96)


def measured(vectors: np.ndarray, pitches: np.ndarray = PITCHES, seed: int = 0) -> Geometry:
    frame = pd.DataFrame(vectors, columns=[f"d{index}" for index in range(vectors.shape[1])]).assign(pitch=pitches)
    rng = np.random.default_rng(seed)
    return geometry(frame.sample(frac=1, random_state=1), rng)


def circle(semitones: int) -> np.ndarray:
    """Return pitch classes on a circle, on which those so many semitones apart are neighbours."""
    angles = 2 * np.pi * PITCHES * semitones / 12
    return np.column_stack([np.cos(angles), np.sin(angles)])


def test_a_circle_of_fifths_has_the_lifts_and_the_power_of_one() -> None:
    found = measured(circle(7))
    assert (found.pitches == PITCHES).all()
    assert found.shares.sum() == pytest.approx(1)
    assert found.found["octave_lift"] == pytest.approx(1 - math.cos(np.pi * 7 / 6))
    expected = math.cos(np.pi / 6) - (math.cos(np.pi) + math.cos(2 * np.pi / 3)) / 2
    assert found.found["fifth_lift"] == pytest.approx(expected)
    assert found.found["fifths"] == pytest.approx(1)
    assert found.found["semitones"] == pytest.approx(0, abs=1e-12)
    assert found.closest == pytest.approx(0, abs=1e-7)
    assert found.cosines[0, 12] == pytest.approx(1)


def test_a_circle_of_semitones_has_only_the_power_of_semitones() -> None:
    found = measured(circle(1)).found
    assert found["semitones"] == pytest.approx(1)
    assert found["fifths"] == pytest.approx(0, abs=1e-12)


def test_pitches_on_a_line_are_as_far_apart_as_their_semitones() -> None:
    line = np.column_stack([np.ones(len(PITCHES)), PITCHES])
    found = measured(line)
    assert found.found["nearness"] == pytest.approx(1)
    assert found.closest == 1
    assert found.anisotropy > 0.9


def test_orthogonal_embeddings_have_no_lift_and_equal_power_in_every_circle() -> None:
    found = measured(np.eye(72), np.arange(24, 96))
    assert found.anisotropy == pytest.approx(0)
    assert found.closest == pytest.approx(math.sqrt(2))
    assert found.found["octave_lift"] == found.found["fifth_lift"] == 0
    assert found.found["semitones"] == pytest.approx(2 / 11)
    assert found.found["fifths"] == pytest.approx(2 / 11)


def test_structure_differs_from_every_shuffle() -> None:
    result = against_chance(
        [measured(circle(7) + 0.1 * np.random.default_rng(seed).normal(size=(66, 2))) for seed in range(3)]
    )
    for name in ("octave_lift", "fifth_lift", "fifths"):
        assert result[name].p == 1 / (1 + SHUFFLES)
        assert result[name].over.low > result[name].high  # the interval is above all of chance


def test_p_values_of_embeddings_without_structure_are_uniform() -> None:
    pitches = np.arange(48, 72)
    found = [
        against_chance([measured(np.random.default_rng(seed).normal(size=(24, 4)), pitches, seed=1000 + seed)])
        for seed in range(200)
    ]
    for name in STATISTICS:
        p = np.array([one[name].p for one in found])
        for level in (0.05, 0.5):
            share, error = (p <= level).mean(), math.sqrt(level * (1 - level) / len(p))
            assert abs(share - level) < 3.5 * error, name


def test_circles_need_all_pitch_classes_and_lifts_need_the_interval() -> None:
    found = measured(np.random.default_rng(0).normal(size=(8, 3)), np.arange(60, 68))
    assert math.isnan(found.found["fifths"])
    assert math.isnan(found.found["octave_lift"])
    assert math.isnan(found.found["fifth_lift"])  # no pair is 8 semitones apart
    assert math.isnan(against_chance([found])["fifths"].p)
    assert math.isfinite(found.found["nearness"])


def test_the_table_distinguishes_arms_with_and_without_structure() -> None:
    results = synthetic_results(seeds=3, without=("e2e-small", "pretrained-ar"))
    values = geometry_table(results).values.set_index("model")  # noqa: PD011 - a field of the table
    assert (values.loc["Diffusion-LM, Gaussian", [f"{name}_p" for name in STATISTICS]] > 0.05).all()
    assert (values.loc["Diffusion-LM, end-to-end", ["octave_lift_p", "fifth_lift_p", "fifths_p"]] < 0.05).all()
    assert "adjusted for all 15 tests" in geometry_table(results).caption


def test_every_arm_has_its_constellation_its_cosines_and_its_chart() -> None:
    results = synthetic_results(seeds=1)
    figure = embedding_geometry(results).figure
    arms = results.embeddings["experiment"].nunique()
    assert sum(axes.axison for axes in figure.axes) == 3 * arms + 2  # two rows of arms, each with a scale of colours
    assert sum(len(axes.images) for axes in figure.axes) == arms


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_corpus_of_few_pitches_has_a_figure_and_a_table(count: int) -> None:
    results = synthetic_results(seeds=2, without=("e2e-small", "pretrained-ar"))
    few = results.embeddings["pitch"].where(results.embeddings["pitch"] < 36 + count)
    some = dataclasses.replace(results, embeddings=results.embeddings.assign(pitch=few))
    assert len(geometry_table(some).frame) == (3 if count > 1 else 0)
    assert len(embedding_geometry(some).figure.axes) == (3 * 3 + 1 if count > 1 else 0)

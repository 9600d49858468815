from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from reports.format.queries import distance_of
from reports.sections.compute import _frontier
from reports.sections.likelihood import frontier
from reports.sections.memorisation import copies
from tests.support.synthetic_results import synthetic_results

if TYPE_CHECKING:
    from eval.results.frames import Results
    from reports.format.figure import CaptionedFigure


def test_the_frontier_excludes_points_that_another_beats_in_both() -> None:
    cost = pd.Series([1.0, 2.0, 3.0, 4.0, 5.0])
    distance = pd.Series([5.0, 6.0, 2.0, 3.0, 1.0])
    assert _frontier(cost, distance) == ([1, 3, 3, 5, 5, 5], [5, 5, 2, 2, 1, 1])
    assert _frontier(cost[:1], distance[:1]) == ([1, 1], [5, 5])


def test_every_model_is_plotted_at_its_cost_and_its_distance(
    results: Results, figures: dict[str, CaptionedFigure]
) -> None:
    left, right = figures["pareto"].figure.axes
    e2e = results.trials[results.trials["experiment"] == "e2e"]
    marks = {tuple(np.ravel(line.get_xydata()).tolist()) for line in left.lines if line.get_marker() == "o"}
    distance = distance_of(results, "e2e").mean()
    assert any(found == pytest.approx((e2e["fit_seconds"].mean(), distance)) for found in marks)
    assert len(marks) == 6  # models only: the cost of a control means nothing
    texts = {text.get_text() for text in right.texts}
    assert {"Diffusion-LM, end-to-end", "Autoregressive"} <= texts


def test_real_music_is_the_target(results: Results, figures: dict[str, CaptionedFigure]) -> None:
    (axes,) = figures["frontier"].figure.axes
    (cross,) = [line for line in axes.lines if line.get_marker() == "P"]
    assert np.ravel(cross.get_xydata()).tolist() == pytest.approx([0.4, 0.4])
    measures = results.measures
    measures = measures.assign(value=measures["value"].where(measures["measure"] != "teacher_nll"))
    (text,) = frontier(dataclasses.replace(results, measures=measures)).figure.texts
    assert text.get_text() == "No model was scored by the teacher."


def test_copies_are_shown_by_sample_and_a_partial_search_is_stated() -> None:
    results = synthetic_results(seeds=2)
    scores = results.scores.assign(copied=np.where(results.scores["experiment"] == "e2e", 1.0, 0.02))
    picture = copies(dataclasses.replace(results, scores=scores))
    steps: Any = picture.figure.axes[0].patches
    samples, windows = (patch.get_data()[0] for patch in steps)
    assert samples[-1] == windows[0] == 100  # percent of them
    assert samples[:-1].sum() == windows[1:].sum() == 0
    assert "were searched" not in picture.caption
    part = dataclasses.replace(results, trials=results.trials.assign(searched=0.125))
    assert "Only 12.5 % of the training windows were searched" in copies(part).caption


def test_samples_without_runs_have_no_rate() -> None:
    results = synthetic_results(seeds=1)
    (text,) = copies(dataclasses.replace(results, scores=results.scores.assign(copied=math.nan))).figure.texts
    assert text.get_text() == "No model has samples of 8 notes."

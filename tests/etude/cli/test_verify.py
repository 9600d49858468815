"""`etude verify` on made-up runs; test_runner.py compares a real one with the published smoke scale."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from etude.cli.verify import agreement, other_data, other_points
from eval.results.agreement import LEVEL, _within_interval, compare, different_hashes, different_parts
from tests.support.synthetic_results import synthetic_results

if TYPE_CHECKING:
    import pandas as pd

    from eval.results.frames import Results

PLACE = {"commit": "abc", "threads": 1, "packages": {"torch": "2.13.0"}}


@pytest.fixture(scope="module")
def there() -> Results:
    return synthetic_results(samples=16)


def moved(results: Results, **changes: Any) -> Results:  # noqa: ANN401 - parts of an environment
    """Return results as if all trials were run in another environment."""
    return replace(results, fingerprints=results.fingerprints.assign(places=json.dumps([PLACE | changes])))


def shifted(results: Results, experiment: str, by: float, column: str = "nll") -> Results:
    trials: pd.DataFrame = results.trials.copy()
    trials.loc[trials["experiment"] == experiment, column] += by
    return replace(results, trials=trials)


def differing(here: Results, there: Results) -> set[tuple[str, str, str]]:
    return {(row.measure, row.of, row.rule) for row in compare(here, there) if row.differs}


def test_a_run_agrees_with_itself_to_the_bit(there: Results) -> None:
    assert agreement(there, there)[1] == []
    rows = compare(there, there)
    assert {row.rule for row in rows} == {"equal"}
    assert all(row.difference == 0 for row in rows)
    assert {"nll", "validity", "distance", "classifier_auc", "frechet"} <= {row.measure for row in rows}


def test_on_a_machine_of_the_same_class_every_bit_counts_whatever_the_commit(there: Results) -> None:
    here = shifted(moved(there, commit="def"), "e2e", 1e-12)
    assert differing(here, there) == {("nll", f"e2e seed {seed}", "equal") for seed in range(3)}
    weights = there.fingerprints["weights"].where(there.fingerprints["experiment"] != "e2e", "others")
    here = replace(there, fingerprints=there.fingerprints.assign(weights=weights))
    assert different_hashes(here, there, "weights") == ([("e2e", 0), ("e2e", 1), ("e2e", 2)], len(there.fingerprints))
    assert agreement(here, there)[1] == [
        f"the bits of e2e seed {seed}, on a machine of the same class" for seed in range(3)
    ]


@pytest.mark.parametrize("changes", [{"threads": 2}, {"packages": {"torch": "2.12.0"}}, {"instructions": ["AVX2"]}])
def test_elsewhere_means_over_seeds_must_lie_within_the_prediction_interval(
    changes: dict[str, Any], there: Results
) -> None:
    here = moved(there, **changes)
    (tolerance,) = {row.tolerance for row in compare(here, there) if row.of.startswith("e2e,") and row.measure == "nll"}
    spread = there.trials[there.trials["experiment"] == "e2e"]["nll"].std()
    assert spread < tolerance < 100 * spread
    assert differing(shifted(here, "e2e", 0.9 * tolerance), there) == set()
    assert differing(shifted(here, "e2e", -1.1 * tolerance), there) == {("nll", "e2e, mean of 3 seeds", "interval")}
    assert differing(shifted(here, "e2e", math.nan), there) == {("nll", "e2e, mean of 3 seeds", "interval")}


def test_models_without_a_network_and_real_music_are_equal_on_every_machine(there: Results) -> None:
    here = moved(there, threads=2)
    assert differing(shifted(here, "unigram", 1e-8), there) == set()
    assert differing(shifted(here, "unigram", 1e-4), there) == {("nll", "unigram seed 0", "equal")}
    scores = there.scores.copy()
    scores.loc[scores["experiment"] == "test", "notes"] += 0.01
    assert differing(replace(here, scores=scores), there) == {("notes", "encoding paper", "equal")}


def test_measures_of_another_teacher_are_not_compared(there: Results) -> None:
    def taught(results: Results, weights: str, by: float) -> Results:
        measures = results.measures
        measures = measures.assign(value=measures["value"] + by * (measures["measure"] == "teacher_nll"))
        teacher = results.fingerprints.iloc[:1].assign(experiment="teacher", seed=1000, weights=weights)
        frame = type(teacher)(data=[*results.fingerprints.to_dict("records"), *teacher.to_dict("records")])
        return replace(results, measures=measures, fingerprints=frame)

    one, other = taught(there, "a", 0), taught(moved(there, threads=2), "b", 5)
    assert "teacher_nll" not in {row.measure for row in compare(other, one)}
    assert agreement(other, one)[1] == []


def test_about_one_in_a_hundred_faithful_runs_is_reported_as_different() -> None:
    rng, runs, names = np.random.default_rng(0), 400, ["a", "b", "c", "d"]
    spreads = np.array([1.0, 0.5, 2.0])  # of three measures

    def run(seeds: int) -> dict[tuple[str, int], dict[str, float]]:
        values = 10 + spreads * rng.normal(size=(len(names), seeds, 3))
        return {
            (name, seed): dict(zip("xyz", values[place, seed], strict=True))
            for place, name in enumerate(names)
            for seed in range(seeds)
        }

    alarms = sum(any(row.differs for row in _within_interval(names, run(3), run(3))) for _ in range(runs))
    assert alarms <= LEVEL * runs + 3 * math.sqrt(LEVEL * runs)


def test_a_single_seed_gives_no_interval() -> None:
    assert _within_interval(["a"], {("a", 0): {"nll": 1.0}}, {("a", 0): {"nll": 2.0}}) == []


def test_differences_in_configuration_windows_and_tuning_are_named(there: Results) -> None:
    here = replace(
        there,
        about=there.about
        | {"configuration": {"timesteps": 100}, "tuned": {"e2e": {"0": "d 32, scale 0.5", "1": "d 16, scale 1"}}},
        encodings=there.encodings.assign(digest="cc"),
    )
    assert other_data(there, there) == other_points(there, there) == []
    assert other_data(here, there) == ["timesteps is 100 here, 2000 there", "the windows in encoding paper"]
    assert other_points(here, there) == ["e2e seed 1 was tuned to d 16, scale 1 here, d 32, scale 0.5 there"]


def test_differences_between_the_machines_are_named(there: Results) -> None:
    assert different_parts([{"threads": 1, "gpu": None}], [{"threads": 2}]) == {"threads": (1, 2)}
    report_text, differences = agreement(moved(there, threads=2, commit="def", cpu="fast"), there)
    trials = len(there.fingerprints)
    assert differences == []
    assert f"machines: of the same class in 0 of {trials} trials" in report_text
    for line in ("threads: 2 here, 1 there", "commit: def here, abc there", "cpu: fast here, not recorded there"):
        assert f"  {line} ({trials})" in report_text

"""`etude verify` on two runs; test_runner.py compares a real one with the published smoke scale."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from etude.cli.verify import agreement, other_data, other_points
from eval.results.agreement import LEVEL, _means, apart, compare, unequal
from tests.support.synthetic_results import synthetic_results

if TYPE_CHECKING:
    import pandas as pd

    from eval.results.frames import Results

PLACE = {"commit": "abc", "threads": 1, "packages": {"torch": "2.13.0"}}


@pytest.fixture(scope="module")
def there() -> Results:
    return synthetic_results(samples=16)


def moved(results: Results, **changes: Any) -> Results:  # noqa: ANN401 - of a place
    """Return results as if all trials had been run in another place."""
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
    assert {row.rule for row in rows} == {"real", "bits"}
    assert all(row.difference == 0 for row in rows)
    assert {"nll", "validity", "floor_ratio", "c2st", "frechet"} <= {row.measure for row in rows}


def test_on_the_same_machine_the_last_bit_counts_whatever_the_commit(there: Results) -> None:
    here = shifted(moved(there, commit="def"), "e2e", 1e-12)
    assert differing(here, there) == {("nll", f"e2e seed {seed}", "bits") for seed in range(3)}
    weights = there.fingerprints["weights"].where(there.fingerprints["experiment"] != "e2e", "others")
    here = replace(there, fingerprints=there.fingerprints.assign(weights=weights))
    assert unequal(here, there, "weights") == ([("e2e", 0), ("e2e", 1), ("e2e", 2)], len(there.fingerprints))
    assert agreement(here, there)[1] == [f"the bits of e2e seed {seed}, on the same machine" for seed in range(3)]


@pytest.mark.parametrize("changes", [{"threads": 2}, {"packages": {"torch": "2.12.0"}}, {"instructions": ["AVX2"]}])
def test_elsewhere_means_over_seeds_are_held_against_the_spread_over_seeds(
    changes: dict[str, Any], there: Results
) -> None:
    here = moved(there, **changes)
    (tolerance,) = {row.tolerance for row in compare(here, there) if row.of.startswith("e2e,") and row.measure == "nll"}
    spread = there.trials[there.trials["experiment"] == "e2e"]["nll"].std()
    assert spread < tolerance < 100 * spread
    assert differing(shifted(here, "e2e", 0.9 * tolerance), there) == set()
    assert differing(shifted(here, "e2e", -1.1 * tolerance), there) == {("nll", "e2e, mean of 3 seeds", "trained")}
    assert differing(shifted(here, "e2e", math.nan), there) == {("nll", "e2e, mean of 3 seeds", "trained")}


def test_what_counts_and_real_music_are_the_same_on_every_machine(there: Results) -> None:
    here = moved(there, threads=2)
    assert differing(shifted(here, "unigram", 1e-8), there) == set()
    assert differing(shifted(here, "unigram", 1e-4), there) == {("nll", "unigram seed 0", "counted")}
    scores = there.scores.copy()
    scores.loc[scores["experiment"] == "test", "notes"] += 0.01
    assert differing(replace(here, scores=scores), there) == {("notes", "encoding paper", "real")}


def test_of_another_teacher_its_measures_say_nothing(there: Results) -> None:
    def taught(results: Results, weights: str, by: float) -> Results:
        panel = results.panel.assign(value=results.panel["value"] + by * (results.panel["measure"] == "teacher_nll"))
        teacher = results.fingerprints.iloc[:1].assign(experiment="teacher", seed=1000, weights=weights)
        frame = type(teacher)(data=[*results.fingerprints.to_dict("records"), *teacher.to_dict("records")])
        return replace(results, panel=panel, fingerprints=frame)

    one, other = taught(there, "a", 0), taught(moved(there, threads=2), "b", 5)
    assert "teacher_nll" not in {row.measure for row in compare(other, one)}
    assert agreement(other, one)[1] == []


def test_of_many_faithful_runs_about_one_in_a_hundred_is_said_to_differ() -> None:
    rng, runs, names = np.random.default_rng(0), 400, ["a", "b", "c", "d"]
    spreads = np.array([1.0, 0.5, 2.0])  # of three measures

    def run(seeds: int) -> dict[tuple[str, int], dict[str, float]]:
        values = 10 + spreads * rng.normal(size=(len(names), seeds, 3))
        return {
            (name, seed): dict(zip("xyz", values[place, seed], strict=True))
            for place, name in enumerate(names)
            for seed in range(seeds)
        }

    alarms = sum(any(row.differs for row in _means(names, run(3), run(3))) for _ in range(runs))
    assert alarms <= LEVEL * runs + 3 * math.sqrt(LEVEL * runs)


def test_one_seed_has_no_spread_to_be_judged_by() -> None:
    assert _means(["a"], {("a", 0): {"nll": 1.0}}, {("a", 0): {"nll": 2.0}}) == []


def test_another_configuration_other_windows_and_other_points_are_named(there: Results) -> None:
    here = replace(
        there,
        about=there.about | {"configuration": {"timesteps": 100}, "tuned": {"e2e": "d 16, scale 1"}},
        encodings=there.encodings.assign(digest="cc"),
    )
    assert other_data(there, there) == other_points(there, there) == []
    assert other_data(here, there) == ["timesteps is 100 here, 2000 there", "the windows in encoding paper are others"]
    assert other_points(here, there) == ["e2e was tuned to d 16, scale 1 here, d 32, scale 0.5 there"]


def test_what_is_different_about_the_machines_is_said(there: Results) -> None:
    assert apart([{"threads": 1, "gpu": None}], [{"threads": 2}]) == {"threads": (1, 2)}
    said, differences = agreement(moved(there, threads=2, commit="def", cpu="fast"), there)
    trials = len(there.fingerprints)
    assert differences == []
    assert f"machine: the same, by all that decides the bits, in 0 of {trials} trials" in said
    for line in ("threads: 2 here, 1 there", "commit: def here, abc there", "cpu: fast here, not said there"):
        assert f"  {line} ({trials})" in said

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import baselines
from eval.claims.claims import CLAIMS, Contrasted, Correlated, judge
from eval.claims.verdicts import Finding, Ruling, Verdict
from eval.statistics.paired import Procedure, contrast, holm
from replication.models.ablations import ABLATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

MODELS = ("e2e", "gaussian", "pretrained", "autoregressive", "e2e-small")
MEASURES = ("distance", "classifier_auc", "chords", "nll")
NO_AUDITS = pd.DataFrame(columns=["seed", "step", "bits_per_word", "distance"])

NO_EVENTS = pd.DataFrame(columns=["experiment", "seed", "event"])


def values(
    *, seeds: int = 5, better: float = 0.0, noise: float = 0.1, models: Iterable[str] = MODELS, n: float = 64
) -> pd.DataFrame:
    """Return values of e2e that are smaller than those of the other models by `better`, seed by seed and nearly so."""
    rng = np.random.default_rng(1)
    rows = [
        (
            model,
            seed,
            measure,
            5 + seed - better * (model == "e2e") + noise * rng.normal(),
            math.nan if measure == "nll" else n,
        )
        for model in models
        for seed in range(seeds)
        for measure in MEASURES
    ]
    return pd.DataFrame(rows, columns=["experiment", "seed", "measure", "value", "n"])


def audits(*, seeds: int = 5, slope: float = 1.0, noise: float = 0.1) -> pd.DataFrame:
    """Return checkpoints whose distance from real music goes up and down with their bits per word."""
    rng = np.random.default_rng(0)
    bits = (4.0, 6.0, 1.0, 3.0, 5.0, 2.0)
    rows = [
        (seed, 500 * step, number, slope * number + noise * rng.normal())
        for seed in range(seeds)
        for step, number in enumerate(bits)
    ]
    return pd.DataFrame(rows, columns=list(NO_AUDITS))


def verdict(
    name: str, of: pd.DataFrame, checkpoints: pd.DataFrame = NO_AUDITS, events: pd.DataFrame = NO_EVENTS
) -> Verdict:
    return next(verdict for verdict in judge(of, checkpoints, events) if verdict.name == name)


def test_claims_are_about_models_that_there_are() -> None:
    names = {row.name for row in (*ABLATIONS, *baselines.BASELINES)}
    assert [claim.name for claim in CLAIMS] == ["C1", "C2", "C3", "C4", "C5"]
    for claim in CLAIMS:
        if isinstance(claim, Contrasted):
            assert {claim.ours, claim.other} <= names
        else:
            assert isinstance(claim, Correlated)


def test_a_bound_is_not_ranked_against_an_exact_likelihood() -> None:
    assert {row.measure for row in verdict("C4", values()).rows} == set(MEASURES) - {"nll"}
    assert {row.measure for row in verdict("C1", values()).rows} == set(MEASURES)


@pytest.mark.parametrize("claim", ["C1", "C2", "C4", "C5"])
@pytest.mark.parametrize(
    ("better", "ruling"), [(1.0, Ruling.REPRODUCED), (-1.0, Ruling.NOT_REPRODUCED), (0.0, Ruling.INCONCLUSIVE)]
)
@pytest.mark.parametrize("seeds", [3, 5, 9])
def test_the_verdict_is_that_of_the_differences(claim: str, better: float, ruling: Ruling, seeds: int) -> None:
    found = verdict(claim, values(better=better, seeds=seeds))
    assert found.verdict is ruling
    assert found.sentence.startswith(f"{ruling.capitalize()}: with {seeds} seeds ")
    assert {row.seeds for row in found.rows} == {seeds}


def test_rows_are_contrasts_with_adjusted_p() -> None:
    table = values(better=0.1)
    rows = verdict("C1", table).rows
    of = table[table["measure"] == "chords"].pivot_table(index="seed", columns="experiment", values="value")
    expected = contrast(of["e2e"].tolist(), of["gaussian"].tolist(), tests=4)
    row = rows[2]
    assert row.measure == "chords"
    assert (row.difference, row.low, row.high, row.p) == pytest.approx(expected[:4])
    assert row.test is Procedure.T
    assert [row.p_holm for row in rows] == holm([row.p for row in rows])
    assert row.detectable > row.high - row.difference  # of one test in four, at power 0.8


def test_measures_that_disagree_are_inconclusive() -> None:
    table = values(better=1.0)
    table.loc[(table["experiment"] == "e2e") & (table["measure"] == "nll"), "value"] += 2
    found = verdict("C1", table)
    assert found.verdict is Ruling.INCONCLUSIVE
    assert [row.finding for row in found.rows] == [Finding.FOR] * 3 + [Finding.AGAINST]
    assert re.search(
        r"measures for it: 3 of 4 \(distance -.*\); against it: 1 of 4 \(likelihood bound \+", found.sentence
    )


def test_one_measure_is_enough_if_none_speaks_against() -> None:
    table = values()
    table.loc[(table["experiment"] == "e2e") & (table["measure"] == "chords"), "value"] -= 1
    found = verdict("C1", table)
    assert found.verdict is Ruling.REPRODUCED
    assert "measures for it: 1 of 4 (distance in chords -1" in found.sentence
    assert found.sentence.endswith("; against it: none.")


def test_nothing_found_says_how_much_would_have_been() -> None:
    found = verdict("C1", values(seeds=3))
    closest = min(found.rows, key=lambda row: row.p)
    assert "none of 4 measures differs (closest: " in found.sentence
    assert f"{closest.difference:+.3g}" in found.sentence
    assert f"one of {closest.detectable:.2g}" in found.sentence
    assert found.sentence.endswith("would have been found with power 0.8).")


def test_models_that_were_not_run_leave_the_claim_untested() -> None:
    found = verdict("C2", values(models=("e2e", "gaussian")))
    assert (found.verdict, found.sentence) == (Ruling.NOT_TESTED, "Not tested: pretrained was not run.")
    assert found.rows == ()
    assert verdict("C5", values(models=())).sentence == "Not tested: e2e and e2e-small were not run."
    assert verdict("C3", values()).sentence == "Not tested: no checkpoints were audited."


def test_models_at_unequal_sizes_leave_the_claim_untested() -> None:
    table = values()
    table.loc[(table["experiment"] == "gaussian") & (table["n"] > 0), "n"] = 512
    assert verdict("C1", table).sentence.startswith("Not tested: e2e with seed 4 (chords) was scored with 64 windows")
    assert verdict("C2", table).verdict is Ruling.INCONCLUSIVE


@pytest.mark.parametrize(("seeds", "there"), [(1, "there is 1"), (0, "e2e and gaussian were not run")])
def test_one_seed_says_nothing_of_a_method(seeds: int, there: str) -> None:
    found = verdict("C1", values(seeds=seeds, better=5.0))
    assert there in found.sentence
    assert found.verdict is (Ruling.INCONCLUSIVE if seeds else Ruling.NOT_TESTED)


def test_only_seeds_of_both_models_are_compared() -> None:
    table = values(better=1.0)
    alone = table[(table["experiment"] != "gaussian") | (table["seed"] > 1)]
    found = verdict("C1", alone)
    assert {row.seeds for row in found.rows} == {3}
    assert found.sentence.endswith("; left out, without a counterpart: e2e seed 0, e2e seed 1.")
    disjoint = alone[(alone["experiment"] != "e2e") | (alone["seed"] < 2)]
    assert "takes 2 seeds, and there are none; left out, without a counterpart: e2e" in verdict("C1", disjoint).sentence


def test_a_verdict_ends_with_what_went_wrong_in_its_trials_and_in_no_others() -> None:
    rows = [("e2e", 4, "samples-empty"), ("recipe", 1, "failed"), ("recipe", 0, "samples-invalid")]
    events = pd.DataFrame(rows, columns=list(NO_EVENTS))
    sentences = {name: verdict(name, values(), audits(), events).sentence for name in ("C1", "C3")}
    assert sentences["C1"].endswith("; went wrong: e2e seed 4 (samples-empty).")
    assert sentences["C3"].endswith("; went wrong: recipe seed 1 (failed).")  # of its last samples nothing is judged
    assert "went wrong" not in verdict("C2", values(models=("gaussian", "pretrained")), events=events.iloc[1:]).sentence
    assert verdict("C3", values(), events=events).sentence == (
        "Not tested: no checkpoints were audited; went wrong: recipe seed 1 (failed)."
    )


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_value_that_is_not_finite_leaves_its_measure_untested(odd: float) -> None:
    table = values(better=1.0)
    table.loc[(table["measure"] == "classifier_auc") & (table["seed"] == 2), "value"] = odd
    found = verdict("C1", table)
    assert math.isnan(found.rows[1].p_holm)
    assert found.rows[1].finding is Finding.OPEN
    assert found.sentence.endswith(
        "not tested, for want of finite and different values: distance of the classifier's AUC from 1/2."
    )
    assert found.verdict is Ruling.REPRODUCED
    everywhere = verdict("C1", table.assign(value=odd))
    assert everywhere.verdict is Ruling.INCONCLUSIVE
    assert "with 5 seeds there is nothing to test" in everywhere.sentence


def test_values_come_once() -> None:
    table = values()
    with pytest.raises(ValueError, match="distance has two values of one experiment and seed"):
        judge(pd.concat([table, table]), NO_AUDITS, NO_EVENTS)


@pytest.mark.parametrize(("slope", "ruling"), [(1.0, Ruling.REPRODUCED), (-1.0, Ruling.NOT_REPRODUCED)])
def test_a_number_measures_quality_if_both_rise_and_fall_together(slope: float, ruling: Ruling) -> None:
    found = verdict("C3", values(), audits(slope=slope))
    (row,) = found.rows
    assert found.verdict is ruling
    assert row.seeds == 5
    assert row.p == row.p_holm
    assert "after Holm" not in found.sentence


@pytest.mark.parametrize("seeds", [2, 5, 9])
@pytest.mark.parametrize("checkpoints", [4, 6, 7, 9])
def test_a_clock_measures_nothing_however_well_it_goes_with_the_distance(seeds: int, checkpoints: int) -> None:
    rng = np.random.default_rng(0)
    rows = [
        (seed, step, 2.0**-step, 9 - step + rng.normal() / 2) for seed in range(seeds) for step in range(checkpoints)
    ]
    found = verdict("C3", values(), pd.DataFrame(rows, columns=list(NO_AUDITS)))
    (row,) = found.rows
    assert (row.difference, row.p, row.finding) == (0, 1, Finding.OPEN)
    assert found.verdict is Ruling.INCONCLUSIVE


def test_a_number_that_falls_as_the_distance_rises_with_every_step_speaks_against_itself() -> None:
    runs = audits(slope=-1.0, noise=0.0)
    runs = runs.assign(bits_per_word=-runs["step"], distance=runs["step"])
    (row,) = verdict("C3", values(), runs).rows
    assert (row.difference, row.low, row.finding) == (-2, -2, Finding.AGAINST)


def test_the_correlation_is_that_of_ranks_beyond_that_of_the_step() -> None:
    found = verdict("C3", values(), audits(seeds=3, noise=0.0, slope=3.0))
    (row,) = found.rows
    of_step = 11 / 35  # 6 (9 + 16 + 4 + 1 + 0 + 16) / (6 * 35) - 1, of the ranks 4 6 1 3 5 2 and 1 2 3 4 5 6
    assert row.difference == pytest.approx(1 - of_step)
    # No less certain than ranks of 6 checkpoints are, which move the correlation by 2/35 at least.
    assert row.high - row.difference == pytest.approx(4.302653 * 2 / 35 / math.sqrt(12) / math.sqrt(3))
    assert row.finding is Finding.FOR
    assert found.sentence.endswith("; correlation with the distance +1.00 on average, that of the step -0.31.")


def test_no_interval_reaches_beyond_what_is_possible() -> None:
    table = values(seeds=2)
    area, ours = table["measure"] == "classifier_auc", table["experiment"] == "e2e"
    table.loc[area, "value"] = 0.2
    table.loc[area & ours, "value"] = [0.1, 0.3]
    of_area = verdict("C1", table).rows[1]
    assert (of_area.measure, of_area.low, of_area.high) == ("classifier_auc", -0.5, 0.5)
    opposite = pd.concat([audits(seeds=1), audits(seeds=1, slope=-1.0).assign(seed=1)])
    found = verdict("C3", values(), opposite)
    assert (found.rows[0].low, found.rows[0].high) == (-2, 1)
    assert "[-2, 1]" in found.sentence


def test_one_run_has_correlations_and_no_verdict() -> None:
    found = verdict("C3", values(), audits(seeds=1, noise=0.0))
    (row,) = found.rows
    assert (row.test, row.finding, found.verdict) == (Procedure.NONE, Finding.OPEN, Ruling.INCONCLUSIVE)
    assert found.sentence == (
        "Inconclusive: a claim about a method takes 2 seeds, and there is 1; correlation with the distance +1.00 on "
        "average, that of the step -0.31."
    )


def test_checkpoints_that_are_all_alike_have_no_correlation() -> None:
    found = verdict("C3", values(), audits().assign(bits_per_word=0.0))
    assert math.isnan(found.rows[0].difference)
    assert found.verdict is Ruling.INCONCLUSIVE
    assert "nan" not in found.sentence


def test_claims_that_are_not_so_are_rarely_reproduced() -> None:
    rng = np.random.default_rng(0)
    table = values(seeds=3)
    rulings = []
    for _ in range(40):
        verdicts = judge(table.assign(value=rng.normal(size=len(table))), NO_AUDITS, NO_EVENTS)
        rulings += [found.verdict for found in verdicts if found.name != "C3"]
    assert np.mean([ruling is not Ruling.INCONCLUSIVE for ruling in rulings]) <= 0.1  # 160 at level 0.05

"""The verdicts on claims, for made-up values."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import baselines
from eval.claims.claims import CLAIMS, ContrastClaim, CorrelationClaim, judge
from eval.claims.verdicts import Finding, Ruling, Verdict
from eval.statistics.paired import Procedure, contrast, holm
from replication.models.ablations import ABLATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

MODELS = ("e2e", "gaussian", "pretrained", "autoregressive", "e2e-small")
MEASURES = ("distance", "classifier_auc", "chords", "nll")
NO_AUDITS = pd.DataFrame(columns=["experiment", "seed", "age", "bits_per_word", "nll", "teacher_gap", "distance"])
NO_ANOMALIES = pd.DataFrame(columns=["experiment", "seed", "anomaly"])


def values(
    *, seeds: int = 5, better: float = 0.0, noise: float = 0.1, models: Iterable[str] = MODELS, n: float = 64
) -> pd.DataFrame:
    """Return values in which those of e2e are smaller by about `better` in every seed."""
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


def audits(*, slope: float = 1.0) -> pd.DataFrame:
    """Return three arms with five seeds at three ages, in which bits per word follow the distance."""
    rng = np.random.default_rng(0)
    rows = []
    for arm in ("e2e", "gaussian", "pretrained"):
        for seed in range(5):
            quality = rng.normal()
            for age in (1000, 2000, 5000):
                distance, bound, gap, number = quality + rng.normal(size=4) / 10
                rows.append((arm, seed, age, slope * number, bound, gap, 9 - age / 1000 + distance))
    return pd.DataFrame(rows, columns=list(NO_AUDITS))


def verdict(
    name: str, of: pd.DataFrame, checkpoints: pd.DataFrame = NO_AUDITS, anomalies: pd.DataFrame = NO_ANOMALIES
) -> Verdict:
    return next(verdict for verdict in judge(of, checkpoints, anomalies) if verdict.name == name)


def test_claims_are_about_models_that_exist() -> None:
    names = {row.name for row in (*ABLATIONS, *baselines.BASELINES)}
    assert [claim.name for claim in CLAIMS] == ["C1", "C2", "C3", "C4", "C5"]
    for claim in CLAIMS:
        if isinstance(claim, ContrastClaim):
            assert {claim.ours, claim.other} <= names
        else:
            assert isinstance(claim, CorrelationClaim)


def test_a_bound_is_not_ranked_against_an_exact_likelihood() -> None:
    assert {row.measure for row in verdict("C4", values()).rows} == set(MEASURES) - {"nll"}
    assert {row.measure for row in verdict("C1", values()).rows} == set(MEASURES)


@pytest.mark.parametrize("claim", ["C1", "C2", "C4", "C5"])
@pytest.mark.parametrize(
    ("better", "ruling"), [(1.0, Ruling.REPRODUCED), (-1.0, Ruling.NOT_REPRODUCED), (0.0, Ruling.INCONCLUSIVE)]
)
@pytest.mark.parametrize("seeds", [3, 5, 9])
def test_the_verdict_follows_the_differences(claim: str, better: float, ruling: Ruling, seeds: int) -> None:
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
    assert row.detectable > row.high - row.difference  # for one of four tests, at power 0.8


def test_measures_that_disagree_are_inconclusive() -> None:
    table = values(better=1.0)
    table.loc[(table["experiment"] == "e2e") & (table["measure"] == "nll"), "value"] += 2
    found = verdict("C1", table)
    assert found.verdict is Ruling.INCONCLUSIVE
    assert [row.finding for row in found.rows] == [Finding.FOR] * 3 + [Finding.AGAINST]
    assert re.search(
        r"measures for it: 3 of 4 \(distance -.*\); against it: 1 of 4 \(likelihood bound \+", found.sentence
    )


def test_one_measure_is_enough_if_none_is_against_the_claim() -> None:
    table = values()
    table.loc[(table["experiment"] == "e2e") & (table["measure"] == "chords"), "value"] -= 1
    found = verdict("C1", table)
    assert found.verdict is Ruling.REPRODUCED
    assert "measures for it: 1 of 4 (distance in chords -1" in found.sentence
    assert found.sentence.endswith("; against it: none.")


def test_an_inconclusive_sentence_states_the_detectable_difference() -> None:
    found = verdict("C1", values(seeds=3))
    closest = min(found.rows, key=lambda row: row.p)
    assert "none of 4 measures differs (closest: " in found.sentence
    assert f"{closest.difference:+.3g}" in found.sentence
    assert f"a difference of {closest.detectable:.2g}" in found.sentence
    assert found.sentence.endswith("would be detected with power 0.8).")


def test_a_claim_about_models_that_were_not_run_is_not_tested() -> None:
    found = verdict("C2", values(models=("e2e", "gaussian")))
    assert (found.verdict, found.sentence) == (Ruling.NOT_TESTED, "Not tested: pretrained was not run.")
    assert found.rows == ()
    assert verdict("C5", values(models=())).sentence == "Not tested: e2e and e2e-small were not run."
    assert verdict("C3", values()).sentence == "Not tested: no model was audited."


def test_a_claim_about_models_scored_with_unequal_sizes_is_not_tested() -> None:
    table = values()
    table.loc[(table["experiment"] == "gaussian") & (table["n"] > 0), "n"] = 512
    assert verdict("C1", table).sentence.startswith("Not tested: e2e with seed 4 (chords) was scored with 64 windows")
    assert verdict("C2", table).verdict is Ruling.INCONCLUSIVE


@pytest.mark.parametrize(("seeds", "there"), [(1, "there is 1"), (0, "e2e and gaussian were not run")])
def test_one_seed_is_inconclusive(seeds: int, there: str) -> None:
    found = verdict("C1", values(seeds=seeds, better=5.0))
    assert there in found.sentence
    assert found.verdict is (Ruling.INCONCLUSIVE if seeds else Ruling.NOT_TESTED)


def test_only_seeds_that_both_models_have_are_compared() -> None:
    table = values(better=1.0)
    alone = table[(table["experiment"] != "gaussian") | (table["seed"] > 1)]
    found = verdict("C1", alone)
    assert {row.seeds for row in found.rows} == {3}
    assert found.sentence.endswith("; left out because the other model lacks the seed: e2e seed 0, e2e seed 1.")
    disjoint = alone[(alone["experiment"] != "e2e") | (alone["seed"] < 2)]
    assert (
        "needs 2 seeds, and there are none; left out because the other model lacks the seed: e2e"
        in verdict("C1", disjoint).sentence
    )


def test_a_verdict_ends_with_the_anomalies_of_its_own_trials_only() -> None:
    rows = [("e2e", 4, "samples-empty"), ("gaussian", 1, "failed"), ("ngram", 0, "failed")]
    anomalies = pd.DataFrame(rows, columns=list(NO_ANOMALIES))
    sentences = {name: verdict(name, values(), audits(), anomalies).sentence for name in ("C1", "C3")}
    assert sentences["C1"].endswith("; anomalies: e2e seed 4 (samples-empty), gaussian seed 1 (failed).")
    assert sentences["C3"].endswith("; anomalies: gaussian seed 1 (failed).")  # the last samples are not judged alone
    assert "anomalies" not in verdict("C2", values(), anomalies=anomalies.iloc[1:]).sentence


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_measure_with_a_value_that_is_not_finite_is_not_tested(odd: float) -> None:
    table = values(better=1.0)
    table.loc[(table["measure"] == "classifier_auc") & (table["seed"] == 2), "value"] = odd
    found = verdict("C1", table)
    assert math.isnan(found.rows[1].p_holm)
    assert found.rows[1].finding is Finding.OPEN
    assert found.sentence.endswith(
        "not tested, because values are not finite or all equal: distance of the classifier's AUC from 1/2."
    )
    assert found.verdict is Ruling.REPRODUCED
    everywhere = verdict("C1", table.assign(value=odd))
    assert everywhere.verdict is Ruling.INCONCLUSIVE
    assert "with 5 seeds there is nothing to test" in everywhere.sentence


def test_duplicate_values_are_an_error() -> None:
    table = values()
    with pytest.raises(ValueError, match="distance has two values of one experiment and seed"):
        judge(pd.concat([table, table]), NO_AUDITS, NO_ANOMALIES)


@pytest.mark.parametrize(
    ("slope", "ruling", "finding"),
    [(1.0, Ruling.REPRODUCED, Finding.FOR), (-1.0, Ruling.NOT_REPRODUCED, Finding.AGAINST)],
)
def test_a_number_measures_quality_if_both_rise_and_fall_together(
    slope: float, ruling: Ruling, finding: Finding
) -> None:
    found = verdict("C3", values(), audits(slope=slope))
    (row,) = found.rows
    assert (found.verdict, row.finding, row.test, row.seeds) == (ruling, finding, Procedure.PERMUTATION, 15)
    assert row.p == row.p_holm


def test_intervals_are_clipped_to_the_possible_range() -> None:
    table = values(seeds=2)
    area, ours = table["measure"] == "classifier_auc", table["experiment"] == "e2e"
    table.loc[area, "value"] = 0.2
    table.loc[area & ours, "value"] = [0.1, 0.3]
    of_area = verdict("C1", table).rows[1]
    assert (of_area.measure, of_area.low, of_area.high) == ("classifier_auc", -0.5, 0.5)


def test_false_claims_are_rarely_decided() -> None:
    rng = np.random.default_rng(0)
    table = values(seeds=3)
    rulings = []
    for _ in range(40):
        verdicts = judge(table.assign(value=rng.normal(size=len(table))), NO_AUDITS, NO_ANOMALIES)
        rulings += [found.verdict for found in verdicts if found.name != "C3"]
    assert np.mean([ruling is not Ruling.INCONCLUSIVE for ruling in rulings]) <= 0.1  # 160 at level 0.05
